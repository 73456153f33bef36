"""The wire of charon's control socket: what is encoded comes back, and noise is refused instead of believed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.adapters.strongswan.vici import ViciError, decode, encode

NAMES = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=20)
VALUES = st.recursive(
    st.text(max_size=50) | st.lists(st.text(max_size=20), max_size=4),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


def test_the_documented_example() -> None:
    message = {"key1": "value1", "section1": {"sub-section": {"key2": "value2"}, "list1": ["item1", "item2"]}}
    wire = (
        b"\x03\x04key1\x00\x06value1"
        b"\x01\x08section1\x01\x0bsub-section\x03\x04key2\x00\x06value2\x02"
        b"\x04\x05list1\x05\x00\x05item1\x05\x00\x05item2\x06\x02"
    )
    assert encode(message) == wire
    assert decode(wire) == message


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_what_is_encoded_comes_back(message: dict[str, object]) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=60))
def test_noise_is_refused_or_read_but_never_worse(data: bytes) -> None:
    with contextlib.suppress(ViciError):
        decode(data)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=3), st.data())
def test_half_a_message_is_no_message(message: dict[str, object], data: st.DataObject) -> None:
    wire = encode(message)
    cut = data.draw(st.integers(1, len(wire) - 1))
    try:
        half = decode(wire[:cut])
    except ViciError:
        return
    assert half != message


def test_what_cannot_be_said_is_refused() -> None:
    with pytest.raises(ValueError, match="int cannot be sent"):
        encode({"number": 5})

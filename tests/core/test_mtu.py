"""The MTU of containers: what fits on a link without being cut in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.core.network.mtu import ESP_BLOCK, USER_SPACE_LINK, VXLAN, container_mtu, too_small, tunnel_mtu


def on_the_wire(mtu: int) -> int:
    """The size of the ESP packet that carries a container's packet of this size, header by header."""
    inner = 20 + 8 + 8 + 14 + mtu
    padded = -(-(inner + 2) // ESP_BLOCK) * ESP_BLOCK
    return 20 + 8 + 8 + 8 + padded + 16


@pytest.mark.parametrize(("link", "mtu"), [(1500, 1388), (0, 1388), (9000, 8888), (1450, 1336), (600, 576)])
def test_the_usual_links(link: int, mtu: int) -> None:
    assert container_mtu(link, "ipsec") == mtu
    assert container_mtu(link, "plain") == mtu


@given(st.integers(700, 65_535))
def test_a_full_packet_fits_and_a_larger_one_would_not(link: int) -> None:
    mtu = container_mtu(link, "ipsec")
    assert on_the_wire(mtu) <= link
    assert on_the_wire(mtu + 1) > link


def test_user_space_takes_1400_bytes() -> None:
    assert tunnel_mtu(USER_SPACE_LINK) <= 1400
    assert container_mtu(USER_SPACE_LINK, "ipsec") + VXLAN <= 1400


@given(st.integers(700, 2000), st.integers(700, 2000))
def test_a_refusal_says_what_the_link_would_need(link: int, other: int) -> None:
    in_use = container_mtu(other, "ipsec")
    sentence = too_small(link, "ipsec", in_use)
    assert bool(sentence) == (on_the_wire(in_use) > link)
    if sentence:
        assert f"needs {on_the_wire(in_use)};" in sentence


def test_what_is_not_known_is_not_refused() -> None:
    assert too_small(0, "ipsec", 1388) == ""
    assert too_small(1500, "ipsec", 0) == ""

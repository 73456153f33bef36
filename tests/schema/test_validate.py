"""What a client sends, held against a type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.core import ids
from remuda.core.spec import LaunchConfig
from remuda.schema.fields import Field, ResourceType
from remuda.schema.registry import TYPES
from remuda.schema.validate import Invalid, check, for_create, for_update


def nobody(_type: str, _number: int) -> bool:
    return False


def refused(field: Field, value: Any) -> tuple[str, str]:
    with pytest.raises(Invalid) as found:
        check(field, value, nobody)
    return found.value.code, found.value.field


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        (Field(name="x"), 5, "5"), (Field(name="x", type="int"), "7", 7), (Field(name="x", type="int"), 7.0, 7),
        (Field(name="x", type="boolean"), "TRUE", True), (Field(name="x", type="map[string]"), {"a": 1, "b": None, "c": True},
                                                          {"a": "1", "b": "", "c": "true"}),
        (Field(name="x", type="array[string]"), ["a", 1], ["a", "1"]), (Field(name="x", type="json"), {"a": [1]}, {"a": [1]}),
        (Field(name="x"), None, None),
    ],
)  # fmt: skip
def test_values_come_in_the_form_that_is_stored(field: Field, value: Any, stored: Any) -> None:
    assert check(field, value, nobody) == stored


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        (Field(name="x"), True, "InvalidFormat"), (Field(name="x"), ["a"], "InvalidFormat"),
        (Field(name="x"), "a\0b", "InvalidCharacters"),
        (Field(name="x", max_length=2), "abc", "MaxLengthExceeded"), (Field(name="x", min_length=2), "a", "MinLengthExceeded"),
        (Field(name="x", valid_chars="a-z"), "a b", "InvalidCharacters"), (Field(name="x", nullable=False), None, "NotNullable"),
        (Field(name="x", type="int"), "²", "InvalidFormat"), (Field(name="x", type="int"), 1.5, "InvalidFormat"),
        (Field(name="x", type="int"), 2**63, "MaxLimitExceeded"), (Field(name="x", type="int", min=0), -1, "MinLimitExceeded"),
        (Field(name="x", type="boolean"), "yes", "InvalidFormat"),
        (Field(name="x", type="enum", options=("a",)), "b", "InvalidOption"),
        (Field(name="x", type="json"), "text", "InvalidFormat"), (Field(name="x", type="json"), [1], "InvalidFormat"),
        (Field(name="x", type="reference[host]"), "1h1", "InvalidReference"),
        (Field(name="x", type="reference[host]"), 1, "InvalidReference"),
        (Field(name="x", type="launchConfig"), "y", "InvalidFormat"),
        (Field(name="x", type="array[string]"), "y", "InvalidFormat"),
    ],
)  # fmt: skip
def test_other_values_are_refused_with_their_code_and_field(field: Field, value: Any, code: str) -> None:
    assert refused(field, value) == (code, "x")


def test_what_may_not_be_set_is_left_out_silently() -> None:
    kind = ResourceType(id="t", fields=(Field(name="a", create=True), Field(name="b", update=True), Field(name="c")))
    body = {"a": "1", "b": "2", "c": "3", "d": "4"}
    assert (for_create(kind, body, nobody), for_update(kind, body, nobody)) == ({"a": "1"}, {"b": "2"})


def test_a_host_named_inside_a_launch_configuration_must_be_visible_too() -> None:
    field = Field(name="launchConfig", type="launchConfig")
    config = {"imageUuid": "docker:x", "requestedHostId": "1h7"}
    assert refused(field, config) == ("InvalidReference", "launchConfig.requestedHostId")
    assert isinstance(check(field, config, lambda kind, n: (kind, n) == ("host", 7)), LaunchConfig)


@pytest.mark.parametrize(
    "text", ["1h7 ", " 1h7", "1h7\n", "1h7\r\n", "1h٧", "1h", "h7", "7", "", "1h7x", "1h" + "9" * 19, None, 7]
)
def test_ids_are_exact(text: object) -> None:
    assert ids.number(text) is None


def test_ids_are_read_in_any_case_and_by_any_letters() -> None:
    assert [ids.number(t) for t in ("1h7", "1H7", "1st7", "1as!7")] == [7, 7, 7, 7]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([k for k in TYPES.values() if any(f.create for f in k.fields)]), st.data())
def test_any_body_is_accepted_or_refused_and_nothing_else(kind: ResourceType, data: st.DataObject) -> None:
    names = st.sampled_from([f.name for f in kind.fields])
    body = data.draw(st.dictionaries(names, JSON, max_size=5))
    told: list[Invalid] = []
    for judge in (for_create, for_update):
        try:
            judge(kind, body, lambda _type, number: number % 2 == 0)
        except Invalid as problem:
            told.append(problem)
    assert all(p.code and p.message and p.field for p in told)


@pytest.mark.parametrize("name", ["-web", "web-", "-"])
def test_a_name_that_becomes_part_of_a_name_in_the_network_has_no_hyphen_at_its_ends(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        for_create(TYPES["environment"], {"name": name}, lambda _type, _number: True)
    assert (refused.value.code, refused.value.field) == ("InvalidCharacters", "name")
    assert for_create(TYPES["environment"], {"name": "we--b"}, lambda _type, _number: True)["name"] == "we--b"


@pytest.mark.parametrize(
    ("binding", "field"),
    [
        (7, "binding"),
        ({"services": []}, "binding.services"),
        ({"services": {"a": 5}}, "binding.services.a"),
        ({"services": {"a": {"labels": 5}}}, "binding.services.a.labels"),
    ],
)
def test_what_is_only_kept_must_have_its_types_shape(binding: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        for_create(TYPES["environment"], {"name": "a", "binding": binding}, nobody, "owner")
    assert (caught.value.code, caught.value.field) == ("InvalidFormat", field)


def test_what_is_only_kept_is_kept_as_it_was_said_without_what_nobody_knows() -> None:
    told = {"services": {"a": {"labels": {"x": "1"}, "odd": 3}}, "more": 1}
    kept = for_create(TYPES["environment"], {"name": "a", "binding": told}, nobody, "owner")["binding"]
    assert kept == {"services": {"a": {"labels": {"x": "1"}}}}

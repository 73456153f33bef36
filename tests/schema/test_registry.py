"""Resource types as they are declared: consistent, complete, and without a way to write what nobody may write."""

from __future__ import annotations

import pytest

from remuda.schema import fields
from remuda.schema.fields import ResourceType
from remuda.schema.registry import TYPES, describe, find, modifiers, rights, visible

ROLES = (fields.ADMIN, fields.OWNER, fields.MEMBER, fields.RESTRICTED, fields.READONLY, fields.USER, fields.AGENT,
         fields.REGISTER, fields.ANONYMOUS)  # fmt: skip
EACH = pytest.mark.parametrize("kind", TYPES.values(), ids=list(TYPES))


@EACH
def test_types_are_found_by_id_and_plural_in_any_case(kind: ResourceType) -> None:
    for name in (kind.id, kind.plural_name, kind.id.upper(), kind.plural_name.lower()):
        found = find(name)
        assert found is not None
        assert kind.id == found.id


def test_stacks_and_instances_go_by_their_other_names() -> None:
    assert {n: find(n).id for n in ("stack", "stacks", "instance", "instances")} == {  # type: ignore[union-attr]
        "stack": "environment", "stacks": "environment", "instance": "container", "instances": "container",
    }  # fmt: skip
    assert find("nothing") is None


@EACH
def test_links_and_inputs_name_types_and_fields_that_exist(kind: ResourceType) -> None:
    for link in kind.links:
        assert TYPES[link.type].field(link.field) is not None
    for action in kind.actions:
        for name in (action.input, action.output):
            assert not name or name in TYPES or name in ("instance",)


@EACH
def test_rights_are_known_letters_of_known_roles(kind: ResourceType) -> None:
    assert set(kind.rights) <= set(ROLES)
    assert all(set(letters) <= set("cruda") for letters in kind.rights.values())


@EACH
def test_nobody_outside_has_power_over_work(kind: ResourceType) -> None:
    for role in (fields.ANONYMOUS, fields.AGENT, fields.REGISTER):
        allowed = set(rights(kind, role)) - {"r"}
        assert not allowed or kind.id in ("token", "setup", "register"), (role, kind.id)
    assert set(rights(kind, fields.READONLY)) <= {"r"}
    if kind.record is not None and kind.scope == "installation":
        assert all(set(rights(kind, role)) <= {"r"} for role in ROLES if role != fields.ADMIN)


@EACH
def test_secrets_are_computed_cannot_be_searched_and_are_no_columns(kind: ResourceType) -> None:
    for field in kind.fields:
        assert field.attribute not in ("secret_hash", "sealed", "data")
        if field.type == fields.PASSWORD:
            assert modifiers(field) == []
            assert field.computed or kind.record is None


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_shown_its_own_types_and_methods(role: str) -> None:
    for kind in visible(role):
        shown = describe(kind.id, role)
        allowed = rights(kind, role)
        assert ("POST" in shown["collectionMethods"]) == ("c" in allowed and "POST" in kind.methods)
        assert ("PUT" in shown["resourceMethods"]) == ("u" in allowed and "PUT" in kind.methods)
        assert any(f["update"] for f in shown["resourceFields"].values()) <= ("u" in allowed)
        if "a" not in allowed:
            assert set(shown["resourceActions"]) <= {a.name for a in kind.actions if a.reads}

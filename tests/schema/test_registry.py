"""Resource types as they are declared: consistent, complete, and without a way to write what nobody may write."""

from __future__ import annotations

import pytest

from remuda.schema import fields
from remuda.schema.fields import COMMON, ResourceType
from remuda.schema.published import tables
from remuda.schema.registry import _ROOMS, TYPES, describe, find, modifiers, rights, visible

MACHINES = (fields.AGENT, fields.AGENT_REGISTER, fields.REGISTER, fields.ANONYMOUS)
ROLES = (*fields.EVERYONE, *MACHINES)
OF_AGENTS = {"publish", "configContent", "hostApiProxyToken", "agent", "containerEvent", "serviceEvent", "externalDnsEvent",
             "externalServiceEvent", "externalStoragePoolEvent", "externalVolumeEvent"}  # fmt: skip
"""What agents of 1.x tell of their hosts."""
UNKNOWN = ("genericObject", "ipPool")
"""Types that 1.x named in actions and showed to nobody."""
EACH = pytest.mark.parametrize("kind", TYPES.values(), ids=list(TYPES))


@EACH
def test_types_are_found_by_id_and_plural_in_any_case(kind: ResourceType) -> None:
    for name in (kind.id, kind.plural_name, kind.id.upper(), kind.plural_name.lower()):
        found = find(name)
        assert found is not None
        assert found.id == {"instance": "container", "credential": "apiKey"}.get(kind.id, kind.id), (
            "or what it stands for"
        )


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
            assert not name or name in TYPES or name in UNKNOWN


@EACH
def test_rights_are_known_letters_of_known_roles(kind: ResourceType) -> None:
    assert set(kind.rights) <= set(ROLES)
    assert all(set(letters) <= set("rlcuda") for letters in kind.rights.values())


@EACH
def test_nobody_outside_has_power_over_work(kind: ResourceType) -> None:
    for role in MACHINES:
        allowed = set(rights(kind, role)) - set("rla")
        assert not allowed or kind.id in ({"token", "setup", "register"} | OF_AGENTS), (role, kind.id)
    for role in (fields.READONLY, fields.READADMIN):
        assert set(rights(kind, role)) <= {"r", "l"}
    if kind.record is not None and kind.scope == "installation":
        others = set(ROLES) - set(fields.INSTALLATION) - ({fields.AGENT_REGISTER} if kind.id in OF_AGENTS else set())
        assert all(set(rights(kind, role)) <= {"r", "l", "a"} for role in others)


@EACH
def test_secrets_are_computed_cannot_be_searched_and_are_no_columns(kind: ResourceType) -> None:
    for field in kind.fields:
        assert field.attribute not in ("secret_hash", "sealed")
        assert field.attribute != "data" or field.only == (fields.ADMIN,) or field.kept
        if field.type == fields.PASSWORD:
            assert modifiers(field) == []
            assert field.computed or field.kept or kind.record is None


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_shown_its_own_types_and_methods(role: str) -> None:
    for kind in visible(role):
        shown = describe(kind.id, role)
        allowed = rights(kind, role)
        assert ("POST" in shown["collectionMethods"]) == ("c" in allowed and "POST" in kind.methods)
        assert ("PUT" in shown["resourceMethods"]) == ("u" in allowed and "PUT" in kind.methods)
        if role in (fields.READONLY, fields.READADMIN):
            assert not any(f["update"] or f["create"] for f in shown["resourceFields"].values())
        if "a" not in allowed:
            assert set(shown["resourceActions"]) <= {a.name for a in kind.actions if a.reads}


def test_nothing_is_said_twice() -> None:
    declared = {kind.id: kind for room in _ROOMS for kind in room.TYPES}
    for name, entry in tables().items():
        mine = declared.get(name)
        if mine is not None:
            common = {field.name for field in COMMON} | {"id"}
            told = {field.name for field in entry.type.fields} - common
            assert not told & {field.name for field in mine.fields}, (
                f"{name}: declared, and in the table of what is left out"
            )


@pytest.mark.parametrize("name", ["environment", "service", "loadBalancerService", "container", "apiKey", "volume"])
def test_schemas_name_the_states_of_the_published_graph(name: str) -> None:
    told = describe(name, fields.OWNER)["resourceFields"]["state"]["options"]
    assert {"removing", "removed"} <= set(told)
    assert ("upgraded" in told) == (name in ("environment", "service", "loadBalancerService"))

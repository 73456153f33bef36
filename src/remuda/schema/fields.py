"""The vocabulary in which resource types are declared: fields, actions, links, rights.

Declarations only: how a value is fetched, written or checked against the world is the API's work.
"""

from __future__ import annotations

from typing import Any

import msgspec

from remuda.core.model import Record

STRING, INT, BOOL, DATE, JSON, ENUM, PASSWORD = "string", "int", "boolean", "date", "json", "enum", "password"
MAP, LIST = "map[string]", "array[string]"

ADMIN, OWNER, MEMBER, RESTRICTED, READONLY, USER = "admin", "owner", "member", "restricted", "readonly", "user"
"""Roles of people and their keys. ``user`` is somebody outside any environment: only their own account."""
AGENT, REGISTER, ANONYMOUS = "agent", "register", "anonymous"

Rights = dict[str, str]
"""Role -> letters out of ``c``reate ``r``ead ``u``pdate ``d``elete ``a``ct."""

WORK: Rights = {ADMIN: "cruda", OWNER: "cruda", MEMBER: "cruda", RESTRICTED: "cruda", READONLY: "r"}
"""Stacks, services, containers."""
GROUND: Rights = {ADMIN: "cruda", OWNER: "cruda", MEMBER: "cruda", RESTRICTED: "r", READONLY: "r"}
"""Hosts and what lets them in."""
LOOK: Rights = dict.fromkeys((ADMIN, OWNER, MEMBER, RESTRICTED, READONLY, USER), "r")


def reference(type_id: str) -> str:
    """Field type: the id of another resource."""
    return f"reference[{type_id}]"


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a resource as clients see it.

    ``source`` is the record attribute behind it (default: the snake-case name); ``None`` with ``computed`` set means that
    the API works the value out. ``create`` and ``update`` say when clients may set it; elsewhere it is ignored silently.
    """

    name: str
    type: str = STRING
    create: bool = False
    update: bool = False
    nullable: bool = True
    required: bool = False
    default: Any = None
    options: tuple[str, ...] = ()
    min: int | None = None
    max: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    valid_chars: str = ""
    read_on_create_only: bool = False
    computed: bool = False
    source: str = ""
    description: str = ""

    @property
    def attribute(self) -> str:
        """The record attribute that holds the value."""
        return self.source or snake(self.name)


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be asked of a resource. ``states`` = the states in which it is offered (empty: all but removed)."""

    name: str
    input: str = ""
    output: str = ""
    states: tuple[str, ...] = ()
    reads: bool = False
    """True when it changes nothing, so that readers may call it too."""
    description: str = ""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A way from a resource to others: the rows of ``type`` whose ``field`` is this one's id."""

    name: str
    type: str
    field: str


class ResourceType(msgspec.Struct, frozen=True, kw_only=True):
    """One resource type.

    ``record`` is the record class behind it (None: a type without rows, such as an action's input); ``kinds`` narrows the
    class to rows of these kinds, the first of which new rows get. ``scope``: ``project`` rows belong to an environment,
    ``account`` rows to an account, ``installation`` rows to nobody.
    """

    id: str
    plural: str = ""
    record: type[Record] | None = None
    kinds: tuple[str, ...] = ()
    base: str = ""
    scope: str = "project"
    fields: tuple[Field, ...] = ()
    actions: tuple[Action, ...] = ()
    links: tuple[Link, ...] = ()
    rights: Rights = {}
    methods: tuple[str, ...] = ("GET", "POST", "PUT", "DELETE")
    description: str = ""

    @property
    def plural_name(self) -> str:
        """The name of the collection."""
        return self.plural or self.id + "s"

    def field(self, name: str) -> Field | None:
        """The field of this name, or None."""
        return next((f for f in self.fields if f.name == name), None)


COMMON: tuple[Field, ...] = (
    Field(name="id", type=STRING, nullable=False, computed=True),
    Field(name="uuid", max_length=128),
    Field(name="name", create=True, update=True, max_length=255),
    Field(name="description", create=True, update=True, max_length=1024),
    Field(name="kind", max_length=255),
    Field(name="state", type=ENUM),
    Field(name="accountId", type=reference("account")),
    Field(name="created", type=DATE),
    Field(name="removed", type=DATE),
    Field(name="transitioning", type=ENUM, options=("yes", "no", "error")),
    Field(name="transitioningMessage"),
    Field(name="transitioningProgress", type=INT, computed=True),
)
"""What every stored resource shows."""


def common(**replaced: Field) -> tuple[Field, ...]:
    """:data:`COMMON` with some fields declared otherwise."""
    return tuple(replaced.get(f.name, f) for f in COMMON)


def snake(name: str) -> str:
    """``dataVolumesFrom`` -> ``data_volumes_from``."""
    return "".join("_" + c.lower() if c.isupper() else c for c in name)


def camel(name: str) -> str:
    """``data_volumes_from`` -> ``dataVolumesFrom``."""
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)

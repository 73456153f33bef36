"""The vocabulary in which resource types are declared: fields, actions, links, rights.

Declarations only: how a value is fetched, written or checked against the world is the API's work.
"""

from __future__ import annotations

from typing import Any

import msgspec

from remuda.core.model import Record

STRING, INT, BOOL, DATE, JSON, ENUM, PASSWORD = "string", "int", "boolean", "date", "json", "enum", "password"
MAP, LIST = "map[string]", "array[string]"

OWNER, MEMBER, RESTRICTED, READONLY = "owner", "member", "restricted", "readonly"
"""Roles in an environment."""
PROJECTADMIN = "projectadmin"
"""An administrator of the installation within an environment."""
ADMIN, READADMIN, SERVICE, SUPERADMIN = "admin", "readAdmin", "service", "superadmin"
"""Roles in the installation: administrators, those who look only, and two for programs that belong to it."""
USER = "user"
"""Somebody outside any environment: only their own account."""
AGENT, AGENT_REGISTER, REGISTER, ANONYMOUS = "agent", "agentRegister", "register", "anonymous"

Rights = dict[str, str]
"""Role -> letters out of ``r``ead one, ``l``ist, ``c``reate, ``u``pdate, ``d``elete, ``a``ct."""

WITHIN = (PROJECTADMIN, OWNER, MEMBER, RESTRICTED, READONLY)
INSTALLATION = (ADMIN, READADMIN, SERVICE, SUPERADMIN)
EVERYONE = (*WITHIN, *INSTALLATION, USER)

LOOK: Rights = dict.fromkeys(EVERYONE, "rl")


def access(told: str) -> Rights:
    """The rights of all roles from what is said of some: ``"rlcud admin=rl"``.

    The first word is what members of an environment may. Without further words those who are restricted may the same; readers,
    people outside of an environment and administrators (who have no environment either) look only; the programs of the
    installation may what members or administrators may. All may ask for actions, but those who may less than members would.
    """
    first, *rest = told.split()
    said = {"anonymous" if role == "token" else role: letters for role, _, letters in (w.partition("=") for w in rest)}
    members = "" if first == "-" else first
    looks = "".join(letter for letter in members if letter in "rl")
    found = {
        **dict.fromkeys((PROJECTADMIN, OWNER, MEMBER, RESTRICTED), members),
        **dict.fromkeys((READONLY, USER, ADMIN), looks),
        **said,
    }
    found[SERVICE] = said.get(SERVICE, members or found[ADMIN])
    found[READADMIN] = "".join(letter for letter in found[ADMIN] if letter in "rl")
    everything = {*found[ADMIN], *members, *found[SERVICE]} - {"-"}
    found[SUPERADMIN] = said.get(SUPERADMIN) or "".join(letter for letter in "rlcud" if letter in everything)
    idle = {READONLY, READADMIN, *((RESTRICTED,) if found[RESTRICTED] != members else ())}
    return {
        role: letters + ("" if role in idle else "a") for role, letters in found.items() if letters not in ("", "-")
    }


WORK: Rights = access("rlcud")
"""What is asked by those who deploy."""


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
    label: bool = False
    """It becomes part of names in the network, so it neither begins nor ends with a hyphen."""
    read_on_create_only: bool = False
    computed: bool = False
    source: str = ""
    grants: Rights = {}
    """Role -> ``c`` and ``u``: may set it though others may not."""
    only: tuple[str, ...] = ()
    """The roles that see it; empty: all."""
    kept: bool = False
    """It has no meaning here: what a client says is kept with the row and told again."""
    description: str = ""

    def settable(self, letter: str, role: str) -> bool:
        """May ``role`` set it when a row is made (``c``) or changed (``u``)?"""
        if role in (READONLY, READADMIN):
            return False
        return (self.create if letter == "c" else self.update) or letter in self.grants.get(_as(role), "")

    def seen(self, role: str) -> bool:
        """Does ``role`` see it?"""
        return not self.only or _as(role) in self.only

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
    described_only: bool = False
    """True for what 1.x offered and Remuda does not: schemas name it, no row offers it."""
    why_not: str = ""
    """Why it is never offered, in a sentence: clients of 1.x find it in the schema, and are told."""
    not_for: tuple[str, ...] = ()
    """Roles that may ask for the type's other actions, but not for this one."""
    description: str = ""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A way from a resource to others: the rows of ``type`` whose ``field`` is this one's ``own`` (a record attribute)."""

    name: str
    type: str
    field: str
    own: str = "id"


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
    view: str = ""
    """Letters of its ids. Such a type shows rows of another one once more, as 1.x had them in a table of their own."""
    joins: str = ""
    """The record attribute that a row must have to be part of the view."""
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


def _as(role: str) -> str:
    """The role by whose flags fields are judged: all of the installation are administrators there."""
    return ADMIN if role in INSTALLATION else role


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
    Field(name="removeTime", type=DATE, source="removed", only=(ADMIN,)),
    Field(name="data", type="map[json]", only=(ADMIN,), description="What Remuda notes about it"),
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

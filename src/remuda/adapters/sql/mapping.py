"""Between a record and its row: worked out once per class, so that reading a row costs microseconds.

Scalars are columns. Everything else (dicts, lists, nested structs) is JSON *text*, written and read by msgspec: native
JSON columns differ between MySQL and MariaDB, reorder keys, and buy nothing, because nothing is searched inside them.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

from remuda.core.model import Record
from remuda.ports.store import StoreError

R = TypeVar("R", bound=Record)

SHORT_LIMIT = 255
SHORT = frozenset(
    {"uuid", "name", "kind", "desired", "state", "transitioning", "external_id", "external_id_type", "role", "group"}
    | {"public_value", "hostname", "agent_ip", "agent_version", "docker", "connection", "session_id", "session_server"}
    | {"health_state", "observed", "unit", "address", "resource_type", "level", "event_type", "auth_type", "client_ip"}
    | {"fingerprint", "node_version"}
    | {"network_ip", "tunnel_ip", "network", "managed_ip", "mac", "subnet", "encryption", "default_policy_action"}
    | {"pool", "owner", "seen", "common_name", "algorithm", "driver", "permissions"}
    | {"mode"}
)
"""Text fields that are names of something: VARCHAR(255). All other text is unlimited."""

_encode = msgspec.json.encode


class Field(NamedTuple):
    """One column. ``type``: ``short``, ``text``, ``number``, ``flag`` or ``json``."""

    name: str
    type: str
    nullable: bool
    annotation: Any


def _field(name: str, annotation: Any, short: bool) -> Field:
    base, nullable = annotation, False
    if get_origin(annotation) in (Union, types.UnionType):
        options = [option for option in get_args(annotation) if option is not type(None)]
        if len(options) == 1:
            base, nullable = options[0], len(options) < len(get_args(annotation))
    scalar = {str: "short" if short else "text", int: "number", bool: "flag"}.get(base)
    return Field(name, scalar, nullable, annotation) if scalar else Field(name, "json", False, annotation)


def fields_of(kind: type[Record]) -> list[Field]:
    """The columns of a record class, in order."""
    keyed = {name for group in (*kind.INDEXED, *kind.UNIQUE) for name in group}
    return [_field(f.name, f.type, f.name in SHORT or f.name in keyed) for f in msgspec.structs.fields(kind)]


class Mapper(Generic[R]):
    """Turns rows of one table into records and back."""

    def __init__(self, kind: type[R]) -> None:
        self.kind = kind
        self.fields = fields_of(kind)
        self.names = tuple(field.name for field in self.fields)
        self._json: list[tuple[int, Callable[[str], Any]]] = [
            (index, msgspec.json.Decoder(field.annotation).decode)
            for index, field in enumerate(self.fields)
            if field.type == "json"
        ]
        self._json_names = frozenset(field.name for field in self.fields if field.type == "json")
        self._short_names = frozenset(field.name for field in self.fields if field.type == "short")

    def record(self, row: Any) -> R:
        """The record that this row holds."""
        values = list(row)
        for index, decode in self._json:
            values[index] = decode(values[index])
        return self.kind(**dict(zip(self.names, values, strict=True)))

    def column(self, name: str, value: Any) -> Any:
        """What is stored for one field."""
        if name in self._json_names:
            return _encode(value).decode()
        if name in self._short_names and value is not None and len(value) > SHORT_LIMIT:
            raise StoreError(
                f"The {name} of this {self.kind.TABLE} has {len(value)} characters, at most {SHORT_LIMIT} can be stored; "
                f"choose a shorter one"
            )
        return value

    def row(self, record: R) -> dict[str, Any]:
        """All columns of a record; without ``id`` while it has none."""
        column = self.column
        row = {name: column(name, getattr(record, name)) for name in self.names}
        if not record.id:
            del row["id"]
        return row

    def changed(self, old: R, new: R) -> dict[str, Any]:
        """The columns whose value differs between the two."""
        column = self.column
        return {
            name: column(name, value)
            for name in self.names
            if (value := getattr(new, name)) is not (before := getattr(old, name)) and value != before
        }

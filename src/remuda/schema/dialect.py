"""How each API version names the same rows. There is one schema; a version only renames.

``/v1`` speaks of environments (``1e7``, ``environmentId``) where ``/v2-beta`` speaks of stacks (``1st7``, ``stackId``). What a
version does not rename is called the same in all. Ids are read the same everywhere, since letters in them do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from remuda.core import ids
from remuda.schema.fields import ResourceType


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """The names of one version: ours -> theirs."""

    version: str
    types: dict[str, str] = {}
    fields: dict[str, str] = {}
    letters: dict[str, str] = {}
    """Letters of ids, by table."""

    def type_id(self, ours: str) -> str:
        """The id of a type."""
        return self.types.get(ours, ours)

    def plural(self, kind: ResourceType) -> str:
        """The name of a type's collection."""
        return f"{self.types[kind.id]}s" if kind.id in self.types else kind.plural_name

    def field(self, ours: str) -> str:
        """The name of a field."""
        return self.fields.get(ours, ours)

    def field_type(self, ours: str) -> str:
        """The type of a field: references name types."""
        for mine, theirs in self.types.items():
            ours = ours.replace(f"reference[{mine}]", f"reference[{theirs}]")
        return ours

    def link(self, ours: str) -> str:
        """The name of a link: a type's id (a reference) or its plural (a collection)."""
        for mine, theirs in self.types.items():
            if ours in (mine, f"{mine}s"):
                return theirs + ours[len(mine) :]
        return ours

    def public(self, table: str, number: int | None) -> str | None:
        """The public form of a row's id."""
        letters = self.letters.get(table)
        return ids.public(table, number) if letters is None or number is None else f"1{letters}{number}"

    def our_field(self, theirs: str) -> str:
        """:meth:`field`, the other way; our own names are understood too."""
        return next((mine for mine, name in self.fields.items() if name == theirs), theirs)

    def our_link(self, theirs: str) -> str:
        """:meth:`link`, the other way and in any case."""
        lowered = theirs.lower()
        for mine, name in self.types.items():
            if lowered in (name.lower(), f"{name.lower()}s"):
                return mine + lowered[len(name) :]
        return theirs

    def told(self, error: dict[str, Any]) -> dict[str, Any]:
        """An error's document, whose sentences name fields."""

        def renamed(text: str) -> str:
            for mine, theirs in self.fields.items():
                text = text.replace(f"'{mine}", f"'{theirs}")
            return text

        field = error.get("fieldName")
        told = {"message": renamed(error["message"]), "fieldName": self.field(field) if field else field}
        return {**error, **told} if self.fields else error

    def inward(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a client sent, by our names."""
        return {self.our_field(key): value for key, value in body.items()} if self.fields else dict(body)


V1 = Dialect(version="v1")
V2 = Dialect(
    version="v2-beta",
    types={"environment": "stack", "environmentUpgrade": "stackUpgrade"},
    fields={"environmentId": "stackId"},
    letters={"stack": "st"},
)
DIALECTS = {one.version: one for one in (V1, V2)}
LATEST = V2

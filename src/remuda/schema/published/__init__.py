"""What Rancher 1.x published of its API: every type with who may do what to it, and the fields and actions that it described.

The tables beside this module are the contract with programs written for 1.x: the rights in them hold, whoever declares the type.
A type that Remuda has rows for is declared in ``schema.catalogue``, and only what that leaves out is said here. A type that is
nowhere else has no rows: it is described, its list is empty, and nothing can be made of it.

A table is text, since it is read more often than written::

    name [base=other] [plural=names] [like=other] [without=field,field] [rows|event] | rights | actions
        field type flags key=value

rights
    What members of an environment may: (r)ead one, (l)ist, (c)reate, (u)pdate, (d)elete, or - for nothing; then what others may,
    where that is not what :func:`remuda.schema.fields.access` makes of it.
actions
    ``name(input)->output``; ``*`` stands for those of a row's life.
flags
    c and u as above, ! never null, * required, 1 shown in the answer to its creation only.
    ``only=admin``: nobody else sees it; ``admin=c``: they may set it, others may not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

import msgspec

from remuda.schema.fields import Action, Field, ResourceType, Rights, access, common

ROOMS = ("people", "work", "ground", "events", "later")
_LIFE = ("activate", "create", "deactivate", "purge", "remove", "restore", "update")
_ACTION = re.compile(r"(?P<name>\w+)(\((?P<input>\w+)\))?(->(?P<output>\w+))?")
_BOUNDS = {"min": "min", "max": "max", "minLength": "min_length", "maxLength": "max_length"}
_EVENT = {"id", "uuid", "kind", "state", "accountId", "created", "data", "transitioning", "transitioningMessage",
          "transitioningProgress"}  # fmt: skip


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a table: ``type`` as it is without a declaration of ours."""

    type: ResourceType
    like: str = ""
    without: tuple[str, ...] = ()


@cache
def tables() -> dict[str, Published]:
    """All entries by type id."""
    found: dict[str, Published] = {}
    for room in ROOMS:
        text = (files(__name__) / f"{room}.txt").read_text()
        for head, lines in _entries(text):
            entry = _entry(head, lines)
            if entry.type.id in found:
                raise ValueError(f"{room}.txt: there are two entries '{entry.type.id}'")
            found[entry.type.id] = entry
    return found


def merged(ours: dict[str, ResourceType]) -> dict[str, ResourceType]:
    """Our types, completed by what was published of them, and those that were published only."""
    return {**ours, **{name: _completed(name, ours) for name in tables()}}


def _completed(name: str, ours: dict[str, ResourceType]) -> ResourceType:
    told, mine = tables()[name].type, ours.get(name)
    fields = {f.name: f for f in (mine.fields if mine else told.fields)}
    for field in _further(name, ours):
        fields.setdefault(field.name, field)
    if mine is not None and mine.rights:
        raise ValueError(f"{name}: its rights are said in the tables, and must not be said again")
    base = mine or told
    actions = {a.name: a for a in (*_lent_actions(name, ours), *told.actions, *base.actions)}
    return msgspec.structs.replace(
        base,
        rights=told.rights,
        methods=_methods(told.rights),
        base=base.base or told.base,
        fields=tuple(fields.values()),
        actions=tuple(actions.values()),
    )


def _further(name: str, ours: dict[str, ResourceType]) -> Iterator[Field]:
    """The published fields that our declaration leaves out; those of a likeness are lent."""
    entry = tables()[name]
    yield from entry.type.fields if name in ours else ()
    if entry.like:
        lent = _further(entry.like, ours) if name in ours else _completed(entry.like, ours).fields
        yield from (f for f in lent if f.name not in entry.without)


def _lent_actions(name: str, ours: dict[str, ResourceType]) -> Iterator[Action]:
    if like := tables()[name].like:
        yield from (msgspec.structs.replace(a, described_only=True) for a in _completed(like, ours).actions)


def _methods(rights: Rights) -> tuple[str, ...]:
    letters = set().union(*rights.values())
    told = (("GET", "rl"), ("POST", "c"), ("PUT", "u"), ("DELETE", "d"))
    return tuple(method for method, wanted in told if letters & set(wanted))


def _entries(text: str) -> Iterator[tuple[str, list[str]]]:
    for block in re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", text).strip()):
        head, *lines = [line for line in block.split("\n") if line.strip()]
        yield head, lines


def _entry(head: str, lines: list[str]) -> Published:
    named, told, *rest = (part.strip() for part in head.split("|"))
    name, *words = named.split()
    options = dict(w.split("=", 1) for w in words if "=" in w)
    fields = tuple(_field(line) for line in lines)
    known = {"rows": common(), "event": tuple(f for f in common() if f.name in _EVENT)}
    first = next((known[word] for word in words if word in known), (Field(name="id", computed=True),))
    fields = tuple({f.name: f for f in (*first, *fields)}.values())
    actions = tuple(_actions(rest[0] if rest else "", options.get("base", name)))
    kind = ResourceType(
        id=name,
        plural=options.get("plural", ""),
        base=options.get("base", ""),
        rights=access(told),
        fields=fields,
        actions=actions,
    )
    return Published(
        type=kind, like=options.get("like", ""), without=tuple(filter(None, options.get("without", "").split(",")))
    )


def _actions(text: str, output: str) -> Iterator[Action]:
    for word in text.replace("*", " ".join(_LIFE), 1).split():
        match = _ACTION.fullmatch(word)
        if match is None:
            raise ValueError(f"'{word}' is no action")
        yield Action(
            name=match["name"], input=match["input"] or "", output=match["output"] or output, described_only=True
        )


def _field(line: str) -> Field:
    name, kind, *words = line.split()
    flags = words.pop(0) if words and "=" not in words[0] else ""
    options = dict(w.split("=", 1) for w in words)
    grants = {role: options[role] for role in ("admin",) if role in options}
    return Field(
        name=name,
        type=kind,
        create="c" in flags,
        update="u" in flags,
        nullable="!" not in flags,
        required="*" in flags,
        read_on_create_only="1" in flags,
        default=json.loads(options["default"]) if "default" in options else None,
        options=tuple(options["options"].split("|")) if "options" in options else (),
        valid_chars=options.get("chars", ""),
        grants=grants,
        only=tuple(options["only"].split(",")) if "only" in options else (),
        kept=True,
        **{ours: int(options[theirs]) for theirs, ours in _BOUNDS.items() if theirs in options},  # type: ignore[arg-type]
    )

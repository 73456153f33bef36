"""Versions as catalogs write them: ``v1.6.30``, ``0.7.4-rancher1``, ``latest``; their order, and ranges of them.

What looks like a semantic version is ordered as one; anything else comes before all of those, in the order of its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:[-.]?([0-9A-Za-z][0-9A-Za-z.-]*))?(?:\+.*)?$")
_PART = re.compile(r"(>=|<=|!=|==|=|>|<|\^|~)?\s*(v?[0-9][0-9A-Za-z.+-]*|\*|x)")

Key = tuple[Any, ...]


def key(version: str) -> Key:
    """What to sort by: a version without a suffix comes after those with one (``1.0.0-rc1`` is before ``1.0.0``)."""
    found = _VERSION.match(version.strip())
    if found is None:
        return (0, version)
    numbers = tuple(int(number or 0) for number in found.groups()[:3])
    suffix = found[4] or ""
    words = (
        tuple((0, int(word), "") if word.isdecimal() else (1, 0, word) for word in suffix.split(".")) if suffix else ()
    )
    return (1, numbers, not suffix, words)


def newer(version: str, than: str) -> bool:
    """Is a version after another?"""
    return key(version) > key(than)


def _same(a: Key, b: Key, count: int) -> bool:
    """Do the first numbers of two versions agree?"""
    return bool(a[0] and b[0] and a[1][:count] == b[1][:count])


_COMPARE: dict[str, Callable[[Key, Key], bool]] = {
    "": lambda a, b: a == b, "=": lambda a, b: a == b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    "~": lambda a, b: a >= b and _same(a, b, 2), "^": lambda a, b: a >= b and _same(a, b, 1),
}  # fmt: skip


def within(version: str, wanted: str) -> bool:
    """Is a version in a range such as ``v0.2.0 || >=0.3.0 <1.0.0``? An unreadable range holds none."""
    for alternative in wanted.split("||"):
        parts = _PART.findall(alternative)
        if parts and _PART.sub("", alternative).strip(" ,") == "" and all(_holds(version, *part) for part in parts):
            return True
    return False


def _holds(version: str, sign: str, bound: str) -> bool:
    return bound in ("*", "x") or bool(_COMPARE[sign](key(version), key(bound)))


def offered(server: str, least: str, most: str) -> bool:
    """May a server of this version be offered something with these bounds (empty: none)?"""
    return (not least or key(server) >= key(least)) and (not most or key(server) <= key(most))

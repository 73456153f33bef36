"""The functions of templates: Go's own and those of sprig that catalogs use or plausibly will. All are pure.

Left out on purpose: what reads the machine (env, files), what differs each time (random, dates, keys), and what calls others.
"""

from __future__ import annotations

import base64
import json
import math
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

MAX_RANGE = 10_000
MAX_TEXT = 1_000_000


class Missing:
    """What a way through a mapping leads to when there is nothing."""

    def __bool__(self) -> bool:
        return False


MISSING = Missing()


def truth(value: object) -> bool:
    """What counts as true: anything but false, zero, nothing and what is empty."""
    return bool(value)


def text(value: object) -> str:
    """A value as a template prints it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<nil>"
    if isinstance(value, Missing):
        return "<no value>"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, list):
        return f"[{' '.join(map(text, value))}]"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{text(value[key])}' for key in sorted(value))}]"
    return str(value)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "number"
    return {str: "text", float: "fraction"}.get(type(value), "")


def _compared(a: object, b: object) -> None:
    if not _kind(a) or _kind(a) != _kind(b):
        raise ValueError(f"{text(a)!r} and {text(b)!r} are of different kinds and cannot be compared")


def eq(first: Any, *others: Any) -> bool:
    for other in others:
        _compared(first, other)
    return any(first == other for other in others)


def ne(a: Any, b: Any) -> bool:
    _compared(a, b)
    return bool(a != b)


def lt(a: Any, b: Any) -> bool:
    _compared(a, b)
    return bool(a < b)


def le(a: Any, b: Any) -> bool:
    _compared(a, b)
    return bool(a <= b)


def both(first: Any, *others: Any) -> Any:
    for value in (first, *others):
        if not truth(value):
            return value
    return (first, *others)[-1]


def either(first: Any, *others: Any) -> Any:
    for value in (first, *others):
        if truth(value):
            return value
    return (first, *others)[-1]


def index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, MISSING)
        elif isinstance(value, list | str) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise ValueError(f"the index {key} is out of range")
            value = value[key] if isinstance(value, list) else ord(value[key])
        else:
            raise ValueError(f"{text(value)!r} has no index {text(key)!r}")
    return value


_VERB = re.compile(r"%([-+ #0]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")


def printf(form: str, *values: Any) -> str:
    """Go's verbs; a value that is missing or of the wrong kind is told in the text, as there."""
    rest = list(values)

    def verb(found: re.Match[str]) -> str:
        flags, width, precision, letter = found.groups()
        if letter == "%":
            return "%"
        if not rest:
            return f"%!{letter}(MISSING)"
        if int(width or 0) > MAX_RANGE or int(precision or 0) > MAX_RANGE:
            raise ValueError("printf: the width is too large")
        value = rest.pop(0)
        spec = f"%{flags}{width}{'.' + precision if precision else ''}"
        if letter in "sv":
            return (spec + "s") % text(value)
        if letter == "q":
            return quote(text(value))
        if letter == "t" and isinstance(value, bool):
            return text(value)
        if letter in "dxXo" and isinstance(value, int):
            return str((spec + letter) % value)
        if letter in "feEgG" and isinstance(value, int | float):
            return str((spec + letter) % value)
        return f"%!{letter}({text(value)})"

    out = _VERB.sub(verb, form)
    return out + "".join(f"%!(EXTRA {text(value)})" for value in rest)


def quote(*values: Any) -> str:
    return " ".join(json.dumps(text(value), ensure_ascii=False) for value in values)


def integer(value: Any) -> int:
    """Nothing that can be read as a number is 0."""
    try:
        return int(value) if not isinstance(value, str) else int(value, 10)
    except (ValueError, TypeError, OverflowError):
        return 0


def fraction(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError):
        return 0.0


def until(count: Any) -> list[int]:
    return step(0, integer(count), -1 if integer(count) < 0 else 1)


def step(start: Any, stop: Any, by: Any) -> list[int]:
    found = range(integer(start), integer(stop), integer(by)) if integer(by) else range(0)
    if len(found) > MAX_RANGE:
        raise ValueError(f"a range of more than {MAX_RANGE} numbers")
    return list(found)


def _repeat(count: Any, value: Any) -> str:
    if integer(count) * len(text(value)) > MAX_TEXT:
        raise ValueError("the text becomes too long")
    return text(value) * max(0, integer(count))


def _truncate(count: Any, value: Any) -> str:
    whole = text(value)
    return whole[: integer(count)] if integer(count) >= 0 else whole[integer(count) :]


def _indent(count: Any, value: Any) -> str:
    pad = _repeat(count, " ")
    return pad + text(value).replace("\n", "\n" + pad)


def split_quoted(value: Any) -> list[str]:
    """Words of a command line; what is quoted stays together, quotes included."""
    lexer = shlex.shlex(text(value), posix=False, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return list(lexer)
    except ValueError:
        return text(value).split()


def _divide(a: Any, b: Any) -> int:
    """Towards zero, as Go divides."""
    whole = abs(integer(a)) // abs(integer(b))
    return whole if (integer(a) < 0) == (integer(b) < 0) else -whole


def _remainder(a: Any, b: Any) -> int:
    return integer(a) - integer(b) * _divide(a, b)


def _pairs(*values: Any) -> dict[str, Any]:
    return {text(key): value for key, value in zip(values[::2], (*values[1::2], ""), strict=False)}


def _default(given: Any, value: Any = "") -> Any:
    return value if truth(value) else given


def _round(value: Any, places: Any = 0) -> float:
    return float(round(fraction(value), integer(places)))


def _unique(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _matches(pattern: Any, value: Any) -> bool:
    if len(text(pattern)) > 200 or len(text(value)) > 2000:
        raise ValueError("the pattern or the text is too long")
    return re.search(text(pattern), text(value)) is not None


def _printed(*values: Any) -> str:
    out = ""
    for number, value in enumerate(values):
        between = number and not isinstance(value, str) and not isinstance(values[number - 1], str)
        out += (" " if between else "") + text(value)
    return out


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": eq, "ne": ne, "lt": lt, "le": le, "gt": lambda a, b: not le(a, b), "ge": lambda a, b: not lt(a, b),
    "and": both, "or": either, "not": lambda value: not truth(value), "index": index, "len": len,
    "print": _printed, "println": lambda *v: " ".join(map(text, v)) + "\n", "printf": printf,
    # texts
    "splitPreserveQuotes": split_quoted,
    "split": lambda by, v: {f"_{n}": part for n, part in enumerate(text(v).split(by))},
    "splitList": lambda by, v: text(v).split(by), "join": lambda by, v: by.join(map(text, v)),
    "trim": lambda v: text(v).strip(), "trimAll": lambda c, v: text(v).strip(c),
    "trimPrefix": lambda c, v: text(v).removeprefix(c), "trimSuffix": lambda c, v: text(v).removesuffix(c),
    "upper": lambda v: text(v).upper(), "lower": lambda v: text(v).lower(), "title": lambda v: text(v).title(),
    "contains": lambda part, v: text(part) in text(v), "hasPrefix": lambda p, v: text(v).startswith(p),
    "hasSuffix": lambda p, v: text(v).endswith(p), "replace": lambda a, b, v: text(v).replace(a, b),
    "repeat": _repeat, "substr": lambda a, b, v: text(v)[integer(a) : integer(b) if integer(b) >= 0 else None],
    "trunc": _truncate, "nospace": lambda v: "".join(text(v).split()), "cat": lambda *v: " ".join(map(text, v)),
    "quote": quote, "squote": lambda *v: " ".join(f"'{text(one)}'" for one in v), "toString": text,
    "indent": _indent, "nindent": lambda count, v: "\n" + _indent(count, v), "regexMatch": _matches,
    "b64enc": lambda v: base64.b64encode(text(v).encode()).decode(),
    "b64dec": lambda v: base64.b64decode(text(v)).decode(errors="replace"), "toJson": json.dumps,
    # values that are not there
    "default": _default, "empty": lambda v: not truth(v), "ternary": lambda a, b, test: a if test else b,
    "coalesce": lambda *v: next((one for one in v if truth(one)), None),
    # numbers
    "atoi": integer, "int": integer, "int64": integer, "float64": fraction, "until": until, "untilStep": step,
    "add": lambda *v: sum(map(integer, v)), "add1": lambda v: integer(v) + 1, "sub": lambda a, b: integer(a) - integer(b),
    "mul": lambda *v: math.prod(map(integer, v)), "div": _divide, "mod": _remainder,
    "max": lambda *v: max(map(integer, v)), "min": lambda *v: min(map(integer, v)), "round": _round,
    "ceil": lambda v: float(math.ceil(fraction(v))), "floor": lambda v: float(math.floor(fraction(v))),
    # lists and mappings
    "list": lambda *v: list(v), "tuple": lambda *v: list(v), "dict": _pairs, "first": lambda v: v[0] if v else None,
    "last": lambda v: v[-1] if v else None, "rest": lambda v: v[1:], "initial": lambda v: v[:-1],
    "append": lambda v, one: [*v, one], "prepend": lambda v, one: [one, *v], "has": lambda one, v: one in v,
    "uniq": _unique, "sortAlpha": lambda v: sorted(map(text, v)), "without": lambda v, *out: [one for one in v if one not in out],
    "get": lambda v, key: v.get(key, ""), "hasKey": lambda v, key: key in v, "keys": sorted,
    "values": lambda v: [v[key] for key in sorted(v)],
}  # fmt: skip

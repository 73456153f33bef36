"""Text to nodes: YAML as compose files mean it, not as YAML 1.1 would have it.

Differences on purpose: no base-60 numbers and no dates (``22:22`` and ``1:30`` stay text), ``y``/``n`` stay text, a key
given twice warns and the last one wins, a tab after a value is tolerated. It works on parser events so that deep nesting,
self-reference and alias bombs are refused with a sentence instead of filling memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import yaml

from remuda.compose.nodes import Node, Report, Scalar, Value

MAX_CHARS = 2_000_000
MAX_DEPTH = 60
MAX_NODES = 200_000

_INT = re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)$")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?$|[-+]?[0-9]+[eE][-+]?[0-9]+$")
_NULLS = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"}
_FALSE = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"}
_BAD_TABS = re.compile(r"[ \t]*\t[ \t]*$", re.MULTILINE)


class _RefusedError(Exception):
    """Carries a problem out of the recursion."""

    def __init__(self, node: Node, message: str) -> None:
        super().__init__(message)
        self.node, self.message = node, message


def read(text: str, file: str, report: Report, lines: Sequence[int] = ()) -> Node | None:
    """The document as nodes; None when there is none or it cannot be read (then the report says why).

    ``lines[n]`` is the line of the file (from 1) that the text's line n (from 0) comes from, where they differ.
    """
    if len(text) > MAX_CHARS:
        report.error(Node(None, file, 1, 1), f"the file is larger than {MAX_CHARS // 1_000_000} MB; split the stack")
        return None
    text = text.removeprefix("\ufeff")
    scratch = Report()
    root = _attempt(text, file, scratch, lines)
    if scratch.failed and "\t" in text:
        # go-yaml, which wrote the rules these files were made for, skips tabs after a value; libyaml refuses them.
        retry = Report()
        again = _attempt(_BAD_TABS.sub("", text), file, retry, lines)
        if not retry.failed:
            root, scratch = again, retry
    for problem in scratch.problems:
        report.add(problem)
    return root


def _attempt(text: str, file: str, report: Report, lines: Sequence[int]) -> Node | None:
    try:
        return _Builder(text, file, report, lines).document()
    except _RefusedError as refusal:
        report.error(refusal.node, refusal.message)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Node(None, file, _line(mark.line, lines), mark.column + 1) if mark else Node(None, file, 1, 1)
        said = " ".join(part for part in (error.context, error.problem) if part)
        hint = ""
        if "token" in said and "start any" in said:
            hint = " (indent with spaces, never tabs; quote values that start with @, %, ` or a tab)"
        elif "mapping values are not allowed" in said:
            hint = " (check the indentation, or quote a value that contains a colon)"
        report.error(place, f"this is not valid YAML: {said}{hint}")
    except yaml.YAMLError as error:
        line = _line(text.count("\n", 0, getattr(error, "position", 0) or 0), lines)
        reason = getattr(error, "reason", "") or "unreadable"
        report.error(Node(None, file, line, 1), f"this is not valid YAML: {reason}")
    except (UnicodeError, ValueError, OverflowError):
        report.error(Node(None, file, 1, 1), "this is not valid YAML: it holds characters that are not text")
    return None


def _line(number: int, lines: Sequence[int]) -> int:
    return lines[number] if number < len(lines) else number + 1


class _Builder:
    """One pass over the events of one text."""

    def __init__(self, text: str, file: str, report: Report, lines: Sequence[int]) -> None:
        self.lines = lines
        self.events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
        self.file = file
        self.report = report
        self.anchors: dict[str, Node | None] = {}
        self.count = 0

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                node = self.build(next(self.events), "", 0)
                if root is None:
                    root = node
                elif node.value is not None:
                    self.report.warning(node, "only the first document of the file is used; this one is ignored")
        return root

    def place(self, event: yaml.Event, path: str) -> Node:
        mark = event.start_mark
        line, column = (_line(mark.line, self.lines), mark.column + 1) if mark else (0, 0)
        return Node(None, self.file, line, column, path)

    def build(self, event: yaml.Event, path: str, depth: int) -> Node:
        here = self.place(event, path)
        if depth > MAX_DEPTH:
            raise _RefusedError(here, f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event.anchor, here)
        self.spend(1, here)
        anchor = getattr(event, "anchor", None)
        if anchor:
            self.anchors[anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = self.scalar(event, here)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self.sequence(here, path, depth)
        else:
            node = self.mapping(here, path, depth)
        if anchor:
            self.anchors[anchor] = node
        return node

    def spend(self, amount: int, here: Node) -> None:
        self.count += amount
        if self.count > MAX_NODES:
            raise _RefusedError(here, f"the file expands to more than {MAX_NODES} values; use fewer aliases")

    def alias(self, anchor: str | None, here: Node) -> Node:
        if anchor is None or anchor not in self.anchors:
            raise _RefusedError(here, f"there is no anchor &{anchor} above this line")
        node = self.anchors[anchor]
        if node is None:
            raise _RefusedError(here, f"&{anchor} refers to itself")
        self.spend(node.size, here)
        return node

    def scalar(self, event: yaml.ScalarEvent, here: Node) -> Node:
        text = event.value
        style = event.style or ""
        value: Scalar = text
        if (event.implicit[0] and not style) or (
            event.tag and event.tag.startswith("tag:yaml.org,2002:") and not event.tag.endswith(":str")
        ):
            value = resolve(text)
        elif event.tag and event.tag.startswith("!") and event.tag != "!":
            self.report.warning(here, f"the tag {event.tag} is ignored")
        return replace(here, value=value, raw=text, style=style)

    def sequence(self, here: Node, path: str, depth: int) -> Node:
        items: list[Node] = []
        size = 1
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            child = self.build(event, f"{path}[{len(items)}]", depth + 1)
            size += child.size
            items.append(child)
        return replace(here, value=items, size=size)

    def mapping(self, here: Node, path: str, depth: int) -> Node:
        found: dict[str, Node] = {}
        merged: list[Node] = []
        size = 1
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.build(event, path, depth + 1)
            if not key.is_scalar:
                raise _RefusedError(key, "a key must be plain text; quote it if it holds brackets or braces")
            name = key.raw if isinstance(key.value, str) or key.value is None else canonical(key.value)
            child = self.build(next(self.events), f"{path}.{name}" if path else name, depth + 1)
            size += child.size
            if name == "<<" and not key.style:
                merged.extend(child.elements() if child.is_list else [child])
                continue
            child = replace(child, key_line=key.line, key_column=key.column)
            if name in found:
                first = found.pop(name)
                self.report.warning(
                    child, f"{name} is given twice (first on line {first.key_line}); the last one is used", key=True
                )
            found[name] = child
        for source in merged:
            if not source.is_map:
                raise _RefusedError(here, "<< must name a mapping, or a list of mappings")
            for name, child in source.items():
                found.setdefault(name, child)
        return replace(here, value=found, size=size)


def resolve(text: str) -> Scalar:
    """What an unquoted scalar means."""
    if text in _NULLS:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if len(text) <= 40:
        if _INT.match(text):
            return _integer(text)
        if _FLOAT.match(text) and any(c.isdecimal() for c in text):
            return float(text.replace("_", ""))
    return text


def _integer(text: str) -> Scalar:
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    try:
        if len(digits) > 1 and digits[0] == "0":
            if digits[1] in "bBxX":
                return sign * int(digits, 0)
            return sign * int(digits.lstrip("0oO") or "0", 8)
        return sign * int(digits)
    except ValueError:
        return text


def canonical(value: Value) -> str:
    """The text of a scalar where text is wanted: ``true``, ``420``, ``1.1``; nothing for null and for collections."""
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)

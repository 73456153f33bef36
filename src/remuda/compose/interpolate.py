"""``$X ${X} ${X:-default} ${X-default} ${X:?message} ${X?message} ${X:+other} ${X+other}`` and ``$$``.

Works on values only, never on keys, and before anything is validated: ``scale: ${N}`` is checked as the number it becomes.
A variable that is not set gives empty text and a warning, as in the original.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from remuda.compose.nodes import Node, Report

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")
_MAX_RESULT = 1_000_000
_MAX_NESTING = 20


class _BadError(Exception):
    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset, self.message = offset, message


@dataclass(slots=True)
class Interpolation:
    """Fills variables into nodes and remembers which were asked for."""

    environment: Mapping[str, str]
    report: Report
    used: dict[str, None] = field(default_factory=dict)
    spent: int = 0

    def node(self, node: Node) -> Node:
        """The node with every text below it filled in."""
        value = node.value
        if isinstance(value, dict):
            return node.with_value({key: self.node(child) for key, child in value.items()})
        if isinstance(value, list):
            return node.with_value([self.node(child) for child in value])
        if not isinstance(value, str) or "$" not in value:
            return node
        try:
            return node.with_value(self.text(value, node))
        except _BadError as bad:
            self.report.error(_at(node, bad.offset), bad.message)
            return node.with_value("")

    def lookup(self, name: str) -> str | None:
        """A variable's value; asking is remembered."""
        self.used.setdefault(name)
        return self.environment.get(name)

    def text(self, text: str, node: Node, base: int = 0, nesting: int = 0) -> str:
        """One text filled in; ``base`` is its offset in the node's text."""
        if nesting > _MAX_NESTING:
            raise _BadError(base, "variables are nested too deeply")
        out: list[str] = []
        at = 0
        while (dollar := text.find("$", at)) >= 0:
            out.append(text[at:dollar])
            piece, at = self._variable(text, dollar, node, base, nesting)
            out.append(piece)
        out.append(text[at:])
        result = "".join(out)
        self.spent += len(result)
        if self.spent > 10 * _MAX_RESULT or len(result) > _MAX_RESULT:
            raise _BadError(base, "the filled-in text is too long")
        return result

    def _variable(self, text: str, dollar: int, node: Node, base: int, nesting: int) -> tuple[str, int]:
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            return "$", dollar + 2
        braced = following == "{"
        match = _NAME.match(text, dollar + (2 if braced else 1))
        if match is None:
            raise _BadError(
                base + dollar,
                f"{text[dollar : dollar + 12]!r} is not a variable; write $$ where a dollar sign itself is meant",
            )
        name = match.group()
        if not braced:
            return self._plain(name, node, base + dollar), match.end()
        end = _closing(text, dollar)
        if end < 0:
            raise _BadError(base + dollar, f"${{{name} has no closing brace")
        rest = text[match.end() : end]
        if not rest:
            return self._plain(name, node, base + dollar), end + 1
        operator = next((op for op in _OPERATORS if rest.startswith(op)), "")
        if not operator:
            raise _BadError(
                base + dollar, f"${{{name}{rest}}} is not understood; after the name may come :- - :? ? :+ or +"
            )
        argument = rest[len(operator) :]
        inner = base + match.end() + len(operator)
        return self._operate(name, operator, argument, node, base + dollar, inner, nesting), end + 1

    def _plain(self, name: str, node: Node, offset: int) -> str:
        value = self.lookup(name)
        if value is None:
            self.report.warning(_at(node, offset), f"the variable {name} is not set; it counts as empty")
            return ""
        return value

    def _operate(
        self, name: str, operator: str, argument: str, node: Node, offset: int, inner: int, nesting: int
    ) -> str:
        value = self.lookup(name)
        present = value is not None and (value != "" or ":" not in operator)
        kind = operator[-1]
        if kind == "+":
            return self.text(argument, node, inner, nesting + 1) if present else ""
        if present:
            return value or ""
        if kind == "-":
            return self.text(argument, node, inner, nesting + 1)
        said = self.text(argument, node, inner, nesting + 1) or "it is required"
        raise _BadError(offset, f"the variable {name} is not set: {said}")


def _closing(text: str, dollar: int) -> int:
    """Index of the brace that closes the one after ``dollar``; -1 when there is none."""
    depth = 0
    at = dollar
    while at < len(text):
        if text.startswith("$$", at):
            at += 2
            continue
        if text.startswith("${", at):
            depth += 1
            at += 2
            continue
        if text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return -1


def _at(node: Node, offset: int) -> Node:
    """The place inside a scalar where that can be told: values written on one line, plain or quoted."""
    if node.style in ("|", ">") or "\n" in node.raw or not node.line:
        return node
    return replace(node, column=node.column + offset + (1 if node.style else 0))

"""A tree of YAML values that remember where they were written, and the collector of problems.

A node keeps its place through interpolation and merging, so every later complaint can point at a line and a column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias, Union

from remuda.compose.model import ERROR, WARNING, Problem

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = Union[Scalar, "list[Node]", "dict[str, Node]"]


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place. ``raw`` is a scalar's text as written; ``key_line``/``key_column`` is its key's place."""

    value: Value
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""
    raw: str = ""
    style: str = ""
    key_line: int = 0
    key_column: int = 0
    size: int = 1

    def with_value(self, value: Value) -> Node:
        """The same place with another value."""
        return replace(self, value=value)

    @property
    def is_map(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, list)

    @property
    def is_scalar(self) -> bool:
        return not isinstance(self.value, dict | list)

    def items(self) -> list[tuple[str, Node]]:
        """Pairs of a mapping; none for anything else."""
        return list(self.value.items()) if isinstance(self.value, dict) else []

    def elements(self) -> list[Node]:
        """Elements of a list; none for anything else."""
        return self.value if isinstance(self.value, list) else []

    def get(self, key: str) -> Node | None:
        """A mapping's value, None when absent or when this is no mapping."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    @property
    def kind(self) -> str:
        """What this is, in words for people."""
        value = self.value
        if value is None:
            return "nothing"
        names = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
        return names[type(value)]


@dataclass(slots=True)
class Report:
    """Collects problems. Keeps at most ``limit`` of them: nobody reads more, and input may be hostile."""

    problems: list[Problem] = field(default_factory=list)
    limit: int = 200

    def error(self, node: Node | None, message: str, *, key: bool = False) -> None:
        """Something that forbids deploying. ``key`` points at the key instead of the value."""
        self._add(ERROR, node, message, key)

    def warning(self, node: Node | None, message: str, *, key: bool = False) -> None:
        """Something worth knowing."""
        self._add(WARNING, node, message, key)

    def _add(self, severity: str, node: Node | None, message: str, key: bool) -> None:
        message = message if len(message) <= 400 else f"{message[:300]} ... {message[-60:]}"
        if node is None:
            problem = Problem(severity=severity, message=message)
        else:
            at_key = (key or not node.line) and node.key_line
            line, column = (node.key_line, node.key_column) if at_key else (node.line, node.column)
            problem = Problem(
                severity=severity, message=message, file=node.file, line=line, column=column, field=node.path
            )
        self.add(problem)

    def add(self, problem: Problem) -> None:
        """Keep a problem unless it is known already or there are too many; an error always finds room."""
        if problem in self.problems:
            return
        if len(self.problems) < self.limit or (problem.severity == ERROR and not self.failed):
            self.problems.append(problem)

    @property
    def failed(self) -> bool:
        """True once an error was seen."""
        return any(p.severity == ERROR for p in self.problems)

    def ordered(self) -> Iterator[Problem]:
        """Errors first, then by place."""
        return iter(sorted(self.problems, key=lambda p: (p.severity != ERROR, p.file, p.line, p.column)))


def plain(node: Node) -> object:
    """The value without its places."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value

"""Go's text templates, as far as catalogs use them in compose files: rendered before anything else is read.

The functions are in :mod:`~remuda.compose.gotemplate.functions`. Nothing here knows YAML or compose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remuda.compose.gotemplate.evaluate import Evaluation
from remuda.compose.gotemplate.functions import FUNCTIONS
from remuda.compose.gotemplate.lexer import TemplateError, tokens
from remuda.compose.gotemplate.parser import Assign, Branch, Field, Part, Pipe, Print, parse

__all__ = ["Rendered", "Template", "TemplateError"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """``lines[n]`` is the line of the template (from 1) that the text's line n (from 0) comes from."""

    text: str
    lines: Sequence[int]


class Template:
    """A template that was read. Raises :class:`TemplateError` with ``parsed`` False."""

    def __init__(self, text: str) -> None:
        self._parts = parse(tokens(text), FUNCTIONS)

    def roots(self) -> set[str]:
        """The names right below the dot that it asks for: ``Values``, ``Stack`` and so on."""
        found: set[str] = set()
        _ask(self._parts, found, True)
        return found

    def render(self, root: Mapping[str, Any]) -> Rendered:
        """Its text with these values. Raises :class:`TemplateError` with ``parsed`` True."""
        run = Evaluation(root)
        try:
            run.run(self._parts, root)
        except RecursionError:
            raise TemplateError("the template is nested too deeply", 1, 1, parsed=True) from None
        return Rendered("".join(run.out), run.lines)


def _ask(parts: Sequence[Part], found: set[str], top: bool) -> None:
    for part in parts:
        if isinstance(part, Print | Assign | Branch):
            _ask_pipe(part.pipe, found, top)
        if isinstance(part, Branch):
            _ask(part.body, found, top and part.word == "if")
            _ask(part.otherwise, found, top)


def _ask_pipe(pipe: Pipe, found: set[str], top: bool) -> None:
    for command in pipe.commands:
        for one in command:
            if isinstance(one, Field) and isinstance(one.of, Pipe):
                _ask_pipe(one.of, found, top)
            elif isinstance(one, Field) and one.path and (one.of == "$" or (top and one.of == "")):
                found.add(one.path[0])

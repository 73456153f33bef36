"""Text of a Go template to tokens: what is literal, and the words of each action with their places."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass

MAX_CHARS = 2_000_000

_COMMENT = re.compile(r"/\*.*?\*/(\s+-)?\}\}", re.DOTALL)
_WORD = re.compile(
    r"""(?P<space>\s+)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
      | (?P<char>'(?:[^'\\\n]|\\.)+')
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+))
      | (?P<variable>\$\w*(?:\.[^\W\d]\w*)*)
      | (?P<field>(?:\.[^\W\d]\w*)+)
      | (?P<dot>\.)
      | (?P<word>[^\W\d]\w*)
      | (?P<sign>:=|[=|(),])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class TemplateError(Exception):
    """What is wrong with a template, and where. ``parsed`` tells mistakes of its words from those of carrying it out."""

    def __init__(self, message: str, line: int, column: int, *, parsed: bool = False) -> None:
        super().__init__(message)
        self.message, self.line, self.column, self.parsed = message, line, column, parsed


@dataclass(frozen=True, slots=True)
class Token:
    """``kind`` is text, open, close, or a kind of word; ``glued`` when nothing separates it from the word before."""

    kind: str
    text: str
    line: int
    column: int
    glued: bool = False


class _Cursor:
    def __init__(self, text: str) -> None:
        self.text = text
        self._line, self._at, self._start = 1, 0, 0

    def place(self, at: int) -> tuple[int, int]:
        """Line and column; ``at`` never goes back."""
        count = self.text.count("\n", self._at, at)
        if count:
            self._line += count
            self._start = self.text.rindex("\n", self._at, at) + 1
        self._at = at
        return self._line, at - self._start + 1


def tokens(text: str) -> Iterator[Token]:
    """All tokens in order. Raises TemplateError."""
    if len(text) > MAX_CHARS:
        raise TemplateError("the template is larger than 2 MB", 1, 1)
    cursor, at, trim = _Cursor(text), 0, False
    while (start := text.find("{{", at)) >= 0:
        left = text[start + 2 : start + 3] == "-" and text[start + 3 : start + 4].isspace()
        yield from _literal(text, at, start, trim, left, cursor)
        inside = start + (4 if left else 2)
        comment = _COMMENT.match(text, inside)
        if comment:
            at, trim = comment.end(), bool(comment[1])
            continue
        yield Token("open", "{{", *cursor.place(start))
        at, trim = yield from _action(text, inside, cursor)
    yield from _literal(text, at, len(text), trim, False, cursor)


def _literal(text: str, at: int, end: int, trim: bool, right: bool, cursor: _Cursor) -> Iterator[Token]:
    part = text[at:end]
    if trim:
        shorter = part.lstrip()
        at += len(part) - len(shorter)
        part = shorter
    if right:
        part = part.rstrip()
    if part:
        yield Token("text", part, *cursor.place(at))


def _action(text: str, at: int, cursor: _Cursor) -> Generator[Token, None, tuple[int, bool]]:
    """The words up to ``}}``; returns where the text goes on, and whether blanks before it are dropped."""
    glued = False
    while True:
        if text.startswith("}}", at):
            yield Token("close", "}}", *cursor.place(at))
            return at + 2, False
        if text.startswith("-}}", at) and text[at - 1].isspace():
            yield Token("close", "}}", *cursor.place(at))
            return at + 3, True
        found = _WORD.match(text, at)
        if found is None or found.lastgroup is None:
            place = cursor.place(at)
            if at >= len(text):
                raise TemplateError("the action is not closed: }} is missing", *place)
            raise TemplateError(f"unexpected {text[at]!r} in the action", *place)
        kind = found.lastgroup
        if kind == "space":
            glued = False
        else:
            place = cursor.place(at)
            yield Token(kind, _plain(found[0], kind), *place, glued)
            glued = True
        at = found.end()


def _plain(text: str, kind: str) -> str:
    if kind not in ("string", "char"):
        return text
    if text[0] == "`":
        return text[1:-1]
    return _ESCAPE.sub(
        lambda m: chr(int(m[1][1:], 16)) if m[1][0] in "ux" and len(m[1]) > 1 else _ESCAPES.get(m[1], m[1]), text[1:-1]
    )

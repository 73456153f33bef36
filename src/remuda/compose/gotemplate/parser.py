"""Tokens to a tree. Templates that define or call others are refused: a compose file is one text."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from remuda.compose.gotemplate.lexer import TemplateError, Token

MAX_DEPTH = 50
_REFUSED = ("define", "template", "block", "break", "continue")
_CONSTANTS = {"true": True, "false": False, "nil": None}


@dataclass(frozen=True, slots=True)
class Place:
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Literal:
    place: Place
    value: object


@dataclass(frozen=True, slots=True)
class Field:
    """``.A.B``, ``$x.A`` or ``(…).A``: a way from what ``of`` gives. ``of`` is "" for the dot, or a variable's name."""

    place: Place
    of: str | Pipe
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function's name as an operand."""

    place: Place
    name: str


Operand: TypeAlias = Literal | Field | Call


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands whose value goes on to the next as its last argument."""

    place: Place
    commands: list[list[Operand]]


@dataclass(frozen=True, slots=True)
class Text:
    place: Place
    text: str


@dataclass(frozen=True, slots=True)
class Print:
    place: Place
    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Assign:
    """``$name := pipe``, or ``=`` for one that is there."""

    place: Place
    name: str
    pipe: Pipe
    new: bool


@dataclass(frozen=True, slots=True)
class Branch:
    """if, with or range. ``names`` are what range or with calls the index and value, or the value."""

    place: Place
    word: str
    names: tuple[str, ...]
    pipe: Pipe
    body: list[Part]
    otherwise: list[Part] = field(default_factory=list)


Part: TypeAlias = Text | Print | Assign | Branch


def parse(tokens: Iterable[Token], functions: Collection[str]) -> list[Part]:
    """The tree. Raises TemplateError, also for functions that are not among ``functions``."""
    return _Parser(list(tokens), functions).whole()


class _Parser:
    def __init__(self, tokens: list[Token], functions: Collection[str]) -> None:
        self.tokens, self.functions = tokens, functions
        self.at = self.depth = 0
        self.variables: list[set[str]] = [{"$"}]

    # -- tokens ----------------------------------------------------------------------------------------------------
    def peek(self, ahead: int = 0) -> Token | None:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else None

    def next(self) -> Token:
        token = self.peek()
        if token is None:
            last = self.tokens[-1]
            raise TemplateError("the template ends in the middle of an action", last.line, last.column)
        self.at += 1
        return token

    def want(self, kind: str, what: str) -> Token:
        token = self.next()
        if token.kind != kind:
            raise self.wrong(token, f"{what} was expected, not {token.text!r}")
        return token

    @staticmethod
    def wrong(token: Token, message: str) -> TemplateError:
        return TemplateError(message, token.line, token.column)

    # -- parts -----------------------------------------------------------------------------------------------------
    def whole(self) -> list[Part]:
        parts, ended = self.parts()
        if ended is not None:
            raise self.wrong(ended, f"{{{{{ended.text}}}}} has no beginning")
        return parts

    def parts(self) -> tuple[list[Part], Token | None]:
        """Parts up to ``end`` or ``else`` (that word, its action still open), or to the end of the text."""
        found: list[Part] = []
        while (token := self.peek()) is not None:
            self.at += 1
            if token.kind == "text":
                found.append(Text(Place(token.line, token.column), token.text))
                continue
            word = self.peek()
            if word is not None and word.kind == "word" and word.text in ("end", "else"):
                self.at += 1
                return found, word
            found.append(self.action(token))
        return found, None

    def action(self, opened: Token) -> Part:
        word = self.peek()
        if word is not None and word.kind == "word":
            if word.text in ("if", "range", "with"):
                self.at += 1
                return self.branch(word)
            if word.text in _REFUSED:
                raise self.wrong(word, f"{word.text} is not supported in compose files")
        place = Place(opened.line, opened.column)
        after = self.peek(1)
        if word is not None and word.kind == "variable" and after is not None and after.text in (":=", "="):
            self.at += 2
            pipe = self.pipe("close")
            if after.text == ":=":
                self.variables[-1].add(word.text)
            else:
                self.known(word)
            return Assign(place, word.text, pipe, after.text == ":=")
        return Print(place, self.pipe("close"))

    def branch(self, word: Token) -> Branch:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.wrong(word, f"actions are nested more than {MAX_DEPTH} deep")
        self.variables.append(set())
        names = self.names(word)
        pipe = self.pipe("close")
        self.variables[-1].update(names)
        body, ended = self.parts()
        otherwise: list[Part] = []
        self.variables.pop()
        if ended is not None and ended.text == "else":
            follows = self.peek()
            if follows is not None and follows.kind == "word" and follows.text in ("if", "with"):
                self.at += 1
                self.depth -= 1
                return Branch(Place(word.line, word.column), word.text, names, pipe, body, [self.branch(follows)])
            self.want("close", "}}")
            self.variables.append(set())
            otherwise, ended = self.parts()
            self.variables.pop()
        if ended is None or ended.text != "end":
            raise self.wrong(word, f"{{{{{word.text}}}}} is not ended: {{{{end}}}} is missing")
        self.want("close", "}}")
        self.depth -= 1
        return Branch(Place(word.line, word.column), word.text, names, pipe, body, otherwise)

    def names(self, word: Token) -> tuple[str, ...]:
        """``$i, $x :=`` in front of a pipeline."""
        texts = [(token.kind, token.text) if (token := self.peek(n)) else ("", "") for n in range(4)]
        if texts[0][0] != "variable":
            return ()
        if texts[1][1] == ":=":
            self.at += 2
            return (texts[0][1],)
        if word.text == "range" and texts[1][1] == "," and texts[2][0] == "variable" and texts[3][1] == ":=":
            self.at += 4
            return texts[0][1], texts[2][1]
        return ()

    # -- pipelines -------------------------------------------------------------------------------------------------
    def pipe(self, closes: str) -> Pipe:
        """Up to and with ``}}`` or ``)``."""
        first = self.peek()
        place = Place(first.line, first.column) if first else Place(0, 0)
        commands: list[list[Operand]] = [[]]
        while True:
            token = self.next()
            if token.kind == closes or (closes == ")" and token.text == ")" and token.kind == "sign"):
                break
            if token.kind == "sign" and token.text == "|":
                commands.append([])
            else:
                commands[-1].append(self.operand(token))
        if not all(commands):
            raise TemplateError("a value is missing here", place.line, place.column)
        return Pipe(place, commands)

    def operand(self, token: Token) -> Operand:
        place = Place(token.line, token.column)
        match token.kind:
            case "string":
                return Literal(place, token.text)
            case "char":
                return Literal(place, ord(token.text[:1] or "\0"))
            case "number":
                return Literal(place, self.number(token))
            case "dot":
                return Field(place, "", ())
            case "field":
                return Field(place, "", tuple(token.text[1:].split(".")))
            case "variable":
                name, *way = token.text.split(".")
                self.known(Token("variable", name, token.line, token.column))
                return Field(place, name, tuple(way))
            case "word":
                return self.word(token, place)
        if token.kind == "sign" and token.text == "(":
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise self.wrong(token, f"parentheses are nested more than {MAX_DEPTH} deep")
            inner = self.pipe(")")
            self.depth -= 1
            after = self.peek()
            path: tuple[str, ...] = ()
            if after is not None and after.kind == "field" and after.glued:
                self.at += 1
                path = tuple(after.text[1:].split("."))
            return Field(place, inner, path)
        raise self.wrong(token, f"unexpected {token.text!r}")

    def word(self, token: Token, place: Place) -> Operand:
        if token.text in _CONSTANTS:
            return Literal(place, _CONSTANTS[token.text])
        if token.text not in self.functions:
            raise self.wrong(token, f"there is no function {token.text!r}")
        return Call(place, token.text)

    def known(self, token: Token) -> None:
        if not any(token.text in names for names in self.variables):
            raise self.wrong(token, f"the variable {token.text} is not set before this")

    def number(self, token: Token) -> int | float:
        try:
            return int(token.text, 0) if "." not in token.text else float(token.text)
        except ValueError:
            pass
        try:
            return float(token.text)
        except ValueError:
            raise self.wrong(token, f"{token.text!r} is no number") from None

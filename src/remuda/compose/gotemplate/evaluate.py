"""A tree carried out with values: text, and for each of its lines the line of the template that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remuda.compose.gotemplate.functions import FUNCTIONS, MAX_TEXT, MISSING, Missing, text, truth
from remuda.compose.gotemplate.lexer import TemplateError
from remuda.compose.gotemplate.parser import (
    Assign,
    Branch,
    Call,
    Field,
    Literal,
    Operand,
    Part,
    Pipe,
    Place,
    Print,
    Text,
)

MAX_STEPS = 200_000
_NOTHING = object()


class Evaluation:
    """One run. ``root`` is what ``.`` is at the beginning."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.out: list[str] = []
        self.lines: list[int] = [1]
        self.size = self.steps = 0
        self.scopes: list[dict[str, Any]] = [{"$": root}]

    def run(self, parts: list[Part], dot: Any) -> None:
        """Carry out parts in order. Raises TemplateError."""
        for part in parts:
            self.step(part.place)
            match part:
                case Text():
                    self.write(part.text, part.place.line, literal=True)
                case Print():
                    self.write(text(self.pipe(part.pipe, dot)), part.place.line)
                case Assign():
                    self.assign(part, self.pipe(part.pipe, dot))
                case Branch():
                    self.branch(part, dot)

    def step(self, place: Place) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise self.wrong("the template does too much", place)

    def write(self, more: str, line: int, *, literal: bool = False) -> None:
        if not more:
            return
        self.size += len(more)
        if self.size > MAX_TEXT:
            raise TemplateError("the template's result is larger than 1 MB", line, 1, parsed=True)
        if not self.out or self.out[-1].endswith("\n"):
            self.lines[-1] = line
        for number in range(1, more.count("\n") + 1):
            self.lines.append(line + number if literal else line)
        self.out.append(more)

    def assign(self, part: Assign, value: Any) -> None:
        scope = self.scopes[-1] if part.new else next(s for s in reversed(self.scopes) if part.name in s)
        scope[part.name] = value

    def branch(self, part: Branch, dot: Any) -> None:
        value = self.pipe(part.pipe, dot)
        self.scopes.append({})
        try:
            if part.word == "range":
                self.each(part, value, dot)
            elif truth(value):
                self.scopes[-1].update(dict.fromkeys(part.names, value))
                self.run(part.body, value if part.word == "with" else dot)
            else:
                self.run(part.otherwise, dot)
        finally:
            self.scopes.pop()

    def each(self, part: Branch, value: Any, dot: Any) -> None:
        if value is None or isinstance(value, Missing):
            pairs: list[tuple[Any, Any]] = []
        elif isinstance(value, Mapping):
            pairs = [(key, value[key]) for key in sorted(value)]
        elif isinstance(value, list):
            pairs = list(enumerate(value))
        else:
            raise self.wrong(f"range goes over lists and mappings, not {text(value)[:40]!r}", part.place)
        for key, one in pairs:
            names = (key, one)[-len(part.names) :] if part.names else ()
            self.scopes[-1] = dict(zip(part.names, names, strict=True))
            self.run(part.body, one)
        if not pairs:
            self.run(part.otherwise, dot)

    # -- values ----------------------------------------------------------------------------------------------------
    def pipe(self, pipe: Pipe, dot: Any) -> Any:
        value: Any = _NOTHING
        for command in pipe.commands:
            value = self.command(command, dot, value)
        return value

    def command(self, operands: list[Operand], dot: Any, piped: Any) -> Any:
        first = operands[0]
        self.step(first.place)
        if not isinstance(first, Call):
            # the engine that catalogs were written for ignores what follows a parenthesis; elsewhere it is a mistake
            loose = isinstance(first, Field) and isinstance(first.of, Pipe)
            if (len(operands) > 1 or piped is not _NOTHING) and not loose:
                raise self.wrong("this is a value and takes no arguments", first.place)
            return self.operand(first, dot)
        given = [self.operand(one, dot) for one in operands[1:]]
        return self.call(first, given if piped is _NOTHING else [*given, piped])

    def operand(self, operand: Operand, dot: Any) -> Any:
        match operand:
            case Literal():
                return operand.value
            case Call():
                return self.call(operand, [])
            case Field():
                if isinstance(operand.of, Pipe):
                    value = self.pipe(operand.of, dot)
                elif operand.of:
                    value = next(s[operand.of] for s in reversed(self.scopes) if operand.of in s)
                else:
                    value = dot
                for name in operand.path:
                    value = self.member(value, name, operand.place)
                return value

    def member(self, value: Any, name: str, place: Place) -> Any:
        if isinstance(value, Mapping):
            return value.get(name, MISSING)
        raise self.wrong(f"{text(value)[:40]!r} has nothing called {name}", place)

    def call(self, call: Call, given: list[Any]) -> Any:
        given = ["" if isinstance(value, Missing) else value for value in given]
        try:
            return FUNCTIONS[call.name](*given)
        except TemplateError:
            raise
        except TypeError:
            raise self.wrong(f"{call.name} cannot be used with these values", call.place) from None
        except (ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise self.wrong(f"{call.name}: {error}", call.place) from None

    @staticmethod
    def wrong(message: str, place: Place) -> TemplateError:
        return TemplateError(message, place.line, place.column, parsed=True)

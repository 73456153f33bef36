"""Questions as templates write them, and whether answers are good."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from remuda.catalog.model import Question
from remuda.compose.nodes import Node, Report
from remuda.compose.yamlread import canonical
from remuda.compose.yamlread import read as read_yaml

TYPES = (
    "string", "int", "boolean", "enum", "multiline", "password", "service", "certificate", "secret", "float", "date",
)  # fmt: skip
_WORDS = {
    "true": "true",
    "false": "false",
    "yes": "true",
    "no": "false",
    "on": "true",
    "off": "false",
    "y": "true",
    "n": "false",
}
_NUMBERS = ("min_length", "max_length", "min", "max")
_TEXTS = ("label", "description", "type", "group", "valid_chars", "invalid_chars")


def text(node: Node | None) -> str:
    """A scalar as text; an unquoted number or switch in its canonical form (``1.10`` is ``1.1``, ``yes`` is ``true``)."""
    return canonical(node.value) if node is not None else ""


def block_of(document: Node) -> Node | None:
    """The part of a rancher-compose file that is about the template itself."""
    return next((node for name in ("catalog", ".catalog") if (node := document.get(name)) is not None), None)


def questions_of(rancher_compose: str) -> list[Question]:
    """The questions of a rancher-compose file, as it is before any answer; none when it cannot be read."""
    document = read_yaml(rancher_compose, "rancher-compose.yml", Report()) if "catalog:" in rancher_compose else None
    return read(block_of(document)) if document is not None else []


def read(block: Node | None) -> list[Question]:
    """The questions of a catalog block; entries that are none are left out."""
    asked = block.get("questions") if block is not None else None
    found = []
    for one in asked.elements() if asked is not None else []:
        if not (variable := text(one.get("variable"))):
            continue
        options = one.get("options")
        said: dict[str, Any] = {name: text(one.get(name)) for name in _TEXTS if one.get(name) is not None}
        said |= {name: _number(one.get(name)) for name in _NUMBERS}
        found.append(
            Question(
                variable=variable,
                required=text(one.get("required")) == "true",
                default=text(one.get("default")),
                options=[text(option) for option in options.elements()] if options is not None else [],
                **said,
            )
        )
    return found


def _number(node: Node | None) -> int:
    written = text(node)
    return int(written) if re.fullmatch(r"-?\d{1,18}", written) else 0


def complete(questions: Sequence[Question], given: Mapping[str, str]) -> dict[str, str]:
    """Answers to all questions: those given (also ones that nobody asked for), then defaults."""
    return {**{one.variable: one.default for one in questions}, **given}


def problems(questions: Sequence[Question], answers: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with answers, by variable."""
    found = {one.variable: wrong(one, answers.get(one.variable, "")) for one in questions}
    return {variable: message for variable, message in found.items() if message}


def wrong(question: Question, answer: str) -> str:
    """Why an answer will not do; empty when it will."""
    if not answer:
        return "an answer is needed" if question.required else ""
    if question.type == "int":
        if not re.fullmatch(r"[-+]?\d{1,18}", answer):
            return f"a whole number is needed, not {answer[:40]!r}"
        return _range(question, int(answer))
    if question.type == "float" and not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", answer):
        return f"a number is needed, not {answer[:40]!r}"
    if question.type == "boolean" and answer.lower() not in _WORDS:
        return f"true or false is needed, not {answer[:40]!r}"
    if question.type == "enum" and question.options and answer not in question.options:
        return f"one of {', '.join(question.options)} is needed, not {answer[:40]!r}"
    if question.min_length and len(answer) < question.min_length:
        return f"at least {question.min_length} characters are needed"
    if question.max_length and len(answer) > question.max_length:
        return f"at most {question.max_length} characters are possible"
    return _characters(question, answer)


def _range(question: Question, number: int) -> str:
    if question.max > question.min and not question.min <= number <= question.max:
        return f"a number from {question.min} to {question.max} is needed, not {number}"
    return ""


def _characters(question: Question, answer: str) -> str:
    for characters, forbidden in ((question.valid_chars, False), (question.invalid_chars, True)):
        try:
            pattern = re.compile(f"[{characters}]") if characters else None
        except re.error:
            continue
        bad = next((c for c in answer if bool(pattern.match(c)) == forbidden), "") if pattern else ""
        if bad:
            return f"{bad!r} is not possible here"
    return ""

"""Go templates in compose files: when a text is one, and what it may ask for.

Braces also stand in files that are no templates (``docker ps --format '{{.Names}}'``). A text is a template only if it can be
read as one and asks for what catalogs give; anything else is taken as it is written, unless the file's name ends in .tpl.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from remuda.compose.gotemplate import Rendered, Template, TemplateError
from remuda.compose.interpolate import Interpolation
from remuda.compose.nodes import Node

SWITCHED_OFF = "# notemplating"
GIVEN = {"Values", "Stack", "Release", "Environment"}


class Answers(Mapping[str, str]):
    """``.Values``: what was answered; empty text for what was not, as catalogs expect."""

    def __init__(self, known: Mapping[str, str], lookup: Callable[[str], str | None]) -> None:
        self._known, self._lookup = known, lookup

    def __getitem__(self, key: str) -> str:
        return self._lookup(key) or ""

    def get(self, key: str, default: Any = None) -> str:
        """Never the default: nothing is missing."""
        return self[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def rendered(text: str, file: str, fill: Interpolation) -> Rendered | None:
    """The text to read as YAML; None when the template is wrong (the report says how)."""
    if "{{" not in text or text.startswith(SWITCHED_OFF):
        return Rendered(text, ())
    named = file.endswith(".tpl")
    try:
        template = Template(text)
        if not named and not template.roots() <= GIVEN:
            return Rendered(text, ())
        return template.render(_root(fill))
    except TemplateError as error:
        place = Node(None, file, error.line, error.column)
        if named or error.parsed:
            fill.report.error(place, f"the template cannot be carried out: {error.message}")
            return None
        fill.report.warning(
            place,
            f"this is no Go template ({error.message}), so the file is taken as it is written; "
            f"with {SWITCHED_OFF!r} as its first line nothing is said",
        )
        return Rendered(text, ())


def _root(fill: Interpolation) -> dict[str, Any]:
    name = fill.environment.get("COMPOSE_PROJECT_NAME", "")
    return {
        "Values": Answers(fill.environment, fill.lookup),
        "Stack": {"Name": name},
        "Release": {"Name": name, "Version": "", "PreviousVersion": ""},
        "Environment": {"Name": ""},
    }

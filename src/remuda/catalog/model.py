"""Templates, their versions, and the questions that come before a launch: plain values that API, UI and command print."""

from __future__ import annotations

from typing import Any

import msgspec


class Question(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Something to answer before a launch. ``default`` is text, as every answer is."""

    variable: str
    label: str = ""
    description: str = ""
    type: str = "string"
    required: bool = False
    default: str = ""
    group: str = ""
    min_length: int = 0
    max_length: int = 0
    min: int = 0
    max: int = 0
    options: list[str] = []
    valid_chars: str = ""
    invalid_chars: str = ""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a template. ``files`` are paths below its ``folder``; ``revision`` is the folder's own name."""

    revision: str
    folder: str
    version: str = ""
    files: list[str] = []
    questions: list[Question] = []
    minimum: str = ""
    maximum: str = ""
    upgrade_from: str = ""
    labels: dict[str, str] = {}

    @property
    def readme(self) -> str:
        """The path of its description below the folder; empty when it has none."""
        return next((name for name in self.files if name.lower() == "readme.md"), "")


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """What a catalog offers. ``base`` tells families apart: empty for stacks of people, ``infra``, ``kubernetes`` and so on."""

    catalog: str
    folder: str
    base: str = ""
    path: str = ""
    """Where it is in the repository."""
    name: str = ""
    description: str = ""
    category: str = ""
    default_version: str = ""
    maintainer: str = ""
    license: str = ""
    project_url: str = ""
    labels: dict[str, str] = {}
    icon: str = ""
    readme: str = ""
    """Paths below ``path``; empty when there is none."""
    versions: list[Version] = []
    """In the order of their folders."""

    @property
    def id(self) -> str:
        """``catalog:folder`` or ``catalog:base*folder``."""
        return f"{self.catalog}:{self.base}*{self.folder}" if self.base else f"{self.catalog}:{self.folder}"

    @property
    def external_id(self) -> str:
        """The beginning of what a stack says of where it came from; a colon and the revision follow."""
        return f"catalog://{self.id}"

    def find(self, revision: str) -> Version | None:
        """A version by its folder's name."""
        return next((version for version in self.versions if version.revision == revision), None)


class Finding(msgspec.Struct, frozen=True):
    """Something in a repository that could not be used, and why."""

    path: str
    message: str


Plain = dict[str, Any]

"""Making a cluster out of this installation: what the API needs of the ``ha`` room without knowing it."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from remuda.core.model import HaGeneration


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong (``error``) or worth knowing (``warning``) about a field of the input."""

    field: str
    code: str
    message: str
    severity: str = "error"


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A generation that was made but not stored: its public part, its fingerprint, and its secrets, sealed."""

    config: dict[str, Any]
    fingerprint: str
    sealed: str


class Cluster(Protocol):
    """Configurations and start-up scripts."""

    @property
    def db_host(self) -> str:
        """Where the database is; ``localhost`` for the embedded one."""

    async def checks(self, cluster_size: int) -> list[dict[str, Any]]:
        """The database judged: ``{id, ok, message, fix}`` each; an embedded one fails with the way out."""

    def judge(self, values: dict[str, Any]) -> tuple[dict[str, Any] | None, list[Problem]]:
        """The public configuration that this input asks for (None when it is refused), and what there is to say."""

    def draft(self, values: dict[str, Any], previous: HaGeneration | None, *, rotate: bool) -> Draft:
        """Make a generation from accepted input; keeps the secrets of ``previous`` unless ``rotate``."""

    def script(self, generation: HaGeneration) -> bytes:
        """The start-up script of a generation; the same bytes each time."""

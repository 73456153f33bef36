"""Secrets: sealing what is stored, signing what is handed out, hashing what people type."""

from __future__ import annotations

from typing import Any, Protocol


class Busy(Exception):  # noqa: N818 - it is a state of the world
    """Too many passwords wait to be hashed, which is slow on purpose. Try again in a second."""


class Signer(Protocol):
    """A key pair for tokens that others check too, without being able to make them."""

    @property
    def certificate(self) -> str:
        """The public half, as a certificate (PEM)."""

    def sign(self, claims: dict[str, Any], seconds: int) -> str:
        """A token that carries ``claims`` and ends after ``seconds``."""

    def verify(self, token: str) -> dict[str, Any] | None:
        """The claims of a token of this key that has not ended, else None."""


class Keyring(Protocol):
    """One installation's keys, the same on all its servers, kept outside the database."""

    def seal(self, plain: str, purpose: str) -> str:
        """Encrypt for storage; only :meth:`unseal` with the same ``purpose`` gives it back."""

    def unseal(self, sealed: str, purpose: str) -> str:
        """The plain text. Raises ValueError with a hint when the key is not the one it was sealed with."""

    def sign(self, claims: dict[str, Any], seconds: int) -> str:
        """A signed token that carries ``claims`` and ends after ``seconds``."""

    def verify(self, token: str) -> dict[str, Any] | None:
        """The claims of a token of ours that has not ended, else None."""

    def new_signer(self) -> str:
        """A new key pair with its certificate (PEM), to be sealed at once. Takes a moment."""

    def signer(self, pem: str) -> Signer:
        """The signer of such a key pair."""

    def digest(self, secret: str) -> str:
        """Keyed digest of a machine-made secret (200 bits or more), for comparison only."""

    async def hash_password(self, password: str) -> str:
        """Slow, salted hash of what a person typed. Raises :class:`Busy`."""

    async def check_password(self, hashed: str, password: str) -> bool:
        """Whether ``password`` gives ``hashed``; takes as long for a wrong one. Raises :class:`Busy`."""

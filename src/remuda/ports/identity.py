"""Who people are, according to somebody else: GitHub, a directory, an issuer of OpenID Connect.

A provider proves a login and looks names up. It decides nothing: whether the person may come in, and which account they are,
is the API's work. Nothing here keeps a password or a token longer than the call takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A person or a group. ``kind`` and ``id`` together never change and are never given to somebody else."""

    kind: str
    id: str
    login: str = ""
    name: str = ""
    picture: str = ""
    url: str = ""

    @property
    def key(self) -> str:
        """How members and lists name it: ``github_user:123``."""
        return f"{self.kind}:{self.id}"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """A login that the provider vouches for."""

    user: Identity
    groups: tuple[Identity, ...] = ()

    @property
    def keys(self) -> list[str]:
        """The person and all their groups."""
        return [self.user.key, *(g.key for g in self.groups)]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody brings along: ``code`` is ``user:password``, or what the provider gave their browser.

    ``nonce``, ``verifier`` and ``returned_to`` belong to a login that began with a redirect of ours.
    """

    code: str
    nonce: str = ""
    verifier: str = ""
    returned_to: str = ""


class Denied(Exception):  # noqa: N818 - it is an answer
    """The provider does not vouch for them. The message is fit for whoever tried, and tells them nothing of others."""


class ProviderDown(Exception):  # noqa: N818 - it is a state of the world
    """The provider cannot be asked, or refuses to talk to us: an administrator has something to mend."""


class Provider(Protocol):
    """One configured provider."""

    async def login(self, attempt: Attempt) -> Proof:
        """Who this is. Raises :class:`Denied`, :class:`ProviderDown`."""

    async def search(self, name: str) -> list[Identity]:
        """People and groups of exactly this name. Raises :class:`ProviderDown`."""

    async def find(self, kind: str, identity: str) -> Identity | None:
        """The person or group of this id. Raises :class:`ProviderDown`."""

    async def redirect(self, *, state: str, nonce: str, challenge: str, return_to: str) -> str:
        """Where a browser goes to log in; empty where the password is given to us. Raises :class:`ProviderDown`."""


class Providers(Protocol):
    """Makes providers of their configurations."""

    def open(self, kind: str, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Provider:
        """The provider of a configuration. Raises ValueError with the field's name first when it cannot be one."""

"""Who asks, for which environment, and under which URL: what every handler needs to know about a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from remuda.schema.dialect import V1, Dialect
from remuda.schema.fields import ANONYMOUS, INSTALLATION, ResourceType
from remuda.schema.registry import rights

if TYPE_CHECKING:
    from remuda.api.server import Api


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who was recognised. ``account_id`` is who they are, ``project_id`` the environment they act in (None = none chosen).

    ``role`` already takes both into account. ``auth_type`` is one of the words that the audit log uses.
    """

    account_id: int = 0
    kind: str = ""
    name: str = ""
    role: str = ANONYMOUS
    project_id: int | None = None
    auth_type: str = "None"
    credential_id: int = 0
    key: str = ""
    """The public part of the credential, by which it is found again."""
    by_cookie: bool = False
    posing: bool = False
    """An administrator who asked to be treated as ``role``."""
    roles: dict[int, str] = {}


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """One request. ``root`` is ``scheme://host``; ``prefix`` the path below which all URLs of the reply lie."""

    api: Api
    caller: Caller
    root: str
    dialect: Dialect = V1
    prefix: str = "/v1"
    client_ip: str = ""
    via: str = ""
    """The proxy that told us ``client_ip``, unless it runs on this machine."""
    nearest: str = ""
    """The address that the nearest proxy saw."""
    query: tuple[tuple[str, str], ...] = ()
    request_id: str = ""
    action_links: bool = False
    """The caller wants actions to be called ``actionLinks`` (its language has another use for the word)."""
    leading: str = ""
    """The node that leads, where a handler wants to show it."""
    began: str = ""
    """What we gave the caller's browser when it left to log in somewhere else."""
    hashed: str = ""
    """Hash of the password in the body, made before the unit of work because it is slow on purpose."""

    def url(self, *parts: object) -> str:
        """The absolute URL of something below the prefix."""
        return "/".join((self.root + self.prefix, *(str(p) for p in parts)))

    def can(self, resource: ResourceType, letter: str) -> bool:
        """May the caller do this to that type at all?"""
        return letter in rights(resource, self.caller.role)

    def param(self, name: str) -> str | None:
        """The first query parameter of this name."""
        return next((v for k, v in self.query if k == name), None)

    @property
    def is_admin(self) -> bool:
        """An administrator of the installation, also within an environment."""
        return self.caller.kind in INSTALLATION

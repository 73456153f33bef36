"""Who may come in by a provider's word, and what their groups make of them. Knows no provider and no account."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

MODES = ("unrestricted", "restricted", "required")
"""Everybody the provider vouches for; those who are named or belong to an environment; only those who are named."""
_STRENGTH = ("owner", "member", "restricted", "readonly")
KINDS = ("github_user", "github_org", "github_team", "ldap_user", "ldap_group", "openldap_user", "openldap_group",
         "oidc_user", "oidc_group")  # fmt: skip
"""Kinds of people and groups that others may vouch for."""


def admits(mode: str, allowed: Collection[str], keys: Iterable[str], *, is_member: bool) -> bool:
    """May somebody come in who is, or belongs to, ``keys``?"""
    named = any(key in allowed for key in keys)
    return mode == "unrestricted" or named or (mode == "restricted" and is_member)


def strongest(roles: Iterable[str]) -> str:
    """The role of somebody who was given several, by different names."""
    return min(roles, key=_STRENGTH.index)


def split(key: object) -> tuple[str, str] | None:
    """``github_user:12`` as kind and id; None when it is no such name."""
    kind, colon, identity = str(key).partition(":")
    return (kind, identity) if colon and identity and kind in KINDS else None


def keys_of(login: Mapping[str, Any]) -> list[str]:
    """The names of somebody and their groups, as noted of their last login."""
    told = [login.get("user") or {}, *(login.get("groups") or [])]
    return [f"{one['kind']}:{one['id']}" for one in told if one.get("id")]

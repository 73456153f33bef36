"""Which repositories an installation has, as the setting ``catalog.url`` says it.

Either JSON, ``{"catalogs": {"library": {"url": "https://…", "branch": "main"}}}``, or the older form ``library=https://…,ours=https://…``.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

SETTING = "catalog.url"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_BRANCH = re.compile(r"(?!-)[A-Za-z0-9_./-]{0,200}")
_SCHEMES = ("http", "https", "ssh", "git", "file")
_SSH = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[^\s]+")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A repository: what its catalog is called, where it is, and the branch (empty: its own default)."""

    name: str
    url: str
    branch: str = ""


class _Place(msgspec.Struct, frozen=True):
    url: str
    branch: str = ""


class _Told(msgspec.Struct, frozen=True):
    catalogs: dict[str, _Place] = {}


def sources(setting: str) -> list[Source]:
    """The repositories by name. Raises ValueError with what is wrong."""
    text = setting.strip()
    if not text:
        return []
    if text.startswith("{"):
        try:
            told = msgspec.json.decode(text, type=_Told)
        except msgspec.DecodeError as error:
            raise ValueError(f'it is not {{"catalogs": {{name: {{"url": …, "branch": …}}}}}}: {error}') from None
        found = [Source(name=name, url=place.url, branch=place.branch) for name, place in told.catalogs.items()]
    else:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        found = [
            Source(name=name.strip() if sign else "library", url=url.strip() or name.strip())
            for name, sign, url in pairs
        ]
    for source in found:
        check(source)
    return sorted(found, key=lambda source: source.name)


def check(source: Source) -> None:
    """Raises ValueError when a repository cannot be one."""
    if not _NAME.fullmatch(source.name):
        raise ValueError(f"{source.name[:80]!r} cannot be a catalog's name: use letters, digits, '.', '_' and '-'")
    if not _BRANCH.fullmatch(source.branch):
        raise ValueError(f"{source.branch[:80]!r} cannot be a branch")
    if _SSH.fullmatch(source.url):
        return
    try:
        parts = urlsplit(source.url)
    except ValueError:
        raise ValueError("the address of the git repository cannot be read") from None
    if parts.password:
        raise ValueError(
            "an address with a password is not kept: use ssh, or a repository that can be read without one"
        )
    if parts.scheme not in _SCHEMES or not (parts.netloc or parts.scheme == "file") or re.search(r"\s", source.url):
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise ValueError(f"{source.url[:200]!r} is no address of a git repository: {known} or user@host:path")


def written(found: list[Source]) -> str:
    """The setting that says these."""
    told = {source.name: _Place(source.url, source.branch) for source in sorted(found, key=lambda source: source.name)}
    return msgspec.json.encode(_Told(told)).decode()

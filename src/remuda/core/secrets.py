"""Which credential pulls which image, and who uses a secret. Pure: sealing and unsealing is the keyring's work.

An image belongs to the registry whose address is the longest beginning of its full name; of several credentials of a registry
the newest one counts, as 1.x users expect.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from remuda.core import ids
from remuda.core.model import ACTIVE, Instance, Registry, RegistryCredential, Service
from remuda.core.spec import LaunchConfig, SecretReference

HUB = "docker.io"
_HUB_NAMES = frozenset(
    {"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com"}
)
_HUB_SERVER = "https://index.docker.io/v1/"
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?")
_PATH = re.compile(r"[a-z0-9][a-z0-9._-]*")
FILE_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,255}")
_MODE = re.compile(r"[0-7]{1,4}")
_NUMBER = re.compile(r"\d{1,10}")
LARGEST = 512_000
"""Bytes of a secret; what other orchestrators take too."""
LARGEST_ID = 2**32 - 2


class Access(NamedTuple):
    """The credential that counts for an image, with its registry."""

    registry: Registry
    credential: RegistryCredential


def address(text: str) -> str:
    """A registry's address as it is kept: no scheme, no API version, lower case. Raises ValueError with what is wrong."""
    found = re.sub(r"^[a-z]+://", "", text.strip().lower()).rstrip("/")
    found = re.sub(r"/v[12]$", "", found)
    host, *path = found.split("/")
    if not _HOST.fullmatch(host) or not all(_PATH.fullmatch(part) for part in path):
        raise ValueError(f"{text.strip()[:100]!r} is no registry's address; write it as registry.example.com:5000")
    return found


def full_name(image: str) -> str:
    """An image's name with its registry, without tag and digest: ``nginx:1`` is ``docker.io/library/nginx``."""
    name = image.removeprefix("docker:").partition("@")[0]
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = HUB, name
    path, _, tag = rest.rpartition(":")
    rest = path if path and "/" not in tag else rest
    host = _canonical(first.lower())
    return f"{host}/library/{rest}" if host == HUB and "/" not in rest else f"{host}/{rest}"


def _canonical(host: str) -> str:
    return HUB if host in _HUB_NAMES else host


def serves(registry: Registry, image: str) -> bool:
    """Does the image come from this registry?"""
    host, slash, path = registry.server_address.partition("/")
    return f"{full_name(image)}/".startswith(f"{_canonical(host)}{slash}{path}/")


def access(image: str, registries: Iterable[Registry], credentials: Iterable[RegistryCredential]) -> Access | None:
    """The credential for an image; None where it is pulled without one."""
    known = {r.id: r for r in registries if r.desired == ACTIVE and r.removed is None and serves(r, image)}
    fit = [
        Access(known[c.registry_id], c)
        for c in credentials
        if c.registry_id in known and c.desired == ACTIVE and c.removed is None and c.sealed
    ]
    return max(fit, key=lambda one: (len(one.registry.server_address), one.credential.id), default=None)


def header(found: Access, password: str) -> str:
    """The value of Docker's ``X-Registry-Auth``."""
    host = found.registry.server_address.partition("/")[0]
    told = {
        "username": found.credential.username,
        "password": password,
        "email": found.credential.email,
        "serveraddress": _HUB_SERVER if _canonical(host) == HUB else host,
    }
    return base64.urlsafe_b64encode(msgspec.json.encode({k: v for k, v in told.items() if v})).decode()


def fault(reference: SecretReference) -> tuple[str, str] | None:
    """What is wrong with a reference to a secret: the field and a sentence; None when it can be carried out."""
    if reference.name and not FILE_NAME.fullmatch(reference.name):
        return "name", "must be a file name below /run/secrets: letters, digits, '.', '_' and '-'"
    for field in ("uid", "gid"):
        text = getattr(reference, field)
        if not _NUMBER.fullmatch(text) or int(text) > LARGEST_ID:
            return field, "must be a number, such as 1000"
    if not _MODE.fullmatch(reference.mode):
        return "mode", "must be octal, such as 0444"
    return None


def twice(references: Iterable[SecretReference]) -> str:
    """A file name that two of a container's secrets have; empty when there is none."""
    names = [reference.name for reference in references]
    return next((name for name in names if names.count(name) > 1), "")


def referred(*configs: LaunchConfig | None) -> set[int]:
    """The numbers of the secrets that these launch configurations mount."""
    return {ids.number(r.secret_id) or 0 for config in configs if config is not None for r in config.secrets}


def users(secret_id: int, services: Iterable[Service], instances: Iterable[Instance]) -> list[str]:
    """The names of what uses a secret: services first, then containers that no such service stands for."""
    using = [s for s in services if secret_id in referred(s.launch_config, *s.secondary_launch_configs)]
    known = {s.id for s in using}
    loose = [i for i in instances if i.service_id not in known and secret_id in referred(i.spec)]
    return [s.name for s in using] + [i.name or ids.public("instance", i.id) or "" for i in loose]

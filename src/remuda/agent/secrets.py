"""Secrets as files that containers can read: in a folder that lies in memory, one per instance, gone with it.

The folder outlives the agent, so a host restarts its containers while no server can be reached. It does not outlive the machine:
after a reboot a container with secrets waits until a server has sent them again. Where nothing can be kept in memory,
secrets are refused with the reason; they are never written to a disk.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from remuda.core.model import RUNNING
from remuda.core.secrets import fault
from remuda.core.spec import LaunchConfig
from remuda.core.wire import Assignment

FOLDER = "/run/remuda/secrets"
TARGET = "/run/secrets"
_MEMORY = frozenset({"tmpfs", "ramfs"})
_OPTIONS = "mode=0700,nosuid,nodev,noexec,size=25%"
_MOUNT_SECONDS = 10
_UUID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Prepare = Callable[[Path], None]
"""See to it that a folder lies in memory, or raise :class:`Unkept`."""


class Unkept(Exception):  # noqa: N818 - a state
    """Secrets cannot be kept here; the message says why and what to do."""


class Vault:
    """``owner`` keeps agents that share a machine apart. ``root`` is where the host's files are seen."""

    def __init__(self, owner: str, root: Path = Path("/"), prepare: Prepare | None = None) -> None:
        self._owner = owner if _UUID.fullmatch(owner) else "agent"
        self._root = root / FOLDER.lstrip("/")
        self._base = self._root / self._owner
        self._prepare = prepare or (lambda folder: keep_in_memory(folder, root))
        self._present = self._scan()

    def folder(self, uuid: str) -> str:
        """An instance's folder, as the host calls it."""
        return f"{FOLDER}/{self._owner}/{uuid}"

    def lacking(self, assignments: Mapping[str, Assignment]) -> dict[str, str]:
        """What the containers wait for whose secrets are neither here nor sent, by uuid."""
        found = {}
        for uuid, wish in assignments.items():
            if not wish.spec.secrets or wish.desired != RUNNING:
                continue
            missing = _names(wish.spec) - self._present.get(uuid, set()) - wish.secrets.keys()
            if missing and wish.secrets:
                found[uuid] = f"The server does not give the secret {', '.join(sorted(missing))}"
            elif missing:
                found[uuid] = "Waits until a server sends its secrets, which are kept in memory only"
        return found

    async def provide(self, wish: Assignment) -> None:
        """Have the files there. Raises :class:`Unkept`."""
        if not wish.spec.secrets or _names(wish.spec) <= self._present.get(wish.uuid, set()):
            return
        try:
            await asyncio.to_thread(self._write, wish)
        except (OSError, ValueError) as error:
            raise Unkept(f"Its secrets cannot be put into {self.folder(wish.uuid)}: {_plain(error)}") from error
        self._present[wish.uuid] = _names(wish.spec)

    def sweep(self, keep: Collection[str]) -> None:
        """Forget the secrets of all instances but these."""
        for uuid in [uuid for uuid in self._present if uuid not in keep]:
            shutil.rmtree(self._base / uuid, ignore_errors=True)
            del self._present[uuid]

    def _scan(self) -> dict[str, set[str]]:
        try:
            folders = [entry for entry in self._base.iterdir() if entry.is_dir()]
            for unfinished in (entry for entry in folders if entry.name.startswith(".")):
                shutil.rmtree(unfinished, ignore_errors=True)
            return {f.name: {file.name for file in f.iterdir()} for f in folders if not f.name.startswith(".")}
        except OSError:
            return {}

    def _write(self, wish: Assignment) -> None:
        """Whole or not at all: the folder gets its name when all files are in it."""
        if not _UUID.fullmatch(wish.uuid):
            raise ValueError("the instance has no proper id")
        self._prepare(self._root)
        self._base.mkdir(mode=0o700, exist_ok=True)
        draft, final = self._base / f".{wish.uuid}", self._base / wish.uuid
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        try:
            for reference in wish.spec.secrets:
                wrong = fault(reference)
                if wrong or not reference.name:
                    raise ValueError(f"{wrong[0]} {wrong[1]}" if wrong else "a secret has no name")
                value = base64.b64decode(wish.secrets[reference.name], validate=True)
                _file(draft / reference.name, value, reference.uid, reference.gid, reference.mode)
            draft.chmod(0o755)
            shutil.rmtree(final, ignore_errors=True)
            draft.rename(final)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def _names(spec: LaunchConfig) -> set[str]:
    return {reference.name for reference in spec.secrets}


def _file(path: Path, value: bytes, uid: str, gid: str, mode: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(value)
        os.fchown(handle, int(uid), int(gid))
        os.fchmod(handle, int(mode, 8) & 0o777)


def _plain(error: Exception) -> str:
    """An error without what it was about: its arguments may hold a value."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "a value is damaged" if "base64" in str(error).lower() or "padding" in str(error).lower() else str(error)


def keep_in_memory(folder: Path, root: Path) -> None:
    """See to it that ``folder`` lies in memory. ``root`` other than ``/`` is another process's view: mount there, not here."""
    foreign = root != Path("/")
    table = Path("/proc/1/mountinfo" if foreign else "/proc/self/mountinfo")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if filesystem(table.read_text(), FOLDER) in _MEMORY:
        folder.chmod(0o700)
        return
    command = ["mount", "-t", "tmpfs", "-o", _OPTIONS, "remuda-secrets", FOLDER]
    enter = ["nsenter", "--target", "1", "--mount", "--"] if foreign else []
    try:
        subprocess.run([*enter, *command], check=True, capture_output=True, timeout=_MOUNT_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or b""
        why = said.decode(errors="replace").strip()[:200] or type(error).__name__
        raise Unkept(
            f"{FOLDER} does not lie in memory and cannot be made to ({why}): run the agent as root, or mount a tmpfs there"
        ) from error


def filesystem(mountinfo: str, path: str) -> str:
    """The kind of filesystem that a path is on, by a ``mountinfo`` table; the last mount over a place counts."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words = before.split()
        if len(words) < 5 or not after:
            continue
        point = words[4]
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind

"""The git command, for reading only: shallow, without asking anybody anything, within a deadline.

Symbolic links of a repository become small files, so that none can lead out of its folder; transports that run commands are off.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from pathlib import Path

from remuda.ports.git import GitError

SECONDS = 120.0
_SECRET = re.compile(r"(\w+://)[^/\s@]+@")
_OPTIONS = (
    "-c",
    "core.symlinks=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "advice.detachedHead=false",
    "-c",
    "gc.auto=0",
)


_SETTINGS = "[safe]\n\tdirectory = *\n"
"""A mirror on this machine (file://) may be anybody's: nothing of it is carried out."""


class GitCommand:
    """:class:`~remuda.ports.git.Git`."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._settings: Path | None = None

    async def fetch(self, url: str, branch: str, folder: Path) -> str:
        """A new clone beside the old one takes its place at the end, unless the old one is at the same commit."""
        new = folder.with_name(folder.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._settings = folder.parent / "gitconfig"
            self._settings.write_text(_SETTINGS)
            if (folder / ".git").is_dir() and await self._newest(url, branch) == await self._here(folder):
                return await self._here(folder)
            options = ["--branch", branch] if branch else []
            await self._git(
                "clone", "--quiet", "--depth", "1", "--no-tags", "--single-branch", *options, "--", url, str(new)
            )
            commit = await self._here(new)
            await asyncio.to_thread(_replace, folder, new)
        except OSError as error:
            raise GitError(f"the repository cannot be kept here: {error.strerror or error}") from None
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return commit

    async def _newest(self, url: str, branch: str) -> str:
        said = await self._git("ls-remote", "--", url, f"refs/heads/{branch}" if branch else "HEAD")
        return said.split("\t")[0].strip()

    async def _here(self, folder: Path) -> str:
        try:
            return (await self._git("-C", str(folder), "rev-parse", "HEAD")).strip()
        except GitError:
            return ""

    async def _git(self, *words: str) -> str:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": str(self._settings or "/dev/null"),
            "GIT_ALLOW_PROTOCOL": "http:https:ssh:git:file", "LC_ALL": "C.UTF-8",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=20",
            **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
        }  # fmt: skip
        environment |= {name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ}
        try:
            process = await asyncio.create_subprocess_exec(
                "git", *_OPTIONS, *words, env=environment, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        except OSError:
            raise GitError("the git command is not installed on this server") from None
        try:
            async with asyncio.timeout(self._seconds):
                out, err = await process.communicate()
        except TimeoutError:
            raise GitError(f"no answer within {self._seconds:.0f} s") from None
        finally:
            if process.returncode is None:  # with all that it started
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            lines = [line for line in err.decode(errors="replace").splitlines() if line.strip()]
            lines.append(f"git ended with {process.returncode}")
            said = next((line for line in lines if line.startswith(("fatal: ", "error: "))), lines[0])
            raise GitError(_SECRET.sub(r"\1", said.removeprefix("fatal: "))[:300])
        return out.decode(errors="replace")


def _replace(folder: Path, new: Path) -> None:
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)

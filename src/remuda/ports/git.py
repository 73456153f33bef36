"""Repositories of files with a history."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class GitError(Exception):
    """A repository could not be had; the message says why, without passwords."""


class Git(Protocol):
    """Getting them here."""

    async def fetch(self, url: str, branch: str, folder: Path) -> str:
        """Make ``folder`` what the branch (empty: the default one) is now, and give the commit. Raises :class:`GitError`.

        What was there stays whole when this fails. Links within the repository are never followed.
        """

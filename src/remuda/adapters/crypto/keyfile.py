"""The file of the root key: a line of base64, or two while the key is changed, the new one first. Written whole or not at all."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from pathlib import Path

SIZE = 32


def read(path: Path) -> tuple[bytes, bytes]:
    """The key, and the one it replaces (empty when it replaces none)."""
    try:
        lines = path.read_text().split()
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None
    if not 1 <= len(keys) <= 2 or any(len(key) != SIZE for key in keys):
        raise ValueError(f"{path}: the secret key must be 32 bytes (base64 in its file)")
    return keys[0], keys[1] if len(keys) == 2 else b""


def make(path: Path) -> None:
    """A new key; two that start at once end up with the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path, secrets.token_bytes(SIZE))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def replace(path: Path, *keys: bytes) -> None:
    """Put these keys in the place of what the file holds, so that a power cut leaves the one or the other."""
    draft = _draft(path, *keys)
    try:
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _draft(path: Path, *keys: bytes) -> Path:
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.writelines(base64.b64encode(key).decode() + "\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    return draft

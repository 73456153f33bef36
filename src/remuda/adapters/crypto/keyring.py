"""The installation's keyring: one 32-byte root key, from which every other key is derived by purpose (HKDF).

Kept in a file of mode 0600 beside the data of a single server, or handed to each node of a cluster by its start-up
script. It is never in the database, so a stolen dump opens nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from remuda.ports.keyring import Busy

T = TypeVar("T")
PREFIX = "remuda1:"
HASHERS = 2
MAX_WAITING = 16
"""Four seconds' worth of work: whoever comes later is told to come again, instead of queueing without bound."""
_NO_SUCH_USER = PasswordHasher().hash(secrets.token_hex(16))


class FileKeyring:
    """A :class:`remuda.ports.keyring.Keyring` over a root key."""

    def __init__(self, root: bytes) -> None:
        if len(root) != 32:
            raise ValueError("the secret key must be 32 bytes (base64 in its file)")
        self._root = root
        self._signing = OctKey.import_key(self._derive("sign"))
        self._hasher = PasswordHasher()
        # argon2 takes 64 MiB and a quarter of a second: two at once at most, off the event loop
        self._pool = ThreadPoolExecutor(HASHERS, thread_name_prefix="argon2")
        self._hashing = 0

    @classmethod
    def load(cls, path: Path) -> FileKeyring:
        """Read the key file; make it (mode 0600) when it is not there."""
        if not path.exists():
            _make(path)
        try:
            return cls(base64.b64decode(path.read_text().strip(), validate=True))
        except ValueError as problem:
            raise ValueError(f"{path}: {problem}") from None

    @property
    def root(self) -> bytes:
        """The root key, for the start-up script of a cluster that shares this installation's database."""
        return self._root

    def _derive(self, purpose: str) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=b"remuda/" + purpose.encode()).derive(self._root)

    def seal(self, plain: str, purpose: str) -> str:
        nonce = os.urandom(12)
        sealed = AESGCM(self._derive("seal/" + purpose)).encrypt(nonce, plain.encode(), purpose.encode())
        return PREFIX + base64.urlsafe_b64encode(nonce + sealed).decode()

    def unseal(self, sealed: str, purpose: str) -> str:
        try:
            raw = base64.urlsafe_b64decode(sealed.removeprefix(PREFIX))
            return AESGCM(self._derive("seal/" + purpose)).decrypt(raw[:12], raw[12:], purpose.encode()).decode()
        except (InvalidTag, ValueError):
            raise ValueError(
                "a stored secret cannot be opened with this secret key: give the server the key file it was made with"
            ) from None

    def sign(self, claims: dict[str, Any], seconds: int) -> str:
        # wall clock: tokens cross machines, so there is nothing else; a skewed clock costs a login, not safety
        body = {**claims, "exp": int(time.time()) + seconds}
        return jwt.encode({"alg": "HS256"}, body, self._signing)

    def verify(self, token: str) -> dict[str, Any] | None:
        try:
            claims = jwt.decode(token, self._signing, algorithms=["HS256"]).claims
        except (JoseError, ValueError, TypeError):
            return None
        return claims if claims.get("exp", 0) > time.time() else None

    def digest(self, secret: str) -> str:
        return hmac.new(self._derive("digest"), secret.encode(), hashlib.sha256).hexdigest()

    async def hash_password(self, password: str) -> str:
        return await self._hashed(lambda: self._hasher.hash(password))

    async def check_password(self, hashed: str, password: str) -> bool:
        def check() -> bool:
            try:
                return self._hasher.verify(hashed or _NO_SUCH_USER, password) and bool(hashed)
            except (VerificationError, InvalidHashError):
                return False

        return await self._hashed(check)

    async def _hashed(self, work: Callable[[], T]) -> T:
        if self._hashing >= HASHERS + MAX_WAITING:
            raise Busy("Too many logins at once. Try again in a second.")
        self._hashing += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._hashing -= 1


def _make(path: Path) -> None:
    """A new key file, whole or not at all: two that start at once end up with the same key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)

"""The installation's keyring: one 32-byte root key, from which every other key is derived by purpose (HKDF).

Kept in a file of mode 0600 beside the data of a single server, or handed to each node of a cluster by its start-up
script. It is never in the database, so a stolen dump opens nothing.

While the root key is changed (``remuda admin rotate-key``), the file holds the new key and below it the one it replaces: all
is sealed with the first, and what the second one sealed can be opened. A keyring follows its file.
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

from remuda.adapters.crypto import keyfile, signing
from remuda.ports.keyring import Busy, Signer

T = TypeVar("T")
PREFIX = "remuda1:"
HASHERS = 2
MAX_WAITING = 16
"""Four seconds' worth of work: whoever comes later is told to come again, instead of queueing without bound."""
_PROVEN = 1024
"""So many tokens are remembered."""
_NO_SUCH_USER = PasswordHasher().hash(secrets.token_hex(16))


class FileKeyring:
    """A :class:`remuda.ports.keyring.Keyring` over a root key."""

    def __init__(self, root: bytes, previous: bytes = b"", file: Path | None = None) -> None:
        self._file, self._seen = file, _stamp(file)
        self._digest = b""
        self._take(root, previous)
        self._hasher = PasswordHasher()
        # argon2 takes 64 MiB and a quarter of a second: two at once at most, off the event loop
        self._pool = ThreadPoolExecutor(HASHERS, thread_name_prefix="argon2")
        self._hashing = 0

    def _take(self, root: bytes, previous: bytes) -> None:
        if len(root) != keyfile.SIZE:
            raise ValueError("the secret key must be 32 bytes (base64 in its file)")
        self._root, self._previous = root, previous
        self._signing = OctKey.import_key(self._derive("sign"))
        self._proven: dict[str, dict[str, Any]] = {}
        """Claims of tokens whose signatures were checked with this key; when they expire is looked at each time."""
        self._digest = self._digest or self._derive("digest")

    @classmethod
    def load(cls, path: Path) -> FileKeyring:
        """Read the key file; make it (mode 0600) when it is not there."""
        if not path.exists():
            keyfile.make(path)
        root, previous = keyfile.read(path)
        return cls(root, previous, path)

    def _follow(self) -> None:
        """Take the keys that the file holds by now. One that cannot be read is looked at again the next time."""
        now = _stamp(self._file)
        if self._file is None or now is None or now == self._seen:
            return
        with contextlib.suppress(ValueError, OSError):
            self._take(*keyfile.read(self._file))
            self._seen = now

    @property
    def digesting(self) -> str:
        """The key of :meth:`digest`. It stays when the root key changes, for a digest cannot be made anew."""
        return base64.b64encode(self._digest).decode()

    def digest_with(self, key: str) -> None:
        """Use a key of digests that was kept (:attr:`digesting`)."""
        self._digest = base64.b64decode(key, validate=True)

    def stale(self, sealed: str, purpose: str) -> bool:
        """Was it sealed with another key than the newest?"""
        return _opened(self._root, sealed, purpose) is None

    @property
    def root(self) -> bytes:
        """The root key, for the start-up script of a cluster that shares this installation's database."""
        return self._root

    def _derive(self, purpose: str) -> bytes:
        return _derived(self._root, purpose)

    def seal(self, plain: str, purpose: str) -> str:
        self._follow()
        nonce = os.urandom(12)
        sealed = AESGCM(self._derive("seal/" + purpose)).encrypt(nonce, plain.encode(), purpose.encode())
        return PREFIX + base64.urlsafe_b64encode(nonce + sealed).decode()

    def unseal(self, sealed: str, purpose: str) -> str:
        self._follow()
        for key in filter(None, (self._root, self._previous)):
            plain = _opened(key, sealed, purpose)
            if plain is not None:
                return plain
        raise ValueError(
            "a stored secret cannot be opened with this secret key: give the server the key file it was made with"
        )

    def sign(self, claims: dict[str, Any], seconds: int) -> str:
        self._follow()
        # wall clock: tokens cross machines, so there is nothing else; a skewed clock costs a login, not safety
        body = {**claims, "exp": int(time.time()) + seconds}
        return jwt.encode({"alg": "HS256"}, body, self._signing)

    def verify(self, token: str) -> dict[str, Any] | None:
        self._follow()
        claims = self._proven.get(token)
        if claims is None:
            try:
                claims = jwt.decode(token, self._signing, algorithms=["HS256"]).claims
            except (JoseError, ValueError, TypeError):
                return None
            if len(self._proven) >= _PROVEN:
                self._proven.clear()
            self._proven[token] = claims
        return claims if claims.get("exp", 0) > time.time() else None

    def new_signer(self) -> str:
        return signing.new_pair()

    def signer(self, pem: str) -> Signer:
        return signing.RsaSigner(pem)

    def digest(self, secret: str) -> str:
        return hmac.new(self._digest, secret.encode(), hashlib.sha256).hexdigest()

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


def _derived(root: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), keyfile.SIZE, salt=None, info=b"remuda/" + purpose.encode()).derive(root)


def _opened(root: bytes, sealed: str, purpose: str) -> str | None:
    try:
        raw = base64.urlsafe_b64decode(sealed.removeprefix(PREFIX))
        return AESGCM(_derived(root, "seal/" + purpose)).decrypt(raw[:12], raw[12:], purpose.encode()).decode()
    except (InvalidTag, ValueError):
        return None


def _stamp(file: Path | None) -> tuple[int, int] | None:
    """What changes when the file is replaced."""
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns

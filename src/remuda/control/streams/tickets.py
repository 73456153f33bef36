"""Tickets: signed permissions to open one stream, made on one server and good on all.

The key pair is made when the first ticket is wanted, once per installation: whoever comes second finds the first one's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from remuda.core import tickets
from remuda.core.model import Credential
from remuda.ports.keyring import Keyring, Signer
from remuda.ports.store import ALIVE, Duplicate, Store, Tx, eq

KIND, NAME = "streamKey", "stream-key"
PURPOSE = Credential(kind=KIND).purpose("sealed")
SYSTEM = 2
"""The account of the installation itself."""

Write = Callable[[Callable[[Tx], str]], Awaitable[str]]


class Tickets:
    """``write`` carries out a unit of work if the control plane may decide anything now."""

    def __init__(self, store: Store, keyring: Keyring, write: Write) -> None:
        self._store, self._keyring, self._write = store, keyring, write
        self._signer: Signer | None = None
        self._making = asyncio.Lock()

    async def issue(self, path: str, claims: dict[str, Any]) -> str:
        """A ticket for this path."""
        told = {**claims, "iss": tickets.ISSUER, "sub": tickets.SUBJECT, "path": path}
        return (await self._pair()).sign(told, tickets.seconds(path))

    async def read(self, path: str, token: str) -> dict[str, Any] | None:
        """What a ticket says; None when it is none of ours, has ended, or is for another path."""
        if not token:
            return None
        signer = self._signer or await self._known()
        claims = signer.verify(token) if signer is not None else None
        if claims is None or (claims.get("iss"), claims.get("path")) != (tickets.ISSUER, path):
            return None
        return claims

    async def certificate(self) -> str:
        """What tickets can be checked with, PEM."""
        return (await self._pair()).certificate

    async def _pair(self) -> Signer:
        async with self._making:
            return self._signer or await self._known() or await self._make()

    async def _known(self) -> Signer | None:
        sealed = await self._store.read(_sealed)
        if sealed:
            self._signer = self._keyring.signer(self._keyring.unseal(sealed, PURPOSE))
        return self._signer

    async def _make(self) -> Signer:
        draft = self._keyring.seal(await asyncio.to_thread(self._keyring.new_signer), PURPOSE)

        def unit(tx: Tx) -> str:
            return (
                _sealed(tx)
                or tx.insert(
                    Credential(kind=KIND, account_id=SYSTEM, name=NAME, public_value=NAME, sealed=draft)
                ).sealed
            )

        try:
            sealed = await self._write(unit)
        except Duplicate:
            sealed = await self._store.read(_sealed)
        self._signer = self._keyring.signer(self._keyring.unseal(sealed, PURPOSE))
        return self._signer


def _sealed(tx: Tx) -> str:
    row = tx.first(Credential, eq("public_value", NAME), eq("kind", KIND), ALIVE)
    return row.sealed if row else ""

"""A short number for a whole scene, kept up to date entry by entry.

Server and host each work it out from what they hold; when the two differ, the host asks for everything again. So a lost
update, a restored database or a bug heals by itself instead of leaving a host with a wrong picture for ever. No secret
and no protection: both sides are trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from remuda.core.network.scene import Entry, Gone, Scene

_encode = msgspec.json.Encoder(order="deterministic").encode
KINDS = ("hosts", "stacks", "services", "containers")


class Digest:
    """The number of a scene that changes; :attr:`value` is its text, empty while there is no entry."""

    def __init__(self, scene: Scene | None = None) -> None:
        self._parts: dict[tuple[str, int], int] = {}
        self._sum = 0
        if scene is not None:
            self.take(scene)

    @property
    def value(self) -> str:
        """Sixteen hexadecimal digits."""
        return f"{self._sum:016x}"

    def take(self, update: Scene, gone: Gone | None = None) -> None:
        """The same update that the scene got."""
        if update.network is not None:
            self._put(("network", 0), _encode(update.network))
        for kind in KINDS:
            entries: Mapping[int, Entry] = getattr(update, kind)
            for number, entry in entries.items():
                self._put((kind, number), _encode(entry))
            for number in getattr(gone, kind, ()):
                self._sum ^= self._parts.pop((kind, number), 0)

    def _put(self, key: tuple[str, int], data: bytes) -> None:
        name = f"{key[0]}/{key[1]}".encode()
        fresh = int.from_bytes(hashlib.blake2b(name + data, digest_size=8).digest(), "big")
        self._sum ^= self._parts.get(key, 0) ^ fresh
        self._parts[key] = fresh

"""Docker's multiplexed output: eight bytes of header (stream, length) before each piece. Pure, fed with bytes as they come."""

from __future__ import annotations

import struct

OUT, ERR = "out", "err"
_HEADER = struct.Struct(">BxxxI")


class Demultiplexer:
    """Turns chunks of any size into pieces of (``out`` | ``err``, bytes); a piece may be handed out in parts."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._left = 0
        self._channel = OUT

    def feed(self, chunk: bytes) -> list[tuple[str, bytes]]:
        """The pieces that ``chunk`` completes or continues."""
        self._pending += chunk
        pieces: list[tuple[str, bytes]] = []
        position = 0
        while True:
            available = len(self._pending) - position
            if self._left:
                if not available:
                    break
                size = min(self._left, available)
                pieces.append((self._channel, bytes(self._pending[position : position + size])))
                position += size
                self._left -= size
                continue
            if available < _HEADER.size:
                break
            kind, self._left = _HEADER.unpack_from(self._pending, position)
            self._channel = ERR if kind == 2 else OUT
            position += _HEADER.size
        del self._pending[:position]
        return pieces

"""Implements :class:`remuda.ports.balancer.BalancerControl`: one short connection per question, as haproxy's sockets want it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from remuda.ports.balancer import BalancerError

SECONDS, AT_ONCE = 5.0, 40
_MAINTENANCE, _DRAINING = 0x01 | 0x02 | 0x20, 0x08 | 0x10
"""Bits of the administrative state. 0x04 only remembers that the file said ``disabled``."""


class HaproxyControl:
    """Speaks to any haproxy whose socket it is given."""

    async def description(self, socket: Path) -> str:
        """The ``description`` of the running configuration."""
        text = await _ask(socket, "show info")
        for line in text.splitlines():
            name, _, value = line.partition(":")
            if name == "description":
                return value.strip()
        return ""

    async def servers(self, socket: Path) -> dict[str, list[tuple[str, int, bool, bool, int]]]:
        """From ``show servers state``; the columns are those of its version 1."""
        found: dict[str, list[tuple[str, int, bool, bool, int]]] = {}
        for line in (await _ask(socket, "show servers state")).splitlines():
            words = line.split()
            if len(words) < 19 or line.startswith("#"):
                continue
            admin = int(words[6])
            row = (words[4], int(words[18]), bool(admin & _MAINTENANCE), bool(admin & _DRAINING), int(words[7]))
            found.setdefault(words[1], []).append(row)
        return found

    async def run(self, socket: Path, commands: list[str]) -> None:
        """Commands, in order; what haproxy says to them must be nothing, or no complaint."""
        for start in range(0, len(commands), AT_ONCE):
            said = await _ask(socket, "; ".join(commands[start : start + AT_ONCE]))
            for line in said.splitlines():
                if line.strip() and not any(
                    word in line for word in ("changed from", "no need to change", "nothing changed")
                ):
                    raise BalancerError(f"haproxy says: {line.strip()}")

    async def reload(self, master: Path) -> None:
        """Ask the master."""
        with contextlib.suppress(BalancerError):  # it may hang up before it has answered
            await _ask(master, "reload")


async def _ask(socket: Path, line: str) -> str:
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(f"{line}\n".encode())
                await writer.drain()
                return (await reader.read()).decode(errors="replace")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        raise BalancerError(f"haproxy does not answer at {socket.name}: {error or 'no answer in time'}") from None

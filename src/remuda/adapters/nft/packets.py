"""Implements :class:`remuda.ports.packets.Packets`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from remuda.ports.packets import PacketError

SECONDS = 15.0
FLAVOURS = ("iptables", "iptables-nft", "iptables-legacy")
USER_CHAIN = "DOCKER-USER"


class NftPackets:
    """Acts on the network namespace of this process."""

    async def replace(self, text: str) -> None:
        """Load rules, all or nothing."""
        await _run(["nft", "-f", "-"], text)

    async def present(self, family: str, table: str) -> bool:
        """Is a table there?"""
        try:
            await _run(["nft", "list", "table", family, table])
        except PacketError as error:
            if "No such file" in str(error):
                return False
            raise
        return True

    async def admit(self, bridge: str) -> None:
        """Docker drops what it did not publish itself; its chain for other people's rules is where ours belongs."""
        rule = [USER_CHAIN, "-o", bridge, "-m", "conntrack", "--ctstate", "DNAT", "-j", "ACCEPT"]
        for command in FLAVOURS:
            try:
                await _run([command, "-w", "5", "-n", "-L", USER_CHAIN])
            except PacketError:
                continue  # not the flavour that Docker uses here
            try:
                await _run([command, "-w", "5", "-C", *rule])
            except PacketError:
                await _run([command, "-w", "5", "-I", *rule])
            return

    async def forget(self, protocol: str, port: int, address: str = "") -> None:
        """Forget connections; where the tool is missing they end by themselves.

        Always with who answered: a connection of somebody's own to the same port out in the world is none of ours.
        """
        for answers in [address] if address else await self._own_addresses():
            with contextlib.suppress(PacketError):
                await _run(["conntrack", "-D", "-p", protocol, "--orig-port-dst", str(port), "--reply-src", answers])

    async def _own_addresses(self) -> list[str]:
        rows = json.loads(await _run(["ip", "-4", "-j", "addr", "show"]) or "[]")
        return [one["local"] for row in rows for one in row.get("addr_info", ()) if "local" in one]

    async def bridged(self) -> bool:
        """Docker switches this on as a rule; it is a property of the whole network namespace."""
        path = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        await asyncio.to_thread(_switch_on, path)
        return await asyncio.to_thread(_is_on, path)

    async def hairpin(self, bridge: str, macs: frozenset[str]) -> bool:
        """A bridge sends nothing back through the port that it came from unless told so for that port."""
        if not macs:
            return True
        rows = json.loads(await _run(["bridge", "-j", "fdb", "show", "br", bridge]) or "[]")
        found = {row["mac"]: row["ifname"] for row in rows if row.get("mac") in macs and row.get("ifname") != bridge}
        for device in sorted(set(found.values())):
            with contextlib.suppress(PacketError):  # gone meanwhile
                await _run(["bridge", "link", "set", "dev", device, "hairpin", "on"])
        return found.keys() >= macs

    async def reach_from_loopback(self, bridge: str) -> None:
        """Packets from 127.0.0.1 may leave through the bridge."""
        await asyncio.to_thread(_switch_on, Path(f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet"))


def _switch_on(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.write_text("1")


def _is_on(path: Path) -> bool:
    try:
        return path.read_text().strip() == "1"
    except OSError:
        return False


async def _run(command: Sequence[str], text: str = "") -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError:
        raise PacketError(f"the command {command[0]} is missing; install nftables and iptables") from None
    try:
        async with asyncio.timeout(SECONDS):
            output, errors = await process.communicate(text.encode())
    except TimeoutError:
        raise PacketError(f"{command[0]} did not end within {SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        said = " ".join(errors.decode(errors="replace").split())
        raise PacketError(f"{command[0]}: {said[:300] or f'ended with {process.returncode}'}")
    return output.decode()

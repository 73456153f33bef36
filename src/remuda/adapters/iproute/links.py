"""Implements :class:`remuda.ports.links.Links`.

One process per batch, not per entry: ten thousand entries take a quarter of a second. A Python netlink library does the same with
12 MB of memory on every host (``docs/decisions/0009-the-overlay.md``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterable
from typing import Any

from remuda.core.network.overlay import Changes, Tables
from remuda.ports.links import LinkError, Overlay

SECONDS = 20.0
Json = list[dict[str, Any]]
_QUIET = {"learning": False, "neigh_suppress": True, "flood": False, "mcast_flood": False, "bcast_flood": False}
"""How the overlay's port of the bridge is: only what has an entry goes out, and questions for neighbours are answered here."""
_QUIET_WORDS = " ".join(f"{name} {'on' if value else 'off'}" for name, value in _QUIET.items())


class IpLinks:
    """Acts on the network namespace of this process."""

    def index(self, name: str) -> int:
        """The kernel's number of a device, 0 when there is none."""
        try:
            return socket.if_nametoindex(name)
        except OSError:
            return 0

    async def link_mtu(self, own: str, peer: str) -> int:
        """The MTU of the device that has the address ``own``, else of the one that leads to ``peer``."""
        for device in await self._ask("ip", "-j", "addr", "show", "to", own) if own else ():
            if device.get("mtu"):
                return int(device["mtu"])
        with contextlib.suppress(LinkError):  # no way there
            for route in await self._ask("ip", "-j", "route", "get", peer) if peer else ():
                return int((await self._link(str(route["dev"]))).get("mtu", 0))
        return 0

    def local_address(self, address: str) -> bool:
        """Does this machine have this address?"""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                return False
        return True

    async def ensure(self, overlay: Overlay) -> bool:
        """Make or mend the devices."""
        lines = await self._bridge_lines(overlay)
        device = await self._link(overlay.device)
        if device and not _fits(device, overlay):
            await self._batch("ip", [f"link del {overlay.device}"])
            device = {}
        if not device:
            local = f"local {overlay.local}" if overlay.local else ""
            lines.append(
                f"link add {overlay.device} type vxlan id {overlay.vxlan_id} dstport {overlay.port} {local} nolearning"
            )
        wrong = (
            device.get("master") != overlay.bridge
            or device.get("mtu") != overlay.mtu
            or "UP" not in device.get("flags", ())
        )
        if wrong:
            lines.append(f"link set {overlay.device} mtu {overlay.mtu} master {overlay.bridge} up")
        if lines:
            await self._batch("ip", lines)
        if wrong or not _quiet(device):
            await self._batch("bridge", [f"link set dev {overlay.device} {_QUIET_WORDS}"])
            return True
        return bool(lines)

    async def _bridge_lines(self, overlay: Overlay) -> list[str]:
        bridge = await self._link(overlay.bridge, "addr")
        if not bridge:
            raise LinkError(f"the bridge {overlay.bridge} is not there; the agent makes it with Docker's network")
        lines = []
        if overlay.mac and bridge.get("address") != overlay.mac:
            lines.append(f"link set {overlay.bridge} address {overlay.mac}")
        if "UP" not in bridge.get("flags", ()):
            lines.append(f"link set {overlay.bridge} up")
        if all(address.get("local") != overlay.service_address for address in bridge.get("addr_info", ())):
            lines.append(f"addr replace {overlay.service_address}/32 dev {overlay.bridge} scope link")
        if overlay.tunnel and not self.local_address(overlay.tunnel):
            lines.append(f"addr replace {overlay.tunnel}/32 dev lo")
        return lines

    async def tables(self, overlay: Overlay) -> Tables:
        """The entries that the overlay's devices have."""
        forwarding: dict[str, str] = {}
        behind: set[str] = set()
        for row in await self._ask("bridge", "-j", "fdb", "show", "dev", overlay.device):
            if "dst" in row and row["mac"] != "00:00:00:00:00:00":
                forwarding[row["mac"]] = row["dst"]
            elif row.get("master") == overlay.bridge and row.get("state") == "static":
                behind.add(row["mac"])
        # half an entry, of the device or of the bridge, counts as one that leads nowhere: it is put again, or goes
        half = dict.fromkeys(forwarding.keys() ^ behind, "")
        neighbours = {
            row["dst"]: row["lladdr"]
            for row in await self._ask("ip", "-j", "neigh", "show", "dev", overlay.bridge, "nud", "permanent")
            if "lladdr" in row
        }
        return Tables({**forwarding, **half}, neighbours)

    async def apply(self, overlay: Overlay, changes: Changes) -> str:
        """Carry out changes of entries; what is to go goes first, so that an address that moved is never nobody's for long."""
        device, bridge = overlay.device, overlay.bridge
        gone = [f"fdb del {mac} dev {device} {side}" for mac in changes.drop.forwarding for side in ("self", "master")]
        put = []
        for mac, to in changes.put.forwarding.items():
            put.append(f"fdb replace {mac} dev {device} dst {to} self permanent")
            put.append(f"fdb replace {mac} dev {device} master static")
        forgotten = [f"neigh del {ip} dev {bridge}" for ip in changes.drop.neighbours]
        neighbours = [
            f"neigh replace {ip} lladdr {mac} dev {bridge} nud permanent" for ip, mac in changes.put.neighbours.items()
        ]
        # what is gone already needs no deleting
        await self._batch("bridge", gone, force=True)
        await self._batch("ip", forgotten, force=True)
        refused = [await self._batch("bridge", put, force=True), await self._batch("ip", neighbours, force=True)]
        return "; ".join(words for words in refused if words)

    # ---- the tools ----------------------------------------------------------------------------------------------------

    async def _link(self, name: str, what: str = "link") -> dict[str, Any]:
        try:
            found = await self._ask("ip", "-j", "-d", what, "show", "dev", name)
        except LinkError as error:
            if "does not exist" in str(error):
                return {}
            raise
        return found[0] if found else {}

    async def _ask(self, *command: str) -> Json:
        text = await _run(command, b"")
        found: Json = [row for row in json.loads(text or "[]") if row]
        return found

    async def _batch(self, tool: str, lines: Iterable[str], *, force: bool = False) -> str:
        """With ``force`` a line that is refused does not keep the others from being carried out; returns the first refusal."""
        text = "".join(f"{line}\n" for line in lines)
        if not text:
            return ""
        command = [tool, *(["-force"] if force else []), "-batch", "-"]
        try:
            await _run(command, text.encode())
        except LinkError as error:
            if not force:
                raise
            return str(error)
        return ""


def _fits(device: dict[str, Any], overlay: Overlay) -> bool:
    data = device.get("linkinfo", {}).get("info_data", {})
    return bool(
        data.get("id") == overlay.vxlan_id
        and data.get("port") == overlay.port
        and (data.get("local") or "") == overlay.local
    )


def _quiet(device: dict[str, Any]) -> bool:
    port = device.get("linkinfo", {}).get("info_slave_data", {})
    return all(port.get(name) is value for name, value in _QUIET.items())


async def _run(command: Iterable[str], text: bytes) -> str:
    words = tuple(command)
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError:
        raise LinkError(f"the command {words[0]} is missing; install iproute2") from None
    try:
        async with asyncio.timeout(SECONDS):
            output, errors = await process.communicate(text)
    except TimeoutError:
        raise LinkError(f"{' '.join(words[:4])} did not end within {SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        said = errors.decode(errors="replace").strip().splitlines()
        raise LinkError(f"{' '.join(words[:4])}: {said[0] if said else f'ended with {process.returncode}'}")
    return output.decode()

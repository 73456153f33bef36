"""Published ports of this host, and who may talk to its containers: one table of the packet filter, replaced as a whole."""

from __future__ import annotations

import asyncio

from remuda.agent.network.state import BRIDGE, VXLAN_DEVICE, NetState
from remuda.core.network import ruleset
from remuda.core.network.ruleset import TABLE, Ruleset
from remuda.ports.packets import PacketError, Packets

LOOK_SECONDS = 30.0


class FirewallPart:
    """``name`` of the part is ``firewall``."""

    name = "firewall"

    def __init__(self, packets: Packets) -> None:
        self._packets = packets
        self._loaded: Ruleset | None = None
        self._looked = float("-inf")
        self._hairpinned = -1
        self._guarded = ""

    async def apply(self, state: NetState) -> str:
        """Load the rules that the scene asks for, and look now and then whether they are still there."""
        rules = ruleset.wanted(state.scene, state.host_id, BRIDGE)
        if rules is None:
            return ""
        now = asyncio.get_running_loop().time()
        due = now - self._looked >= LOOK_SECONDS
        try:
            if due:
                await self._packets.admit(BRIDGE)
                await self._packets.reach_from_loopback(BRIDGE)
                if self._loaded is not None and not await self._packets.present("ip", TABLE):
                    self._loaded = None
            if rules != self._loaded:
                await self._packets.replace(ruleset.render(rules))
                await self._forget(self._loaded, rules)
                self._loaded = rules
            if due or state.version != self._hairpinned:
                all_found = await self._packets.hairpin(BRIDGE, macs(state, rules))
                self._hairpinned = state.version if all_found else -1
        except PacketError as error:
            self._loaded = None
            return f"the rules for ports and policy cannot be loaded: {error}"
        if due:
            self._looked = now
        return await self._guard(rules, look=due)

    async def _guard(self, rules: Ruleset, *, look: bool) -> str:
        """What else a policy needs; ports work without it."""
        if rules.policy is not None and not await self._packets.bridged():
            return (
                "the policy cannot be enforced between containers of this host: its kernel lacks br_netfilter; load that "
                "module (modprobe br_netfilter)"
            )
        wanted = ruleset.render_guard(rules, VXLAN_DEVICE)
        try:
            if look and rules.policy is not None and not await self._packets.present("bridge", TABLE):
                self._guarded = ""
            if wanted != self._guarded:
                await self._packets.replace(wanted)
                self._guarded = wanted
        except PacketError as error:
            self._guarded = ""
            if rules.policy is not None:
                return (
                    f"containers can pass the policy under forged addresses, which this kernel does not check: {error}"
                )
        return ""

    async def _forget(self, before: Ruleset | None, after: Ruleset) -> None:
        """A port that leads elsewhere now: what came in for it before must not go on to where it led.

        A client that sends UDP to a port all the time would otherwise never get to a container that has it since.
        """
        if before is None:
            return
        gone, fresh = set(before.forwards) - set(after.forwards), set(after.forwards) - set(before.forwards)
        for protocol, public, address in {(f.protocol, f.public, f.address) for f in gone}:
            await self._packets.forget(protocol, public, address)
        for public in {f.public for f in fresh if f.protocol == "udp"}:
            await self._packets.forget("udp", public)

    async def close(self) -> None:
        """The kernel goes on by itself."""


def macs(state: NetState, rules: Ruleset) -> frozenset[str]:
    """The hardware addresses of the containers of this host that ports lead to."""
    reached = {forward.address for forward in rules.forwards}
    return frozenset(
        c.mac for c in state.scene.containers.values() if c.host_id == state.host_id and c.ip in reached and c.mac
    )

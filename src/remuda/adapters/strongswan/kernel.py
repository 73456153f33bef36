"""What the kernel does for tunnels: whether it has ESP, and that nothing of the overlay passes outside of tunnels."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable

from remuda.core.network.addressing import TUNNELS
from remuda.ports.tunnels import Barrier, TunnelError

SECONDS = 10.0
KERNEL, USER_SPACE = "kernel", "user space"
TABLE = "remuda_tunnels"
_METRIC = "4000000"
"""Of the route that ends the way of packets that no tunnel takes: any other route goes before it."""


async def best_mode() -> str:
    """``kernel`` or ``user space``; the kernel is tried with a state that nobody uses, for not all do what they say.

    Raises :class:`TunnelError` when there is neither.
    """
    words = ["src", "169.254.127.1", "dst", "169.254.127.2", "proto", "esp", "spi", "0x7e57"]
    key = "0x" + "00" * 20
    encryption = f"mode tunnel aead rfc4106(gcm(aes)) {key} 128 encap espinudp 4500 4500 0.0.0.0".split()
    try:
        await run(["ip", "xfrm", "state", "add", *words, *encryption])
    except TunnelError as error:
        if not os.access("/dev/net/tun", os.F_OK):
            raise TunnelError(
                f"this machine can encrypt neither in the kernel ({error}) nor in user space (/dev/net/tun is missing); load the "
                f"module esp4 or tun, or set the network's encryption to plain"
            ) from None
        return USER_SPACE
    with contextlib.suppress(TunnelError):
        await run(["ip", "xfrm", "state", "delete", *words])
    return KERNEL


async def put_up(barrier: Barrier, mode: str) -> None:
    """The host's address within tunnels, a route that ends where no tunnel begins, and rules in a table of our own."""
    await run(["ip", "addr", "replace", f"{barrier.own}/32", "dev", "lo"])
    await run(["ip", "route", "replace", "unreachable", TUNNELS, "metric", _METRIC])
    await run(["nft", "-f", "-"], rules(barrier, mode))


async def take_down() -> None:
    """Let everything pass again."""
    await run(["nft", "-f", "-"], f"add table ip {TABLE}\ndelete table ip {TABLE}\n")
    with contextlib.suppress(TunnelError):
        await run(["ip", "route", "del", "unreachable", TUNNELS, "metric", _METRIC])


def rules(barrier: Barrier, mode: str) -> str:
    """Replaces our table in one step. Other users of the VXLAN port (another id) are left alone.

    The route alone would not do: with ESP in the kernel, charon routes a peer's tunnel address to the network card, and a
    packet that comes while the state is being replaced would go there as it is.
    """
    overlay = f"udp dport {barrier.port} @th,96,24 {barrier.vxlan_id}"
    inside = f"{overlay} ip saddr {TUNNELS}"
    incoming = "meta ipsec exists" if mode == KERNEL else 'iifname "ipsec*"'
    outgoing = "rt ipsec exists" if mode == KERNEL else 'oifname "ipsec*"'
    return f"""\
add table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  chain incoming {{
    type filter hook input priority -10; policy accept;
    {inside} {incoming} accept
    {overlay} drop
  }}
  chain outgoing {{
    type filter hook output priority -10; policy accept;
    ip daddr {TUNNELS} oifname "lo" accept
    ip daddr {TUNNELS} {outgoing} accept
    ip daddr {TUNNELS} drop
  }}
}}
"""


async def run(command: Iterable[str], text: str = "") -> None:
    """Raises :class:`TunnelError`."""
    words = list(command)
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError:
        raise TunnelError(f"the command {words[0]} is missing; install iproute2 and nftables") from None
    try:
        async with asyncio.timeout(SECONDS):
            _, errors = await process.communicate(text.encode())
    except TimeoutError:
        raise TunnelError(f"{words[0]} did not end within {SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise TunnelError(f"{words[0]}: {' '.join(errors.decode(errors='replace').split())[:200]}")

"""Implements :class:`remuda.ports.tunnels.Tunnels`.

Where the kernel has ESP it encrypts; where it has not (small kernels, some containers), charon does it itself with a TUN device.
Keys go to charon over its socket only, never into a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from remuda.adapters.strongswan import kernel, queues
from remuda.adapters.strongswan.daemon import Daemon
from remuda.adapters.strongswan.vici import Line, Message, ViciError
from remuda.core.network import tunnels as planner
from remuda.core.network.tunnels import CLOSING, CONNECTING, IDLE, INSTALLED, Connection, Secret, Standing
from remuda.ports.tunnels import Barrier, TunnelError

log = logging.getLogger("remuda.network.tunnels")

CALL_SECONDS = 10.0
BARRIER_SECONDS = 30.0
"""Rules that stand are put up again after so long: somebody may have taken them away."""
IKE, ESP = "aes256gcm16-prfsha256-ecp256", "aes128gcm16"
EVENTS = ("ike-updown", "child-updown", "log")


class Charon:
    """``folder`` is for charon alone."""

    def __init__(self, folder: Path) -> None:
        self._daemon = Daemon(folder)
        self._line: Line | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._loaded: dict[str, Connection] = {}
        self._secrets: dict[str, Secret] = {}
        self._barred: tuple[Barrier | None, float] | None = None
        self.mode = ""
        self.reasons: dict[str, str] = {}
        self.on_change: Callable[[], None] = lambda: None

    # ---- the daemon ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start charon, or take over the one that a predecessor left, unless it runs."""
        if self._daemon.alive and self._line is not None:
            self._daemon.shorten()
            return
        if self._line is not None:
            log.warning("charon is gone; it is started again")
        await self._hang_up()
        self.mode = self.mode or await kernel.best_mode()
        await self._daemon.start(self.mode)
        if self.mode == kernel.USER_SPACE:
            await queues.widen(self._daemon.pid)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                self._line = await Line.open(self._daemon.socket)
                ears = await Line.open(self._daemon.socket)
                for event in EVENTS:
                    await ears.register(event)
            self._hearing = asyncio.create_task(self._hear(ears))
            await self._forget_strangers()
        except (OSError, EOFError, ViciError, TimeoutError) as error:
            await self._hang_up()
            raise TunnelError(f"charon does not answer: {error!r}") from None

    async def _forget_strangers(self) -> None:
        """What one that was taken over knows is loaded anew, and what is not wanted any more must go."""
        for name in (await self._ask("get-conns")).get("conns", []):
            self._loaded[name] = Connection(name, 0, 0, "", "", "", "", "")
        for name in (await self._ask("get-shared")).get("keys", []):
            self._secrets[name] = Secret(name, "", "")

    async def stop(self) -> None:
        """End charon; its tunnels end with it."""
        await self._hang_up()
        await self._daemon.stop()

    async def leave(self) -> None:
        """Let go of charon, which goes on."""
        await self._hang_up()

    async def _hang_up(self) -> None:
        self._loaded, self._secrets, self.reasons = {}, {}, {}
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    async def _hear(self, ears: Line) -> None:
        try:
            async for kind, message in ears.events():
                if kind == "log":
                    self._note(message)
                else:
                    self.on_change()
        except (OSError, EOFError, ViciError) as error:
            log.info("charon does not speak any more (%r)", error)
            self.on_change()
        finally:
            await ears.close()

    def _note(self, message: Message) -> None:
        name = str(message.get("ikesa-name", ""))
        why = planner.reason(str(message.get("msg", "")))
        if name and why:
            self.reasons[name] = why

    async def _ask(self, command: str, message: Mapping[str, Any] | None = None) -> Message:
        return (await self._stream(command, message))[-1]

    async def _stream(self, command: str, message: Mapping[str, Any] | None = None, event: str = "") -> list[Message]:
        async with self._turn:
            line = self._line
            if line is None:
                raise TunnelError("charon does not run")
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    return await line.ask(command, message, event)
            except ViciError as error:
                raise TunnelError(f"charon refuses: {error}") from None
            except (OSError, EOFError, TimeoutError) as error:
                # an answer that comes later would be taken for another's: this line is of no use any more
                self._line = None
                with contextlib.suppress(OSError):
                    await line.close()
                raise TunnelError(f"charon does not answer {command}: {error!r}") from None

    # ---- what it knows --------------------------------------------------------------------------------------------------

    async def load(self, connections: Mapping[str, Connection], secrets: Mapping[str, Secret]) -> None:
        """Tell charon what is new, and take out what is no more."""
        for name in self._secrets.keys() - secrets.keys():
            await self._ask("unload-shared", {"id": name})
            del self._secrets[name]
        for name, secret in secrets.items():
            if self._secrets.get(name) != secret:
                wish = {"id": name, "type": "IKE", "data": secret.key.encode(), "owners": [secret.owner]}
                await self._ask("load-shared", wish)
                self._secrets[name] = secret
        for name in self._loaded.keys() - connections.keys():
            await self._ask("unload-conn", {"name": name})
            del self._loaded[name]
        for name, connection in connections.items():
            known = self._loaded.get(name)
            if known != connection:
                await self._ask("load-conn", {name: _document(connection)})
                self._loaded[name] = connection
                if known is not None and known.peer:
                    await self._end({"ike": name})  # the way that it goes is not the right one any more
        self.reasons = {name: why for name, why in self.reasons.items() if name in connections}

    async def standing(self) -> Collection[Standing]:
        """The tunnels that there are."""
        answers = await self._stream("list-sas", None, "list-sa")
        found = [_standing(name, sa) for answer in answers[:-1] for name, sa in answer.items()]
        for one in found:
            if one.state == INSTALLED:
                self.reasons.pop(one.name, None)
        return found

    async def initiate(self, name: str) -> None:
        """Begin; how it went is seen later."""
        with contextlib.suppress(TunnelError):
            await self._ask("initiate", {"ike": name, "child": name, "timeout": "-1", "init-limits": "no"})

    async def terminate(self, number: str) -> None:
        """End a tunnel."""
        await self._end({"ike-id": number})

    async def _end(self, what: dict[str, str]) -> None:
        with contextlib.suppress(TunnelError):
            await self._ask("terminate", {**what, "timeout": "-1", "force": "yes"})

    # ---- the barrier --------------------------------------------------------------------------------------------------------

    async def barrier(self, barrier: Barrier | None) -> None:
        """Nothing of the overlay passes in plain: neither in, nor out while a tunnel is down."""
        now = asyncio.get_running_loop().time()
        if self._barred is not None and self._barred[0] == barrier and now - self._barred[1] < BARRIER_SECONDS:
            return
        if barrier is None:
            await kernel.take_down()
        else:
            self.mode = self.mode or await kernel.best_mode()
            await kernel.put_up(barrier, self.mode)
        self._barred = (barrier, now)


def _standing(name: str, sa: Message) -> Standing:
    children = sa.get("child-sas", {}).values()
    # while a tunnel is made anew its predecessor carries the packets
    passing = any(child.get("state") in ("INSTALLED", "REKEYING", "UPDATING") for child in children)
    state = IDLE
    if sa.get("state") in ("ESTABLISHED", "REKEYING"):
        state = INSTALLED if passing else IDLE
    elif sa.get("state") in ("CREATED", "CONNECTING"):
        state = CONNECTING
    elif sa.get("state") in ("DELETING", "DESTROYING", "REKEYED"):
        state = CLOSING
    return Standing(name, state, str(sa.get("uniqueid", "")))


def _document(connection: Connection) -> dict[str, Any]:
    return {
        "version": "2",
        # the second entry lets a peer in whose address a router on the way changed
        "remote_addrs": [connection.remote, "0.0.0.0/0"],
        "proposals": [IKE],
        "encap": "yes",
        "mobike": "no",
        "dpd_delay": "10s",
        "rekey_time": "4h",
        "keyingtries": "1",
        "unique": "replace",
        "local": {"auth": "psk", "id": connection.local_id},
        "remote": {"auth": "psk", "id": connection.remote_id},
        "children": {
            connection.name: {
                "mode": "tunnel",
                "local_ts": [f"{connection.local_tunnel}/32"],
                "remote_ts": [f"{connection.remote_tunnel}/32"],
                "esp_proposals": [ESP],
                "rekey_time": "1h",
                "dpd_action": "clear",
                "start_action": "none",
            }
        },
    }

"""Keeps the haproxy of each load balancer container of this host at what the scene says.

Servers come and go over the runtime socket; only a change of the structure reloads. A configuration is checked by the very
haproxy that is to run it before it replaces the one in force. What haproxy holds is read from it, so an agent that restarts
changes nothing that is right.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from remuda.agent.book import write_private
from remuda.agent.observe import Container
from remuda.agent.surroundings import Surroundings
from remuda.core.balancing import slots as seating
from remuda.core.balancing.haproxy import CERTIFICATES, FILE, FOLDER, MASTER, NEXT, SOCKET, render, structure
from remuda.core.balancing.launch import KIND
from remuda.core.balancing.slots import DRAIN, MAINT, READY, Slot, Slots
from remuda.core.balancing.targets import Balance, balance, receivers
from remuda.core.network.relations import Relations
from remuda.core.network.scene import Scene, SceneContainer
from remuda.core.spec import PRIMARY
from remuda.core.wire import Assignment
from remuda.ports.balancer import BalancerControl, BalancerError
from remuda.ports.engine import Engine, EngineError

log = logging.getLogger("remuda.agent.balancer")

PLACE = "balancer"
LOOK_SECONDS, RETRY_SECONDS, CHECK_SECONDS, RELOAD_SECONDS = 15.0, 1.0, 10.0, 10.0


def folder_of(state: Path, uuid: str) -> Path:
    """Where a load balancer's files are on the host; in its container they are at ``/etc/haproxy``."""
    return state / PLACE / uuid


class Refused(Exception):  # noqa: N818 - a state
    """haproxy does not accept the configuration; the message is its own."""


class Balancers:
    """``problems`` has a sentence for each load balancer (by uuid) that is not as it should be."""

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        control: BalancerControl,
        surroundings: Surroundings,
        containers: Callable[[], Iterable[Container]],
        assignments: Callable[[], dict[str, Assignment]],
    ) -> None:
        self._folder, self._engine, self._control, self._around = folder, engine, control, surroundings
        self._containers, self._assignments = containers, assignments
        self._wake = asyncio.Event()
        self._done: dict[str, tuple[Balance, str]] = {}
        self._refused: dict[str, str] = {}
        self._targets_of: Scene | None = None
        self._targets: set[str] = set()
        self.problems: dict[str, str] = {}
        self.on_problem: Callable[[Iterable[str]], None] = lambda uuids: None
        surroundings.on_change(self._wake.set)

    def is_target(self, uuid: str) -> bool:
        """Do load balancers (wherever they run) send requests to this container?"""
        scene = self._around.scene
        if scene is not self._targets_of:
            self._targets_of = scene
            self._targets = receivers(scene)
        return uuid in self._targets

    def changed(self) -> None:
        """A container of this host changed."""
        self._wake.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            pause = LOOK_SECONDS
            try:
                pause = await self._step()
            except Exception:  # a bug must not stop balancers from being looked after
                log.exception("Looking after the load balancers failed; trying again")
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                self._done.clear()  # now and then haproxy itself is asked what it holds
            self._wake.clear()

    async def _step(self) -> float:
        scene, pause = self._around.scene, LOOK_SECONDS
        mine = [c for c in scene.containers.values() if c.host_id == self._around.host_id and self._is_balancer(c)]
        relations = Relations(scene) if mine else None
        for container in mine:
            service = scene.services[container.service_id or 0]
            wanted = balance(scene, service, self._around.host_id, relations)
            problem = ""
            try:
                await self._bring(container.uuid, wanted)
            except Refused as error:
                problem = f"haproxy refuses the configuration: {error}"
            except (BalancerError, EngineError, OSError) as error:
                problem, pause = str(error), RETRY_SECONDS
            self._note(container.uuid, problem)
        for uuid in self.problems.keys() - {c.uuid for c in mine}:
            del self.problems[uuid]
        return pause

    def _is_balancer(self, container: SceneContainer) -> bool:
        service = self._around.scene.services.get(container.service_id or 0)
        return service is not None and service.kind == KIND and container.launch == PRIMARY

    def _note(self, uuid: str, problem: str) -> None:
        if self.problems.get(uuid, "") != problem:
            log.log(logging.WARNING if problem else logging.INFO, "load balancer %s: %s", uuid, problem or "well")
            self.problems[uuid] = problem
            self.on_problem([uuid])

    # ---- one load balancer -------------------------------------------------------------------------------------------

    async def _bring(self, uuid: str, wanted: Balance) -> None:
        container = next((c for c in self._containers() if c.uuid == uuid and c.running), None)
        mark = f"{container.id} {container.started}" if container else ""
        if self._done.get(uuid) == (wanted, mark) and not self._certificates_changed(uuid):
            return
        folder = folder_of(self._folder, uuid)
        fresh = self._write_certificates(uuid)
        if container is None:
            slots = {backend.name: seating.seat(backend, ()) for backend in wanted.backends}
            write_private(folder / FILE, render(wanted, slots).encode())
            return
        held = await self._held(folder)
        slots = {backend.name: seating.seat(backend, held.get(backend.name, ())) for backend in wanted.backends}
        text, name = render(wanted, slots), structure(wanted, {n: len(s) for n, s in slots.items()})
        if fresh or (not held and wanted.backends) or await self._name(folder) != name:
            await self._reload(container, folder, text, name)
        else:
            await self._control.run(folder / SOCKET, seating.commands(seating.changes(held, slots)))
            write_private(folder / FILE, text.encode())
        self._done[uuid] = (wanted, mark)
        self._refused.pop(uuid, None)

    async def _name(self, folder: Path) -> str:
        try:
            return await self._control.description(folder / SOCKET)
        except BalancerError:
            return ""

    async def _held(self, folder: Path) -> dict[str, Slots]:
        """What the running haproxy has in its slots."""
        try:
            found = await self._control.servers(folder / SOCKET)
        except BalancerError:
            return {}
        return {name: tuple(_slot(*row) for row in rows) for name, rows in found.items()}

    async def _reload(self, container: Container, folder: Path, text: str, name: str) -> None:
        if self._refused.get(container.uuid) == text:
            raise Refused(self.problems.get(container.uuid, "").partition(": ")[2])
        write_private(folder / NEXT, text.encode())
        said = await self._check(container.id)
        if said:
            self._refused[container.uuid] = text
            raise Refused(_complaint(said, text))
        write_private(folder / FILE, text.encode())
        log.info("load balancer %s: a new structure, haproxy takes it over", container.name)
        await self._control.reload(folder / MASTER)
        loop = asyncio.get_running_loop()
        end = loop.time() + RELOAD_SECONDS
        while await self._name(folder) != name:
            if loop.time() > end:
                raise BalancerError(f"haproxy did not take over its new configuration within {RELOAD_SECONDS:.0f} s")
            await asyncio.sleep(0.05)

    async def _check(self, container: str) -> str:
        """What haproxy complains of in the next configuration; empty when it accepts it."""
        async with asyncio.timeout(CHECK_SECONDS):
            stream = await self._engine.exec(
                container, ["haproxy", "-c", "-f", f"{FOLDER}/{NEXT}"], tty=False, stdin=False
            )
            said = b""
            while (piece := await stream.read()) != ("", b""):
                said += piece[1]
            code = await stream.exit_code()
            await stream.close()
        return "" if code == 0 else said.decode(errors="replace") or f"it ended with {code}"

    # ---- certificates ---------------------------------------------------------------------------------------------------

    def _wanted_certificates(self, uuid: str) -> dict[str, str]:
        assignment = self._assignments().get(uuid)
        return dict(assignment.certificates) if assignment is not None else {}

    def _certificates_changed(self, uuid: str) -> bool:
        place = folder_of(self._folder, uuid) / CERTIFICATES
        wanted = self._wanted_certificates(uuid)
        there = {path.name: path.read_text() for path in place.glob("*.pem")} if place.is_dir() else {}
        return there != wanted

    def _write_certificates(self, uuid: str) -> bool:
        """Put the certificates where haproxy reads them; True when they are others than before."""
        if not self._certificates_changed(uuid):
            return False
        place = folder_of(self._folder, uuid) / CERTIFICATES
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        wanted = self._wanted_certificates(uuid)
        for path in place.glob("*.pem"):
            if path.name not in wanted:
                path.unlink()
        for name, pem in wanted.items():
            write_private(place / name, pem.encode())
        return True


def _slot(address: str, port: int, maintenance: bool, draining: bool, weight: int) -> Slot:
    if maintenance or address in ("0.0.0.0", "-", ""):  # noqa: S104 - compared with
        return Slot("" if address in ("0.0.0.0", "-") else address, port, MAINT, weight)  # noqa: S104
    return Slot(address, port, DRAIN if draining else READY, weight)


def _complaint(said: str, text: str) -> str:
    """haproxy's first complaint, with the line that it is about."""
    first = next((line for line in said.splitlines() if "ALERT" in line or "error" in line.lower()), said.strip())
    sentence = first.partition(": ")[2] or first
    number = next((part for part in first.replace("]", ":").split(":") if part.isdecimal()), "")
    lines = text.splitlines()
    if number and 0 < int(number) <= len(lines):
        return f"{sentence.strip()} (line: {lines[int(number) - 1].strip()})"
    return sentence.strip()

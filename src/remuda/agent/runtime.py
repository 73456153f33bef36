"""Drives one engine toward the assignments: look, plan, act, look again. Level-triggered, with one worker per container.

It is woken by Docker's events, by assignments, by the end of a worker, by a backoff that ran out, and every 30 s. It never
touches a container while Docker's list is unknown, and it needs no server: what it knows lies in the book.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from remuda.agent import observe, plan
from remuda.agent.balancer.drain import drain
from remuda.agent.balancer.keeper import Balancers
from remuda.agent.book import Book
from remuda.agent.network.keeper import NetworkKeeper
from remuda.agent.observe import Container
from remuda.agent.pulls import Orders
from remuda.agent.secrets import Vault
from remuda.agent.translate import Untranslatable
from remuda.agent.volumes import VolumeKeeper
from remuda.agent.watch import Watch
from remuda.agent.worker import Worker
from remuda.core.model import REMOVED, RUNNING
from remuda.core.wire import Assign, Assignment, ContainerReport
from remuda.ports.engine import Engine, EngineDown, EngineError

log = logging.getLogger("remuda.agent.runtime")

SLOW_SECONDS = 30.0
_SAVE_DELAY = 0.2
_PROGRESS_SECONDS = 1.0


class Status(NamedTuple):
    """What a worker is doing."""

    observed: str
    message: str
    progress: int | None = None


class Runtime:
    """``on_report(keys)`` names containers whose report changed; ``on_docker()`` tells that Docker came or went."""

    def __init__(
        self,
        engine: Engine,
        book: Book,
        *,
        agent: str = "",
        vault: Vault | None = None,
        on_report: Callable[[Iterable[str]], None] = lambda keys: None,
        on_docker: Callable[[], None] = lambda: None,
    ) -> None:
        self.book = book
        self.watch = Watch(
            engine, agent, on_change=self._changed, on_docker=self._docker_changed, busy=lambda uuid: uuid in self._busy
        )
        self.on_report, self.on_docker = on_report, on_docker
        self.volumes = VolumeKeeper(engine, lambda: self.watch.up)
        self._vault = vault
        self._worker = Worker(engine, agent, book.folder, vault)
        self.orders = Orders(engine, self._worker.puller)
        self._network: NetworkKeeper | None = None
        self._balancers: Balancers | None = None
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._status: dict[str, Status] = {}
        self._waits: dict[str, str] = {}
        self._backoffs: dict[str, plan.Backoff] = {}
        self._running_since: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._save = asyncio.Event()

    def attend(self, network: NetworkKeeper) -> None:
        """Make managed containers only while their network is there, and tell the network what the engine shows."""
        self._network = network
        self._worker.served = network.served

        def changed() -> None:
            self._wake.set()
            self.on_docker()

        network.on_change = changed

    def balance(self, balancers: Balancers) -> None:
        """Tell the load balancers what the engine shows, and the server what is wrong with them."""
        self._balancers = balancers
        balancers.on_problem = self._report_soon

    def _report_soon(self, uuids: Iterable[str]) -> None:
        self.on_report(uuids)

    @property
    def ready(self) -> bool:
        """True once the engine was listed: before that nothing may be said about what is absent."""
        return self.watch.seen

    async def run(self) -> None:
        """For ever."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.watch.run())
                group.create_task(self.volumes.run())
                group.create_task(self._loop())
                group.create_task(self._saver())
        finally:
            workers = list(self._busy.values())
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self.orders.close()
            await self._worker.puller.close()
            self.book.save()

    def assign(self, message: Assign) -> None:
        """Take assignments in. What is repeated is only reported again."""
        before = dict(self.book.assignments)
        touched = self.book.take(message)
        for uuid in touched:
            old, new = before.get(uuid), self.book.assignments.get(uuid)
            if old is None or new is None or new.seq > old.seq:
                self._backoffs.pop(uuid, None)
            self._give_up_pull(uuid, new)
        self.volumes.take(message.volumes, complete=message.complete)
        self._save.set()
        self._wake.set()
        self.on_report(touched)

    def _give_up_pull(self, uuid: str, wish: Assignment | None) -> None:
        """Nobody wants the container any more: do not keep its worker waiting for an image."""
        status, worker = self._status.get(uuid), self._busy.get(uuid)
        pulling = worker is not None and status is not None and status.observed == "pulling"
        if worker is not None and pulling and (wish is None or wish.desired != RUNNING):
            worker.cancel()

    def noted(self, keys: Iterable[str]) -> None:
        """The server stored reports of these: what was removed may be forgotten."""
        gone = self.book.removals_done().intersection(keys)
        if gone:
            self.book.forget(gone)
            for uuid in gone:
                self._backoffs.pop(uuid, None)
            self._save.set()

    # ---- reports -----------------------------------------------------------------------------------------------------

    def reports(self, keys: Iterable[str] | None = None) -> list[ContainerReport]:
        """Reports of these keys, or of all that is here."""
        requested = {wish.external_id: uuid for uuid, wish in self.book.assignments.items() if wish.native}
        found: dict[str, Container] = {}
        for container in self.watch.containers.values():
            key = container.uuid or requested.get(container.id, f"docker:{container.id}")
            if not container.uuid and container.state == "created" and container.id not in requested:
                continue  # what a person only created is nothing to show yet
            if key not in found or container.running:
                found[key] = container
        wanted = [*found, *(uuid for uuid in self.book.assignments if uuid not in found)] if keys is None else keys
        return [self._report(key, found.get(key)) for key in dict.fromkeys(wanted)]

    def _report(self, key: str, container: Container | None) -> ContainerReport:
        wish, status, backoff = self.book.assignments.get(key), self._status.get(key), self._backoffs.get(key)
        known = self.book.done.get(key, plan.Done())
        native = wish.native if wish else key.startswith("docker:")
        if container is None:
            base = ContainerReport(uuid=key, name=wish.name if wish else "", native=native)
        else:
            base = observe.report(container, uuid=key, native=native)
        changes: dict[str, object] = {"applied_seq": known.seq, "restarts": known.restarts}
        if status is not None:
            changes.update(message=status.message, progress=status.progress)
            if container is None:
                changes["observed"] = status.observed
        elif backoff is not None and not backoff.crashes and backoff.message:
            changes["message"] = backoff.message
            if not (container and container.running):
                changes["observed"] = "error"
        elif wish is not None and wish.desired == RUNNING and container is not None and container.ended:
            changes["message"] = self._end(container, backoff)
        elif key in self._waits:
            changes["message"] = self._waits[key]
        elif self._balancers is not None and self._balancers.problems.get(key):
            changes["message"] = self._balancers.problems[key]
        return msgspec.structs.replace(base, **changes)

    def _end(self, container: Container, backoff: plan.Backoff | None) -> str:
        why = " for lack of memory" if container.oom else ""
        sentence = f"Exited with code {container.exit_code}{why}"
        wish = self.book.assignments.get(container.uuid)
        again = wish is not None and container.uuid in self._waits and backoff is not None and backoff.crashes
        if not again or backoff is None:
            waits = "" if backoff is not None and backoff.crashes else self._waits.get(container.uuid, "")
            return f"{sentence}. {waits}" if waits else sentence
        times = f" ({backoff.failures} times in a row)" if backoff.failures > 1 else ""
        return f"{sentence}{times}; starts again after a pause of {plan.delay(backoff.failures):g} s"

    # ---- the loop ----------------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        while True:
            self._wake.clear()
            try:
                pause = self._step()
            except Exception:  # a bug must not stop the host from being looked after
                log.exception("Planning failed; trying again")
                pause = 5.0
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _step(self) -> float:
        """Plan once, set workers going; seconds until the next plan is due anyway."""
        if not (self.watch.up and self.watch.seen):
            return SLOW_SECONDS
        now = _now()
        page = self.book.page
        actions = plan.plan(
            page.assignments,
            self.watch.containers.values(),
            page.done,
            self._backoffs,
            now,
            complete=page.complete,
            no_network=self._network.missing() if self._network else "",
            lacking=self._look_after_secrets(),
        )
        pause, waits = SLOW_SECONDS, {}
        for action in actions:
            if action.uuid in self._busy:
                continue
            if isinstance(action, plan.Wait):
                waits[action.uuid] = action.why
                if action.until:
                    pause = min(pause, max(0.01, action.until - now))
            elif isinstance(action, plan.Adopt):
                self.book.carried_out(action.uuid, action.seq, action.token)
                self._save.set()
                self.on_report([action.uuid])
            else:
                self._busy[action.uuid] = asyncio.create_task(self._work(action))
        changed = [uuid for uuid in {*waits, *self._waits} if waits.get(uuid) != self._waits.get(uuid)]
        self._waits = waits
        if changed:
            self.on_report(changed)
        return pause

    def _look_after_secrets(self) -> dict[str, str]:
        """Forget those of containers that are gone; what the others still lack, by uuid."""
        if self._vault is None:
            return {}
        page = self.book.page
        if page.complete:
            wanted = {uuid for uuid, wish in page.assignments.items() if wish.desired != REMOVED}
            self._vault.sweep(wanted | {container.uuid for container in self.watch.containers.values()})
        return self._vault.lacking(page.assignments)

    async def _work(self, action: plan.Action) -> None:
        uuid = action.uuid
        wish = self.book.assignments.get(uuid)
        log.info("%s %s", type(action).__name__.lower(), self._name(uuid))
        target = getattr(action, "container", None)
        try:
            if self._balancers is not None and plan.ends(action) and self._balancers.is_target(uuid):
                await self._drain(target, wish)
            target = await self._carry_out(action, wish) or target
            await self._look(uuid, action, target)
        finally:
            self._status.pop(uuid, None)
            self._told.pop(uuid, None)
            self._busy.pop(uuid, None)
            self.on_report([uuid])
            self._wake.set()

    async def _drain(self, container: str | None, wish: Assignment | None) -> None:
        shown = self.watch.containers.get(container or "")
        state = shown.engine.get("State", {}) if shown is not None else {}
        await drain(int(state.get("Pid") or 0), wish.spec.drain_timeout_ms if wish else None)

    async def _carry_out(self, action: plan.Action, wish: Assignment | None) -> str | None:
        uuid = action.uuid
        try:
            target = await self._worker.run(action, wish, lambda *words: self._tell(uuid, Status(*words)))
        except EngineDown as error:
            log.warning("%s: %s", self._name(uuid), error)
            self._backoffs[uuid] = plan.Backoff(0, _now() + 1.0)
        except (EngineError, Untranslatable) as error:
            self._refused(uuid, str(error))
        except Exception as error:
            log.exception("Working on %s failed", self._name(uuid))
            self._refused(uuid, f"The agent failed: {error!r}")
        else:
            self._succeeded(action, wish)
            return target
        return None

    def _name(self, uuid: str) -> str:
        wish = self.book.assignments.get(uuid)
        return wish.name if wish and wish.name else uuid

    def _succeeded(self, action: plan.Action, wish: Assignment | None) -> None:
        """Note what was carried out: the assignment as it was when the work began, which may not be the newest."""
        before = self._backoffs.get(action.uuid)
        if before is not None and not before.crashes:
            del self._backoffs[action.uuid]
        if wish is not None and not (isinstance(action, plan.Remove) and wish.desired != REMOVED):
            again = isinstance(action, plan.Start) and action.again
            self.book.carried_out(wish.uuid, wish.seq, wish.restart_token, restarted=again)
            self._save.set()

    def _refused(self, uuid: str, message: str) -> None:
        log.warning("%s: %s", self._name(uuid), message)
        self._backoffs[uuid] = plan.failed(self._backoffs.get(uuid), _now(), message)

    async def _look(self, uuid: str, action: plan.Action, target: str | None) -> None:
        """See what became of the container; a failed creation may have left one behind."""
        try:
            if target is None:
                await self.watch.relist()
                return
            after = await self.watch.refresh(target)
        except EngineError as error:
            log.warning("%s: cannot see the result: %s", self._name(uuid), error)
            return
        if after is not None and after.ended and isinstance(action, plan.Create | plan.Start | plan.Restart):
            self._crashed(after)

    def _tell(self, uuid: str, status: Status) -> None:
        """A worker's status; a pull talks all the time, once a second is enough for people."""
        known = self._status.get(uuid)
        self._status[uuid] = status
        if (
            known is None
            or known.observed != status.observed
            or _now() - self._told.get(uuid, 0.0) >= _PROGRESS_SECONDS
        ):
            self._told[uuid] = _now()
            self.on_report([uuid])

    # ---- what Docker shows -------------------------------------------------------------------------------------------

    def _changed(self, before: Container | None, after: Container | None) -> None:
        shown = after or before
        if shown is None:
            return
        ended = after is not None and after.ended and before is not None and before.running
        if ended and shown.uuid and shown.uuid not in self._busy:
            self._crashed(shown)
        if after is not None and after.running:
            if before is None or not before.running or before.started != after.started:
                first_sight = before is None and shown.uuid not in self._busy
                self._running_since[after.id] = float("-inf") if first_sight else _now()
        elif after is None:
            self._running_since.pop(shown.id, None)
        requested = [
            uuid for uuid, wish in self.book.assignments.items() if wish.native and wish.external_id == shown.id
        ]
        self.on_report(requested or [shown.uuid or f"docker:{shown.id}"])
        if any(mount.get("Type") == "volume" for mount in shown.engine.get("Mounts") or ()):
            self.volumes.wake()
        if self._network is not None:
            self._network.changed()
        if self._balancers is not None:
            self._balancers.changed()
        self._wake.set()

    def _crashed(self, container: Container) -> None:
        now = _now()
        ran = now - self._running_since.pop(container.id, now)
        self._backoffs[container.uuid] = plan.crashed(self._backoffs.get(container.uuid), now, ran)

    def _docker_changed(self) -> None:
        self.on_docker()
        self.volumes.wake()
        if self._network is not None:
            self._network.docker_changed()
        self._wake.set()

    async def _saver(self) -> None:
        while True:
            await self._save.wait()
            await asyncio.sleep(_SAVE_DELAY)
            self._save.clear()
            try:
                await self.book.save_soon()
            except OSError:
                log.exception("The assignments cannot be written down; the agent goes on without")


def _now() -> float:
    return asyncio.get_running_loop().time()

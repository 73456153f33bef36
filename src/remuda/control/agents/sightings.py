"""Store what observers saw. A session may speak only for its own host, and only of containers of its environment.

Results wait in :class:`Sightings` and are written in one unit of work together with whatever else waits; what says the same
as the row already does is not written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from remuda.control.reconcile.snapshot import by_ids
from remuda.core.health import FAILING, PASSING
from remuda.core.model import HealthObservation, Host, Instance
from remuda.core.wire import Health, HealthResult
from remuda.ports.store import ALIVE, Tx, Where, eq


class Sighting(NamedTuple):
    """What one session said and is not stored yet. ``complete`` = its host observes nothing else."""

    token: str
    results: Mapping[str, HealthResult]
    complete: bool = False

    def then(self, later: Sighting) -> Sighting:
        """Both together; what another session said before counts no more."""
        if later.complete or later.token != self.token:
            return later
        return Sighting(self.token, {**self.results, **later.results}, self.complete)


class Sightings:
    """By host, what waits to be stored."""

    def __init__(self) -> None:
        self._waiting: dict[int, Sighting] = {}

    def take(self, host_id: int, token: str, message: Health) -> None:
        """A session said something."""
        fresh = Sighting(token, {result.uuid: result for result in message.results}, message.complete)
        known = self._waiting.get(host_id)
        self._waiting[host_id] = known.then(fresh) if known else fresh

    def drain(self) -> dict[int, Sighting]:
        """Everything that waits, which waits no more."""
        waiting, self._waiting = self._waiting, {}
        return waiting

    def put_back(self, failed: Mapping[int, Sighting]) -> None:
        """It could not be stored; what was said meanwhile is newer."""
        for host_id, sighting in failed.items():
            later = self._waiting.get(host_id)
            self._waiting[host_id] = sighting.then(later) if later else sighting


def store(tx: Tx, host_id: int, sighting: Sighting) -> None:
    """Write results of one host; those of a session that is not valid any more are dropped."""
    host = tx.get(Host, host_id)
    if host is None or host.session_id != sighting.token:
        return
    if sighting.complete:
        _drop_others(tx, host_id, sighting.results)
    _store(tx, host, sighting.results.values())


def _drop_others(tx: Tx, host_id: int, kept: Mapping[str, HealthResult]) -> None:
    """What the host saw in an earlier life of its agent, and does not say any more, is no knowledge."""
    rows = tx.find(HealthObservation, eq("host_id", host_id))
    uuids = {i.id: i.uuid for i in by_ids(tx, Instance, [row.instance_id for row in rows])}
    for row in rows:
        if uuids.get(row.instance_id) not in kept:
            tx.delete(row)


def _store(tx: Tx, host: Host, results: Iterable[HealthResult]) -> None:
    latest: Mapping[str, HealthResult] = {result.uuid: result for result in results}
    uuids = list(latest)
    for start in range(0, len(uuids), 500):
        part = uuids[start : start + 500]
        rows = tx.find(Instance, Where("uuid", "in", part), eq("account_id", host.account_id), ALIVE)
        known = {
            row.instance_id: row
            for row in tx.find(
                HealthObservation, eq("host_id", host.id), Where("instance_id", "in", [i.id for i in rows])
            )
        }
        for instance in rows:
            _store_one(tx, instance, host.id, latest[instance.uuid], known.get(instance.id))


def _store_one(tx: Tx, instance: Instance, host_id: int, result: HealthResult, known: HealthObservation | None) -> None:
    values: dict[str, Any] = {
        "start": result.start,
        "seen": PASSING if result.passing else FAILING,
        "message": result.message[:500],
        "latency": result.latency,
    }
    if known is None:
        tx.insert(
            HealthObservation(
                account_id=instance.account_id,
                instance_id=instance.id,
                host_id=host_id,
                kind="healthObservation",
                since=tx.now(),
                **values,
            )
        )
    elif _material(known, values):
        if (known.start, known.seen) != (values["start"], values["seen"]):
            values["since"] = tx.now()
        tx.update(known, **values)


def _material(known: HealthObservation, values: Mapping[str, Any]) -> bool:
    """Is there news, the small ups and downs of a latency apart?"""
    if any(getattr(known, name) != values[name] for name in ("start", "seen", "message")):
        return True
    low, high = sorted((known.latency, int(values["latency"])))
    return high > max(2 * low, low + 50)

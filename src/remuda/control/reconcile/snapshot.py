"""Read from the store what the planners want to know. Only reads; one function per question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar, cast

from remuda.core.model import Change, Host, Instance, Record
from remuda.core.placement.values import Tenant, tenant
from remuda.ports.store import ALIVE, Tx, Where, eq

R = TypeVar("R", bound=Record)


def hosts_of(tx: Tx, account_id: int) -> list[Host]:
    """The hosts of an environment."""
    return tx.find(Host, eq("account_id", account_id), ALIVE)


def occupancy(tx: Tx, account_id: int) -> dict[int, list[Tenant]]:
    """What lives on each host of an environment."""
    tenants: dict[int, list[Tenant]] = {}
    for instance in tx.find(Instance, eq("account_id", account_id), ALIVE, Where("host_id", "notnull")):
        if instance.host_id is not None:
            tenants.setdefault(instance.host_id, []).append(tenant(instance))
    return tenants


def by_ids(tx: Tx, kind: type[R], ids: Iterable[int]) -> list[R]:
    """The records with these ids (removed ones too), in portions that every database takes."""
    wanted: Sequence[int] = sorted(set(ids))
    found: list[R] = []
    for start in range(0, len(wanted), 500):
        found += tx.find(kind, Where("id", "in", wanted[start : start + 500]))
    return found


class News:
    """What changed, with the records as they are now: each table is read once, however many controllers ask."""

    def __init__(self, tx: Tx, changes: Sequence[Change]) -> None:
        self.tx = tx
        self._ids: dict[str, set[int]] = {}
        self._records: dict[str, Sequence[Record]] = {}
        for change in changes:
            self._ids.setdefault(change.kind, set()).add(change.record_id)

    def records(self, kind: type[R]) -> Sequence[R]:
        """The changed records of this kind, removed ones too."""
        if kind.TABLE not in self._records:
            self._records[kind.TABLE] = by_ids(self.tx, kind, self._ids.get(kind.TABLE, ()))
        return cast(Sequence[R], self._records[kind.TABLE])


class HostWatch:
    """Tells hosts that changed in a way that matters to others from those that only counted on.

    Assignment numbers and figures move all the time; placement cares for none of them.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[object, ...]] = {}
        self._solid: dict[int, tuple[object, ...]] = {}

    def changed(self, news: News) -> list[Host]:
        """Those of the changed hosts in which something that matters is new."""
        found = []
        for host in news.records(Host):
            marks = (host.connection, host.session_server, host.network, *_solid(host))
            if self._seen.get(host.id) != marks:
                self._seen[host.id] = marks
                found.append(host)
        return found

    def is_new(self, host: Host) -> bool:
        """Is it, among those, different for what is already there? A session that moved from server to server is not."""
        if host.connection == "reconnecting":
            return False
        marks = (host.connection, *_solid(host))
        if self._solid.get(host.id) == marks:
            return False
        self._solid[host.id] = marks
        return True


def _solid(host: Host) -> tuple[object, ...]:
    labels = (tuple(sorted(host.labels.items())), tuple(sorted(host.observed_labels.items())))
    return (host.desired, host.docker, host.removed, *labels)

"""Volumes, the templates of stacks, and the pools that they lie in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.api.resources.views import Views
from remuda.compose import VolumeSpec
from remuda.control.agents.assignments import Assigner
from remuda.control.volumes import named, order, users_in
from remuda.core import ids
from remuda.core.model import ACTIVE, REMOVED, Account, Host, Instance, Mount, Record, Stack, Volume, VolumeTemplate
from remuda.core.volumes import NAME
from remuda.ports.store import ALIVE, Tx, Where, eq
from remuda.schema.catalogue.storage import ACCESS
from remuda.schema.registry import TYPES

SHOWN_USERS = 4


class Volumes(Behaviour):
    """Made on the host that is asked for, else where a container first uses it. Removed with its data, and never in use."""

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        owner = self.owner(tx, ctx)
        home = tx.hold(Account, owner)  # two of one name at once: the second finds the first
        if home is None or home.removed is not None:
            raise ApiError(422, "InvalidState", "The environment was removed.")
        name = str(values["name"])
        _sound_name(name)
        _unique(tx, owner, name)
        volume = Volume(**{**self.fill(tx, ctx, values), "kind": "volume", "external_id": name, "declared": True})
        if volume.host_id is None:
            return tx.insert(volume)
        if not volume.local:
            raise ApiError(
                422, "InvalidOption", f"'hostId' is for local volumes: all hosts with the driver {volume.driver} reach this one.",
                field="hostId",
            )  # fmt: skip
        assigner = Assigner(tx)
        seq = assigner.next_seq(volume.host_id)
        made = tx.insert(Volume(**{**_plain(volume), "requested_host_id": volume.host_id, "assign_seq": seq}))
        assigner.close()
        return made

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        users = users_in(tx, record)
        if users:
            raise ApiError(
                422, "InvalidState",
                f"The volume {record.name} is in use by {_names(users)}. Remove {_them(users)} first: a container "
                "keeps its volumes while it is stopped, too.",
            )  # fmt: skip
        assigner = Assigner(tx)
        changed = order(tx, record, REMOVED, assigner.next_seq)
        assigner.close()
        return changed

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        mounts = tx.find(Mount, Where("volume_id", "in", [r.id for r in records]), ALIVE)
        wanted = sorted({m.instance_id for m in mounts})
        names = {i.id: i.name for i in tx.find(Instance, Where("id", "in", wanted))} if wanted else {}
        by_volume: dict[int, list[Mount]] = {}
        for mount in mounts:
            by_volume.setdefault(mount.volume_id, []).append(mount)
        return {
            r.id: {
                "accessMode": ACCESS[0] if r.local else ACCESS[1],
                "isHostPath": False,
                "uri": f"local://{r.mountpoint or '/' + r.external_id}" if r.local else f"{r.driver}://{r.external_id}",
                "mounts": [_entry(m, r, names.get(m.instance_id, "")) for m in by_volume.get(r.id, ())],
            }
            for r in records
        }


def _plain(volume: Volume) -> Values:
    return {name: getattr(volume, name) for name in volume.__struct_fields__}


def _sound_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ApiError(
            422, "InvalidCharacters",
            "'name' must be what Docker takes for a volume: letters, digits, '_', '.' and '-', and begin with a letter or digit.",
            field="name",
        )  # fmt: skip


def _unique(tx: Tx, account_id: int, name: str) -> None:
    there = next(iter(named(tx, account_id, [name])), None)
    if there is None:
        return
    if there.desired == REMOVED:
        why = f"The volume '{name}' is still being removed. Wait until it is gone"
    else:
        host = tx.get(Host, there.host_id) if there.host_id is not None else None
        where = f" on host {host.name or host.hostname}" if host is not None else ""
        why = f"There already is a volume '{name}'{where} in this environment"
    raise ApiError(422, "NotUnique", f"{why}.", field="name")


def _names(users: Sequence[Instance]) -> str:
    shown = ", ".join(i.name or f"1i{i.id}" for i in users[:SHOWN_USERS])
    return shown if len(users) <= SHOWN_USERS else f"{shown} and {len(users) - SHOWN_USERS} more"


def _them(users: Sequence[Instance]) -> str:
    return "it" if len(users) == 1 else "them"


def _entry(mount: Mount, volume: Volume, name: str) -> Values:
    return {
        "type": "mountEntry",
        "instanceId": ids.public("instance", mount.instance_id),
        "instanceName": name,
        "path": mount.path,
        "volumeId": ids.public("volume", volume.id),
        "volumeName": volume.name,
    }


class VolumeTemplates(Behaviour):
    """The volumes that a stack declares. Removing one leaves the volumes that were made from it."""

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        stack = tx.hold(Stack, values["environmentId"])
        if stack is None or stack.removed is not None or stack.desired == REMOVED:
            raise ApiError(422, "InvalidState", "The stack is being removed.", field="environmentId")
        name = str(values["name"])
        if tx.first(VolumeTemplate, eq("stack_id", stack.id), eq("name", name), ALIVE) is not None:
            raise ApiError(
                422, "NotUnique", f"The stack {stack.name} already declares a volume '{name}'.", field="name"
            )
        engine = _engine(tx, stack, name, external=bool(values.get("external")))
        filled = {**self.fill(tx, ctx, values), "account_id": stack.account_id, "external_id": engine}
        return tx.insert(VolumeTemplate(**filled))

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        changes = self.attributes(values)
        stack = tx.get(Stack, record.stack_id)
        if stack is not None and changes.get("external", record.external) != record.external:
            changes["external_id"] = _engine(tx, stack, record.name, external=changes["external"])
        return tx.update(record, **changes)  # type: ignore[no-any-return]


def _engine(tx: Tx, stack: Stack, name: str, *, external: bool) -> str:
    """What the engine is to call the volume that a stack calls ``name``."""
    engine = name if external else f"{stack.name}_{name}"
    _sound_name(engine)
    if external:
        present(tx, stack.account_id, [name], "name")
    return engine


def declare(tx: Tx, stack: Stack, volumes: Sequence[VolumeSpec]) -> None:
    """Make the templates of a stack what its files say; those that they do not name are left alone."""
    there = {t.name: t for t in tx.find(VolumeTemplate, eq("stack_id", stack.id), ALIVE)}
    present(tx, stack.account_id, [v.docker_name for v in volumes if v.external], "dockerCompose")
    for spec in volumes:
        wanted: Values = {
            "driver": spec.driver, "driver_opts": spec.driver_opts, "external": spec.external,
            "per_container": spec.per_container, "external_id": spec.docker_name,
        }  # fmt: skip
        if spec.name in there:
            tx.update(there[spec.name], **wanted)
        else:
            tx.insert(
                VolumeTemplate(
                    account_id=stack.account_id, stack_id=stack.id, kind="volumeTemplate", name=spec.name, **wanted
                )
            )


def declared(tx: Tx, stack: Stack) -> list[VolumeSpec]:
    """The templates of a stack as a file says them."""
    return [
        VolumeSpec(
            name=t.name, docker_name=t.external_id, driver=t.driver, driver_opts=t.driver_opts, external=t.external,
            per_container=t.per_container,
        )
        for t in tx.find(VolumeTemplate, eq("stack_id", stack.id), ALIVE)
    ]  # fmt: skip


def present(tx: Tx, account_id: int, names: Iterable[str], field: str) -> None:
    """Refuse external volumes that are not there: an empty one in their place would look like lost data."""
    wanted = list(names)
    known = {v.external_id for v in named(tx, account_id, wanted) if v.desired == ACTIVE}
    for name in wanted:
        if name not in known:
            raise ApiError(
                422, "InvalidReference",
                f"There is no volume '{name}' in this environment, and it is declared as external. Make it first.", field=field,
            )  # fmt: skip


class StoragePools(Views):
    """One for each host: its own disk."""

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        by_host: dict[int, list[str | None]] = {r.id: [] for r in records}
        for volume in tx.find(Volume, Where("host_id", "in", list(by_host)), ALIVE):
            if volume.local:
                by_host[volume.host_id or 0].append(ids.public("volume", volume.id))
        return {r.id: _pool(r, by_host[r.id]) for r in records}


def _pool(host: Host, volumes: list[str | None]) -> Values:
    return {
        "uuid": f"{host.uuid}-pool",
        "name": f"{host.name or host.hostname} storage",
        "kind": "docker",
        "externalId": None,
        "driverName": "local",
        "volumeAccessMode": ACCESS[0],
        "volumeCapabilities": [],
        "storageDriverId": driver_id("local"),
        "hostIds": [ids.public("host", host.id)],
        "volumeIds": volumes,
    }


# ---- what has no rows ------------------------------------------------------------------------------------------------


def driver_id(name: str) -> str:
    """The same for one name everywhere and always."""
    return f"1sd{1 if name == 'local' else crc32(name.encode())}"


def drivers(tx: Tx, ctx: Context) -> list[Values]:
    """The drivers that volumes of the caller's environments use; ``local`` is on every host."""
    volumes = tx.find(Volume, *ctx.api.behaviour(TYPES["volume"]).scope(ctx), ALIVE)
    return [_driver(ctx, name) for name in sorted({"local", *(v.driver or "local" for v in volumes)})]


def _driver(ctx: Context, name: str) -> Values:
    own = driver_id(name)
    return {
        "id": own, "type": "storageDriver", "baseType": "storageDriver", "links": {"self": ctx.url("storagedrivers", own)},
        "actions": {}, "name": name, "kind": "storageDriver", "state": "active",
        "scope": "local" if name == "local" else "environment",
        "volumeAccessMode": ACCESS[0] if name == "local" else ACCESS[1], "volumeCapabilities": [], "blockDevicePath": None,
        "serviceId": None, "transitioning": "no", "transitioningMessage": "", "transitioningProgress": None, "removed": None,
    }  # fmt: skip

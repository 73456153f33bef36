"""Containers: start, stop, restart, remove, exec, logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.api.streams import access
from remuda.control.agents.assignments import change_instance
from remuda.core import ids
from remuda.core.model import REMOVED, RUNNING, STOPPED, Host, Instance, Record
from remuda.core.spec import LaunchConfig
from remuda.ports.store import Tx, Where

_SPEC = {f.encode_name: f.name for f in msgspec.structs.fields(LaunchConfig)}
_OWN = {"name", "description", "requestedHostId"}


class Containers(Behaviour):
    """Containers of services, stand-alone ones, and those started by hand."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.actions |= {"start": self.start, "stop": self.stop, "restart": self.restart}
        self.served = {
            "execute": self.execute,
            "logs": self.logs,
            "containerstats": self.stats,
            "stats": self.stats,
        }

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        if not values.get("imageUuid"):
            raise ApiError(422, "MissingRequired", "'imageUuid' is required, e.g. docker:nginx.", field="imageUuid")
        wishes = {k: v for k, v in values.items() if k in _SPEC and k not in _OWN and v is not None}
        try:
            spec = msgspec.convert(msgspec.to_builtins(wishes), LaunchConfig, strict=False)
        except msgspec.ValidationError as problem:
            raise ApiError(
                422, "InvalidFormat", f"{problem}", field=str(problem).partition("`$.")[2].rstrip("`")
            ) from None
        return tx.insert(
            Instance(
                account_id=self.owner(tx, ctx),
                kind="container",
                name=values.get("name") or "",
                description=values.get("description") or "",
                spec=spec,
                requested_host_id=values.get("requestedHostId"),
                desired=RUNNING if spec.start_on_create else STOPPED,
            )
        )

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        # containers are immutable; their name on the host stays what it was made with
        return tx.update(record, **{k: v or "" for k, v in values.items() if k in ("name", "description")})  # type: ignore[no-any-return]

    def start(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Want it running."""
        return change_instance(tx, record, desired=RUNNING)

    def stop(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Want it stopped (or gone, with ``remove``)."""
        return change_instance(tx, record, desired=REMOVED if values.get("remove") else STOPPED)

    def restart(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Ask its host for a restart."""
        return change_instance(tx, record, restart_token=record.restart_token + 1)

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return change_instance(tx, record, desired=REMOVED)

    async def execute(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """Where to run the command."""
        host, container = _place(record)
        args = {
            "container": container,
            "command": values["command"],
            "tty": bool(values.get("tty")),
            "stdin": bool(values.get("attachStdin", True)),
        }
        await ctx.api.note(ctx, "api.container.execute", self.kind, record, {"command": values["command"]})
        return access(ctx, "exec", host, args)

    async def logs(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """Where to read its output."""
        host, container = _place(record)
        since = str(values.get("since") or "0")
        args = {
            "container": container,
            "follow": bool(values.get("follow", True)),
            "lines": int(values.get("lines") or 100),
            "timestamps": bool(values.get("timestamps", True)),
            "since": int(since) if since.isdigit() else 0,
            "tty": record.spec.tty,
        }
        return access(ctx, "logs", host, args)

    async def stats(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """Where to read its numbers live."""
        host, container = _place(record)
        args = {"containers": {container: ids.public("instance", record.id)}}
        return access(ctx, "containerstats", host, args, kind="statsAccess")

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        wanted = sorted({r.host_id for r in records if r.host_id})
        hosts = {h.id: h for h in tx.find(Host, Where("id", "in", wanted))} if wanted else {}
        return {
            r.id: {"transitioningProgress": r.progress, "publicEndpoints": endpoints(r, hosts.get(r.host_id))}
            for r in records
        }


def _place(record: Instance) -> tuple[int, str]:
    if record.host_id is None or not record.external_id:
        raise ApiError(
            422, "InvalidState", f"It is not on a host yet: {record.because or record.transitioning_message}"
        )
    return record.host_id, record.external_id


def endpoints(instance: Instance, host: Host | None) -> list[dict[str, Any]]:
    """Where a container's published ports can be reached."""
    if host is None or instance.observed != "running":
        return []
    return [
        {
            "type": "publicEndpoint",
            "ipAddress": port.bind if port.bind not in ("", "0.0.0.0", "::") else host.agent_ip,  # noqa: S104
            "port": port.public,
            "protocol": port.protocol,
            "privatePort": port.private,
            "hostId": ids.public("host", host.id),
            "instanceId": ids.public("instance", instance.id),
            "serviceId": ids.public("service", instance.service_id),
        }
        for port in instance.bound
        if port.public
    ]

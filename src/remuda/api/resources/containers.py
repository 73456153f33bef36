"""Containers: start, stop, restart, remove, exec, logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from remuda.api.access import access, console
from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.control.agents.assignments import change_instance
from remuda.control.network import network_of
from remuda.core import ids, tickets
from remuda.core.inspected import launch_config
from remuda.core.model import REMOVED, RUNNING, STOPPED, Host, Instance, Record
from remuda.core.network.addressing import choices_of, never
from remuda.core.spec import LaunchConfig, LogConfig
from remuda.ports.store import Tx, Where
from remuda.schema.fields import ANONYMOUS
from remuda.schema.registry import TYPES

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
            "console": self.console,
            "proxy": self.proxy,
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
        owner = self.owner(tx, ctx)
        sentence = never(spec, network_of(tx, owner).subnet) if choices_of(spec) else ""
        if sentence:
            raise ApiError(422, "InvalidFormat", f"'requestedIpAddress': {sentence}.", field="requestedIpAddress")
        return tx.insert(
            Instance(
                account_id=owner,
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
        claims = tickets.execution(
            container,
            values["command"],
            tty=bool(values.get("tty")),
            stdin=bool(values.get("attachStdin", True)),
            stdout=bool(values.get("attachStdout", True)),
        )
        await ctx.api.note(ctx, "api.container.execute", self.kind, record, {"command": values["command"]})
        return await access(ctx, tickets.EXEC, host, claims)

    async def logs(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """Where to read its output."""
        host, container = _place(record)
        claims = tickets.logs(
            container,
            record.spec,
            lines=int(values.get("lines") or 100),
            follow=bool(values.get("follow", True)),
            timestamps=bool(values.get("timestamps", True)),
            since=str(values.get("since") or "0"),
        )
        return await access(ctx, tickets.LOGS, host, claims)

    async def stats(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """Where to read its numbers live."""
        host, container = _place(record)
        claims = tickets.stats(None, {container: ids.public("instance", record.id) or ""})
        return await access(ctx, tickets.CONTAINER_STATS, host, claims, kind="statsAccess")

    async def console(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """Where its own terminal is."""
        host, container = _place(record)
        await ctx.api.note(ctx, "api.container.console", self.kind, record, {})
        return await console(ctx, host, container)

    async def proxy(self, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """Where to look at what a port of it serves."""
        host, container = _place(record)
        port = int(values.get("port") or 80)
        if not 0 < port < 65536:
            raise ApiError(422, "MaxLimitExceeded", "'port' is a number from 1 to 65535.", field="port")
        claims = tickets.proxy(container, values.get("scheme") or "http", port)
        await ctx.api.note(ctx, "api.container.proxy", self.kind, record, {"port": port})
        return await access(ctx, tickets.PROXY, host, claims)

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        wanted = sorted({r.host_id for r in records if r.host_id})
        hosts = {h.id: h for h in tx.find(Host, Where("id", "in", wanted))} if wanted else {}
        return {
            r.id: {"transitioningProgress": r.progress, "publicEndpoints": endpoints(r, hosts.get(r.host_id))}
            for r in records
        }


def transformed(ctx: Context, document: Values) -> Values:
    """A container as ``docker inspect`` shows it, as the container that a client would have to create here.

    Every field of a launch configuration is there, lists and maps at least empty: programs in strict languages read it.
    """
    kind = TYPES["container"]
    if ctx.caller.role == ANONYMOUS:
        raise ApiError(401, "Unauthorized", "Log in, or send an API key.")
    try:
        spec = launch_config(document)
        told = msgspec.convert(msgspec.to_builtins(spec), LaunchConfig)
    except (ValueError, TypeError, AttributeError) as problem:
        raise ApiError(
            400, "InvalidBodyContent", f"It is no container as docker inspect shows it: {problem}."
        ) from None
    shown = {field: getattr(told, attribute) for field, attribute in _SPEC.items()}
    shown["logConfig"] = told.log_config or LogConfig()
    return {"type": kind.id, "kind": "container", "links": {}, "actions": {}, **msgspec.to_builtins(shown)}


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
        for port in (instance.published if instance.managed_ip else instance.bound)
        if port.public
    ]

"""What programs outside tell, and what follows from it, in one transaction: told and not done cannot happen.

An agent speaks for its own environment, and of health for its own host only. What it tells is kept without secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.responses import Response

from remuda.api import render
from remuda.api.audit import masked
from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.control.agents.assignments import Assigner, note
from remuda.core.health import FAILING, PASSING
from remuda.core.model import (
    INACTIVE,
    REMOVED,
    Agent,
    ExternalEvent,
    HealthObservation,
    Host,
    Instance,
    Record,
    Service,
    Stack,
)
from remuda.ports.store import ALIVE, Tx, Where, eq
from remuda.schema.fields import AGENT
from remuda.schema.registry import TYPES

_COLUMNS = {"eventType", "externalId", "hostId"}


class Told(Behaviour):
    """Events of one kind, or (``externalEvent``) of several."""

    def ownership(self, ctx: Context) -> list[Where]:
        if ctx.caller.role == AGENT:
            return [eq("reported_by", ctx.caller.account_id)]
        return super().ownership(ctx)

    def sees(self, tx: Tx, ctx: Context, record: Record) -> bool:
        if ctx.caller.role == AGENT:
            return isinstance(record, ExternalEvent) and record.reported_by == ctx.caller.account_id
        return super().sees(tx, ctx, record)

    def owner(self, tx: Tx, ctx: Context) -> int:
        return _agent(tx, ctx).account_id if ctx.caller.role == AGENT else super().owner(tx, ctx)

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        facts = {name: value for name, value in values.items() if name not in _COLUMNS}
        told = self.fill(tx, ctx, values)
        event = tx.insert(ExternalEvent(**told, reported_by=ctx.caller.account_id, facts=_fit_to_keep(facts)))
        follow = _EFFECTS.get(event.kind)
        return event if follow is None else follow(tx, ctx, event, facts)

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        shown = {f.name for f in self.kind.fields if f.computed} - {"id", "transitioningProgress"}
        return {r.id: {name: r.facts.get(name) for name in shown} for r in records}


def _fit_to_keep(facts: Values) -> Values:
    """Without secrets. Docker's description of a container holds its environment and arguments: who needs them asks the host."""
    kept = masked(facts)
    inspected = facts.get("dockerInspect")
    if isinstance(inspected, dict):
        config = inspected.get("Config")
        fit = {k: v for k, v in config.items() if k in _TELLING} if isinstance(config, dict) else {}
        kept["dockerInspect"] = masked({**inspected, "Config": fit, "Args": None})
    return kept


_TELLING = {"Hostname", "Image", "Labels", "ExposedPorts", "Volumes", "WorkingDir", "User", "Tty"}


def _agent(tx: Tx, ctx: Context) -> Agent:
    agent = tx.first(Agent, eq("key_account_id", ctx.caller.account_id), ALIVE)
    if agent is None:
        raise ApiError(403, "Forbidden", "The agent that this key was made for is gone.")
    return agent


def _missing(field: str, sentence: str) -> ApiError:
    return ApiError(422, "InvalidReference", sentence, field=field)


def _dns(tx: Tx, ctx: Context, event: ExternalEvent, facts: Values) -> ExternalEvent:
    """The service's name in a public zone."""
    stack_name, service_name = facts["stackName"], facts["serviceName"]
    stack = tx.first(Stack, eq("account_id", event.account_id), eq("name", stack_name), ALIVE)
    if stack is None:
        raise _missing("stackName", f"There is no stack '{stack_name}' in this environment.")
    service = tx.first(Service, eq("stack_id", stack.id), eq("name", service_name), ALIVE)
    if service is None:
        raise _missing("serviceName", f"There is no service '{service_name}' in the stack '{stack_name}'.")
    tx.update(service, fqdn=facts.get("fqdn") or "")
    return event


def _host(tx: Tx, ctx: Context, event: ExternalEvent, facts: Values) -> ExternalEvent:
    """Hosts that are to be left: no new containers, those of services move; or they are removed."""
    for host in _hosts_meant(tx, event, facts.get("hostLabel")):
        if facts.get("deleteHost"):
            note(tx, host, f"Removed, as an event '{event.event_type}' asked")
            tx.update(host, desired=REMOVED)
            continue
        note(tx, host, f"Left by its services' containers, as an event '{event.event_type}' asked")
        tx.update(host, desired=INACTIVE)
        assigner = Assigner(tx)
        for instance in tx.find(Instance, eq("host_id", host.id), Where("service_id", "notnull"), ALIVE):
            if instance.desired != REMOVED and not instance.native:
                assigner.change(instance, desired=REMOVED, because=f"The services of {host.name} move elsewhere")
        assigner.close()
    return event


def _hosts_meant(tx: Tx, event: ExternalEvent, label: str | None) -> list[Host]:
    if event.host_id is not None:
        host = tx.get(Host, event.host_id)
        found = [host] if host is not None and host.account_id == event.account_id else []
    elif label:
        key, _, value = label.partition("=")
        there = tx.find(Host, eq("account_id", event.account_id), ALIVE)
        found = [host for host in there if host.all_labels.get(key.strip()) == value.strip()]
    else:
        raise ApiError(
            422, "MissingRequired", "Say which hosts: 'hostId', or 'hostLabel' as key=value.", field="hostId"
        )
    alive = [host for host in found if host.removed is None and host.desired != REMOVED]
    if not alive:
        raise _missing("hostId" if event.host_id else "hostLabel", "There is no such host in this environment.")
    return alive


def _health(tx: Tx, ctx: Context, event: ExternalEvent, facts: Values) -> ExternalEvent:
    """What the agent's host sees of a container: the health controller judges by it."""
    agent = _agent(tx, ctx)
    seen = tx.first(HealthObservation, eq("uuid", str(facts.get("healthcheckUuid") or "")))
    if seen is None or agent.host_id is None or seen.host_id != agent.host_id:
        raise _missing("healthcheckUuid", "There is no such check by the host that this agent speaks for.")
    changed = tx.update(event, host_id=seen.host_id, instance_id=seen.instance_id)
    word = _judged(str(facts.get("reportedHealth") or ""))
    moment = int(facts["externalTimestamp"])
    if word is None or moment < seen.data.get("told", 0):
        return changed  # no verdict yet, or news from before the last news
    since = {} if word == seen.seen else {"since": tx.now()}
    message = "" if word == PASSING else str(facts["reportedHealth"])[:500]
    tx.update(seen, seen=word, message=message, data={**seen.data, "told": moment}, **since)
    return changed


def _judged(word: str) -> str | None:
    """haproxy's words for a server: UP (and on its way down), DOWN (and on its way up), INIT and others."""
    first = word.strip().upper().split(" ")[0]
    return {"UP": PASSING, "DOWN": FAILING}.get(first)


def _container(tx: Tx, ctx: Context, event: ExternalEvent, facts: Values) -> ExternalEvent:
    host = tx.first(Host, eq("uuid", str(facts.get("reportedHostUuid") or "")), eq("account_id", event.account_id))
    return tx.update(event, host_id=host.id) if host is not None else event


_EFFECTS: dict[str, Callable[[Tx, Context, ExternalEvent, Values], ExternalEvent]] = {
    "externalDnsEvent": _dns,
    "externalHostEvent": _host,
    "serviceEvent": _health,
    "containerEvent": _container,
}
"""What follows from an event, by kind. From others nothing does."""
EVENTS = (
    "externalEvent",
    "externalDnsEvent",
    "externalHostEvent",
    "externalServiceEvent",
    "externalStoragePoolEvent",
    "externalVolumeEvent",
    "containerEvent",
    "serviceEvent",
)


async def proxy_token(ctx: Context, method: str, rest: list[str], body: dict[str, Any]) -> Response:
    """Agents of 1.x asked for a way back to them. Ours have one already, so this one is refused as it was when switched off."""
    if method == "GET" and not rest and ctx.can(TYPES["hostApiProxyToken"], "l"):
        return ctx.api.json(ctx, render.collection(ctx, "hostApiProxyToken", "hostapiproxytokens", []))
    if ctx.caller.role != AGENT or method == "GET":
        raise ApiError(403, "Forbidden", "Only agents ask for this.")
    uuid = str(body.get("reportedUuid") or "")

    def known(tx: Tx) -> bool:
        account = _agent(tx, ctx).account_id
        return tx.first(Host, eq("uuid", uuid), eq("account_id", account), ALIVE) is not None

    if not await ctx.api.read(known):
        raise _missing("reportedUuid", "There is no host of this uuid yet.")
    raise ApiError(501, "HostApiProxyDisabled", "Streams go through the agent's own session here.")

"""Units of work for the beginning and the end of an agent's session, and for what it says of its machine.

Only functions of a transaction; who may speak for an agent was settled before (its API key).
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, NamedTuple

from remuda.control.addresses import Addresses
from remuda.control.agents.assignments import note
from remuda.core import labels
from remuda.core.hosts import CLOSED
from remuda.core.model import REMOVED, Agent, Host
from remuda.core.simulated import KIND, is_simulated
from remuda.core.wire import Hello, HostFacts
from remuda.ports.store import Conflict, Tx, eq

VOLATILE = {"cpuCoresPercentages", "loadAvg", "memFree", "memAvailable", "active", "inactive", "buffers", "cached",
            "swapCached", "swapFree", "used", "free", "percentage", "iopsInfo"}  # fmt: skip
"""Figures that move all the time and are not worth a write."""

REMOVED_FIX = (
    "This host was removed. To add the machine again, remove the agent's state (/var/lib/rancher and its volume) "
    "and run the registration command anew."
)
PROTOCOL_FIX = (
    "This server speaks protocol {ours}, the agent {theirs}: run the agent image that belongs to this server."
)
CLONE_FIX = (
    "This machine shows the registration of another machine ({name}): it is a clone, or its hardware was replaced. On the "
    "machine that is to be new, remove the agent's state (/var/lib/rancher and its volume) and run the registration command "
    "there; if {name} no longer exists, remove that host first."
)


class Refusal(Exception):  # noqa: N818 - an answer
    """The session does not stand; ``final``: it never will with this identity."""

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.final = final


class Enrolled(NamedTuple):
    """The host that a session now stands for."""

    host: Host
    new: bool


def begin(tx: Tx, agent_id: int, hello: Hello, *, token: str, server_id: str, members: Container[str]) -> Enrolled:
    """Find or create the agent's host and take its session over. Raises :class:`Refusal`."""
    agent = tx.get(Agent, agent_id)
    if agent is None or agent.removed is not None or agent.desired == REMOVED:
        raise Refusal(REMOVED_FIX, final=True)
    if agent.host_id is None:
        return Enrolled(_create(tx, agent, hello, token, server_id), True)
    host = tx.get(Host, agent.host_id)
    if host is None or host.removed is not None or (host.desired == REMOVED and not host.session_id):
        raise Refusal(REMOVED_FIX, final=True)
    known = str(host.data.get("machine", ""))
    if known and hello.machine and known != hello.machine:
        alive = bool(host.session_id) and host.session_server in members
        note(tx, host, f"Another machine showed this host's registration{' while it is connected' if alive else ''} and was "
             "refused", level="error")  # fmt: skip
        raise _Recorded(CLONE_FIX.format(name=host.name), final=True)
    changes = described(host, hello.facts)
    data = {
        **host.data,
        **changes.pop("data", {}),
        "machine": hello.machine or known,
        "boot": hello.boot,
        "session_end": "",
    }
    changes |= Addresses(tx, host.account_id).of_host(host)
    changed = tx.update(
        host, **changes, agent_version=hello.agent_version, session_id=token, session_server=server_id,
        connection="connected", data=data,
    )  # fmt: skip
    if host.connection != "connected":
        note(tx, host, "The agent is connected")
    return Enrolled(changed, False)


class _Recorded(Refusal):
    """A refusal whose note in the host's history is to be kept."""


def begin_or_refuse(
    tx: Tx, agent_id: int, hello: Hello, *, token: str, server_id: str, members: Container[str]
) -> Enrolled | Refusal:
    """:func:`begin`, with refusals as values: raising would take back the note in the history."""
    try:
        return begin(tx, agent_id, hello, token=token, server_id=server_id, members=members)
    except Refusal as refusal:
        return refusal


def _create(tx: Tx, agent: Agent, hello: Hello, token: str, server_id: str) -> Host:
    kind = KIND if is_simulated(agent.uri) else "docker"
    fresh = Host(account_id=agent.account_id, agent_id=agent.id, name=hello.facts.hostname, kind=kind)
    host = tx.insert(fresh)
    host = tx.update(
        host, **{**described(host, hello.facts), **Addresses(tx, host.account_id).of_host(host),
        "agent_version": hello.agent_version, "session_id": token, "session_server": server_id,
        "connection": "connected", "data": {"machine": hello.machine, "boot": hello.boot, "session_end": ""}},
    )  # fmt: skip
    tx.update(agent, host_id=host.id)
    note(tx, host, f"Host {host.name} was added")
    return host


def described(host: Host, facts: HostFacts) -> dict[str, Any]:
    """The fields of a host that these facts set."""
    observed = dict(facts.labels)
    if facts.docker_version:
        observed[labels.HOST_DOCKER_VERSION] = ".".join(facts.docker_version.split(".")[:2])
    if facts.kernel:
        observed[labels.HOST_KERNEL_VERSION] = ".".join(facts.kernel.split(".")[:2])
    changes: dict[str, Any] = {
        "hostname": facts.hostname or host.hostname,
        "agent_ip": facts.agent_ip or host.agent_ip,
        "observed_labels": observed,
        "docker": facts.docker,
        "docker_message": facts.docker_message,
        "network": facts.network,
        "network_message": facts.network_message,
        "link_mtu": facts.link_mtu or host.link_mtu,
    }
    keys = {"network_keys": facts.network_keys, "network_use": facts.network_use}
    if any(host.data.get(name) != value for name, value in keys.items()):
        changes["data"] = {**host.data, **keys}
    if facts.info and steady(facts.info) != steady(host.info):
        changes["info"] = facts.info
    return changes


def steady(value: Any) -> Any:
    """A document without the figures that move all the time."""
    if isinstance(value, dict):
        return {k: steady(v) for k, v in value.items() if k not in VOLATILE}
    return [steady(v) for v in value] if isinstance(value, list) else value


def finish(tx: Tx, host_id: int, token: str, kind: str, because: str, *, server_id: str = "") -> None:
    """The session ``token`` is over: say so, unless another one has taken over. ``host_id`` 0: the one that has the token."""
    host = (
        tx.get(Host, host_id) if host_id else tx.first(Host, eq("session_server", server_id), eq("session_id", token))
    )
    if host is None or host.session_id != token:
        return
    connection = "reconnecting" if host.connection == "connected" else host.connection
    data = {**host.data, "session_end": kind or CLOSED}
    tx.update(host, session_id="", session_server="", connection=connection, data=data)
    note(tx, host, because or "The agent's session ended", level="warning")


def restate(tx: Tx, host_id: int, token: str, facts: HostFacts, *, figures: bool) -> None:
    """Write what an agent says of its machine; with ``figures`` also those that move all the time."""
    host = tx.get(Host, host_id)
    if host is None or host.session_id != token:
        return
    changes = described(host, facts)
    if figures and facts.info:
        changes["info"] = facts.info
    changed = tx.update(host, **changes)
    if changed.docker != host.docker:
        text = "Docker answers again" if facts.docker == "up" else facts.docker_message or "Docker does not answer"
        note(tx, host, text, level="info" if facts.docker == "up" else "error")


__all__ = ["CLONE_FIX", "REMOVED_FIX", "Conflict", "Enrolled", "Refusal", "begin_or_refuse", "finish", "restate"]

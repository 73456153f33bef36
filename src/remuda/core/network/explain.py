"""Why a packet from one container reaches another one, or does not: everything that lies between them, in order. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from remuda.core.network.overlay import IPSEC
from remuda.core.network.policy import Policy
from remuda.core.network.relations import Relations
from remuda.core.network.scene import MANAGED, Scene, SceneContainer, SceneHost


class Step(NamedTuple):
    """One thing on the way: is it well, and what it is."""

    good: bool
    text: str


def explain(
    scene: Scene,
    source: SceneContainer,
    target: SceneContainer,
    port: int = 0,
    troubles: Mapping[int, str] | None = None,
) -> list[Step]:
    """The steps from ``source`` to ``target``; the first that is not good is the reason.

    ``port``: a port of the target that is asked for, 0 = any. ``troubles``: what is wrong with the network of hosts, by
    host id.
    """
    relations = Relations(scene)
    steps = [_running(source), _running(target)]
    for container in (source, target):
        address = relations.address_of(container)
        managed = container.network == MANAGED
        where = "on the managed network" if managed else f"in mode {container.network}"
        steps.append(Step(bool(address), f"{container.name} is {where}, address {address or 'none'}"))
    here, there = scene.hosts.get(source.host_id or 0), scene.hosts.get(target.host_id or 0)
    steps += [_host(source, here), _host(target, there)]
    told = troubles or {}
    for host in (here, there if there != here else None):
        if host is not None and told.get(host.id):
            steps.append(Step(False, f"the network of host {host.name} is in error: {told[host.id]}"))
    if here is not None and there is not None:
        steps.append(_way(scene, here, there))
    answer = Policy(scene, relations).verdict(source, target)
    steps.append(Step(answer.allowed, answer.because))
    if port:
        steps.append(_port(scene, target, port))
    if not target.wholesome:
        steps.append(
            Step(
                True, f"{target.name} is {target.health}: names and load balancers do not lead there, its address does"
            )
        )
    return steps


def sentence(steps: list[Step]) -> str:
    """The outcome in one sentence."""
    wrong = next((step for step in steps if not step.good), None)
    return f"It does not pass: {wrong.text}" if wrong else "Nothing stands in the way"


def _running(container: SceneContainer) -> Step:
    return Step(container.live, f"{container.name} is {container.state or 'not there'}")


def _host(container: SceneContainer, host: SceneHost | None) -> Step:
    if host is None:
        return Step(False, f"{container.name} has no host")
    if host.lost:
        return Step(False, f"host {host.name} of {container.name} is lost; bring it back, or let its containers move")
    if not host.ip:
        return Step(False, f"host {host.name} of {container.name} has no address on the network yet")
    state = "connected" if host.connected else "without a server at the moment, which its network does not need"
    return Step(True, f"host {host.name} ({host.agent_ip}) is {state}")


def _port(scene: Scene, target: SceneContainer, port: int) -> Step:
    """What is known of a port: who listens within a container is not."""
    found = next((one for one in target.ports if port in (one.public, one.private)), None)
    if found is None:
        return Step(
            True, f"{target.name} publishes no port {port}; at its own address every port is open that it listens on"
        )
    host = scene.hosts.get(target.host_id or 0)
    where = found.bind or (host.agent_ip if host is not None else "its host")
    return Step(True, f"port {found.public}/{found.protocol} of {where} leads to port {found.private} of {target.name}")


def _way(scene: Scene, here: SceneHost, there: SceneHost) -> Step:
    if here.id == there.id:
        return Step(True, f"both are on host {here.name}")
    encrypted = scene.network is None or scene.network.encryption == IPSEC
    how = "by IPsec (UDP 500 and 4500)" if encrypted else "in plain VXLAN (UDP 4789)"
    return Step(True, f"from host {here.name} to host {there.name} {how}")

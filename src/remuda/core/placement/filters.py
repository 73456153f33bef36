"""What a host must offer. Each filter can check one host, and explain what is wrong with those that failed.

A filter never ranks: liking one host better than another is the business of :mod:`remuda.core.placement.scoring`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from remuda.core.labels import SCHEDULER_IPS
from remuda.core.model import Port
from remuda.core.network.scene import is_managed
from remuda.core.placement.rules import Rule, rules_of
from remuda.core.placement.values import ANY_ADDRESS, Candidate, Request, free_at, lowered, port_addresses, public_ports
from remuda.core.simulated import IMAGE
from remuda.core.spec import LaunchConfig
from remuda.core.volumes import names_of


class Filter(Protocol):
    """One condition. ``advice`` is what to do about it, as the middle of a sentence."""

    @property
    def soft(self) -> bool: ...

    @property
    def advice(self) -> str: ...

    def check(self, host: Candidate) -> bool:
        """May it go to this host, as far as this filter is concerned?"""

    def explain(self, failed: Sequence[Candidate]) -> str:
        """What is wrong with these hosts, in a clause that starts with how many."""


def filters_for(request: Request, *, real: bool = True) -> list[Filter]:
    """The conditions of a request, those that no rule can change first.

    A requested host (the pipeline looks at no other then) overrides the affinity rules, as it always did, but never a port
    that is taken. ``real``: the environment has hosts that are not simulated.
    """
    filters: list[Filter] = [Ready(), RunsIt(request.specs, real=real)]
    names = [name for spec in request.specs for name in names_of(spec)]
    bound = {name: request.data.bound[name] for name in names if name in request.data.bound}
    if bound:
        filters.append(DataThere(bound))
    if drawn := {name: request.data.held[name] for name in names if name in request.data.held}:
        filters.append(DataNear(drawn, request))
    if request.requested_host is None:
        filters += [Affinity(rule, request.uuids) for rule in rules_of(request)]
    if any(is_managed(spec) for spec in request.specs):
        filters.append(NetworkReady())
    managed = public_ports(spec for spec in request.specs if is_managed(spec))
    engines = public_ports(spec for spec in request.specs if not is_managed(spec))
    if any(port.bind for port in managed):
        filters.append(AddressThere(managed))
    if managed or engines:
        filters.append(PortsFree(managed, engines, request.uuids))
    return filters


class Ready:
    """The host is active, its agent connected and its Docker answering."""

    soft = False
    advice = "bring the host back"

    def check(self, host: Candidate) -> bool:
        return not host.unfit

    def explain(self, failed: Sequence[Candidate]) -> str:
        reasons = Counter(host.unfit for host in failed)
        return "; ".join(
            f"{count} {_be(count)} {reason} ({_names([h for h in failed if h.unfit == reason])})"
            for reason, count in reasons.items()
        )


class DataThere:
    """The volumes that it names lie on this host: they were made here, for one host each."""

    soft = False

    def __init__(self, bound: Mapping[str, int]) -> None:
        self._bound = bound

    @property
    def advice(self) -> str:
        return f"use a volume of another name than {', '.join(sorted(self._bound))}"

    def check(self, host: Candidate) -> bool:
        return all(host_id == host.id for host_id in self._bound.values())

    def explain(self, failed: Sequence[Candidate]) -> str:
        have = "does not have" if len(failed) == 1 else "do not have"
        where = ", ".join(f"{name} (on host 1h{host_id})" for name, host_id in sorted(self._bound.items()))
        return f"{len(failed)} {have} the volume {where} ({_names(failed)})"


class DataNear:
    """A volume of this name lies here already, and no container of the same service has taken it: its data is found again."""

    soft = True
    advice = "bring back the host with its data"

    def __init__(self, held: Mapping[str, frozenset[int]], request: Request) -> None:
        self._held, self._own, self._service = held, request.uuids, request.service_id

    def check(self, host: Candidate) -> bool:
        return all(host.id in hosts for hosts in self._held.values()) and self._free(host)

    def _free(self, host: Candidate) -> bool:
        others = [t for t in host.tenants if t.uuid not in self._own]
        return self._service is None or not any(t.service_id == self._service for t in others)

    def given_up(self, hosts: Sequence[Candidate]) -> str:
        """What it means to go elsewhere; empty when all data there is has a container of the service."""
        left = [h for h in hosts if self._free(h) and all(h.id in held for held in self._held.values())]
        if not left:
            return ""
        return f"should be with its volume {', '.join(sorted(self._held))} on {_names(left)}"

    def explain(self, failed: Sequence[Candidate]) -> str:
        have = "does not have" if len(failed) == 1 else "do not have"
        return f"{len(failed)} {have} its volume {', '.join(sorted(self._held))} ({_names(failed)})"


class RunsIt:
    """An image ``sim:...`` goes to simulated hosts only, any other to none of them where there are real ones (``real``)."""

    soft = False
    advice = "add a host of the other kind"

    def __init__(self, specs: Sequence[LaunchConfig], *, real: bool) -> None:
        self._simulated = any(spec.image_uuid.startswith(IMAGE) for spec in specs)
        self._real = real

    def check(self, host: Candidate) -> bool:
        return host.simulated if self._simulated else not (host.simulated and self._real)

    def explain(self, failed: Sequence[Candidate]) -> str:
        kind = "real, and the image is a simulated one" if self._simulated else "simulated, and the image is a real one"
        return f"{len(failed)} {_be(len(failed))} {kind} ({_names(failed)})"


class NetworkReady:
    """The host can do what the environment demands of its network."""

    soft = False
    advice = "mend the network of a host"

    def check(self, host: Candidate) -> bool:
        return not host.no_network

    def explain(self, failed: Sequence[Candidate]) -> str:
        clauses = []
        for reason in dict.fromkeys(host.no_network for host in failed):
            hosts = [host for host in failed if host.no_network == reason]
            clauses.append(
                f"{len(hosts)} cannot take part in the managed network ({_names(hosts)}): {reason.rstrip('.')}"
            )
        return "; ".join(clauses)


class AddressThere:
    """A host that names its addresses for ports has those that are asked for."""

    soft = False
    advice = f"publish on another address or change the host label {SCHEDULER_IPS}"

    def __init__(self, ports: Sequence[Port]) -> None:
        self._wanted = {port.bind for port in ports if port.bind not in ANY_ADDRESS}

    def check(self, host: Candidate) -> bool:
        places = port_addresses(host.labels)
        return not places or self._wanted <= {*places}

    def explain(self, failed: Sequence[Candidate]) -> str:
        have = "does not have" if len(failed) == 1 else "do not have"
        return f"{len(failed)} {have} the address {', '.join(sorted(self._wanted))} for ports ({_names(failed)})"


class PortsFree:
    """No other container of the host publishes the same port of the same protocol on an overlapping address.

    Docker publishes the ports of containers of its own networks (``engines``) on every address unless told otherwise.
    """

    soft = False
    advice = "free a port"

    def __init__(self, managed: Sequence[Port], engines: Sequence[Port], own: frozenset[str]) -> None:
        self._managed, self._engines = tuple(managed), tuple(engines)
        self._own = own

    def check(self, host: Candidate) -> bool:
        return not self._taken(host)

    def explain(self, failed: Sequence[Candidate]) -> str:
        clauses = []
        by_ports: dict[str, list[Candidate]] = {}
        for host in failed:
            by_ports.setdefault(", ".join(self._taken(host)), []).append(host)
        for ports, hosts in by_ports.items():
            clauses.append(f"{len(hosts)} {_have(len(hosts))} port {ports} taken ({_names(hosts)})")
        return "; ".join(clauses)

    def _taken(self, host: Candidate) -> list[str]:
        used = [port for tenant in host.tenants if tenant.uuid not in self._own for port in tenant.ports]
        places = port_addresses(host.labels)
        taken = [p for p in self._managed if not free_at(p, used, places)]
        taken += [p for p in self._engines if not free_at(p, used, ())]
        return list(dict.fromkeys(f"{p.public}/{p.protocol}" for p in taken))


class Affinity:
    """One scheduling rule: about the host's labels, or about the containers on it."""

    advice = "change the scheduling rule"

    def __init__(self, rule: Rule, own: frozenset[str] = frozenset()) -> None:
        self.rule = rule
        self._own = own

    @property
    def soft(self) -> bool:
        """Soft rules are given up one by one when no host meets them."""
        return self.rule.soft

    def check(self, host: Candidate) -> bool:
        hits = [self._hit(host, key, value) for key, value in self.rule.terms]
        return not any(hits) if self.rule.negative else all(hits)

    def _hit(self, host: Candidate, key: str, value: str) -> bool:
        if self.rule.kind == "host_label":
            return lowered(host.labels).get(key) == value
        others = [tenant for tenant in host.tenants if tenant.uuid not in self._own]
        if self.rule.kind == "container":
            return any(key in (tenant.name.lower(), tenant.uuid.lower()) for tenant in others)
        return any(tenant.labels.get(key) == value for tenant in others)

    def explain(self, failed: Sequence[Candidate]) -> str:
        verb = "does" if len(failed) == 1 else "do"
        return f"{len(failed)} {verb} not meet the rule that its host {self.rule} ({_names(failed)})"


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _names(hosts: Sequence[Candidate]) -> str:
    shown = ", ".join(host.name for host in hosts[:5])
    return shown if len(hosts) <= 5 else f"{shown} and {len(hosts) - 5} more"

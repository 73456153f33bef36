"""What a host must offer. Each filter can check one host, and explain what is wrong with those that failed.

A filter never ranks: liking one host better than another is the business of :mod:`remuda.core.placement.scoring`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from remuda.core.model import Port
from remuda.core.placement.rules import Rule, rules_of
from remuda.core.placement.values import ANY_ADDRESS, Candidate, Request, lowered, public_ports


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


def filters_for(request: Request) -> list[Filter]:
    """The conditions of a request, those that no rule can change first.

    A requested host (the pipeline looks at no other then) overrides the affinity rules, as it always did, but never a port
    that is taken.
    """
    filters: list[Filter] = [Ready()]
    if request.requested_host is None:
        filters += [Affinity(rule, request.uuids) for rule in rules_of(request)]
    ports = public_ports(request.specs)
    if ports:
        filters.append(PortsFree(ports, request.uuids))
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


class PortsFree:
    """No other container of the host publishes the same port of the same protocol on an overlapping address."""

    soft = False
    advice = "free a port"

    def __init__(self, ports: Sequence[Port], own: frozenset[str]) -> None:
        self._ports = tuple(ports)
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
        return list(dict.fromkeys(f"{p.public}/{p.protocol}" for p in self._ports if any(clash(p, u) for u in used)))


def clash(one: Port, other: Port) -> bool:
    """Would both want the same socket?"""
    if one.public != other.public or one.protocol != other.protocol:
        return False
    return one.bind == other.bind or one.bind in ANY_ADDRESS or other.bind in ANY_ADDRESS


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

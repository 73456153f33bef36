"""Choose a host, or say in one sentence why none will do and what would help.

Soft rules are given up one at a time, and only as many as it takes. Knows nothing of time: the caller asks again when
something changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from remuda.core.placement.filters import Affinity, DataNear, Filter, filters_for
from remuda.core.placement.scoring import rank
from remuda.core.placement.values import Candidate, Request


class Placed(NamedTuple):
    """Put it on this host."""

    host_id: int
    because: str


class Refused(NamedTuple):
    """No host fits."""

    because: str


def place(request: Request, hosts: Sequence[Candidate], *, real: bool | None = None) -> Placed | Refused:
    """The best host for a deployment unit, or the reason that there is none.

    ``real``: the environment has hosts that are not simulated; None = ``hosts`` are all of it.
    """
    if not hosts:
        return Refused("There is no host in this environment. Add one with Hosts -> Add host.")
    if real is None:
        real = any(not host.simulated for host in hosts)
    if request.requested_host is not None:
        hosts = [host for host in hosts if host.id == request.requested_host]
        if not hosts:
            return Refused(
                f"The requested host 1h{request.requested_host} is not in this environment. Ask for another host."
            )
    active = filters_for(request, real=real)
    dropped: list[Filter] = []
    while True:
        failures = {host.id: [f for f in active if not f.check(host)] for host in hosts}
        fitting = [host for host in hosts if not failures[host.id]]
        if fitting:
            best = min(fitting, key=lambda host: rank(request, host))
            return Placed(best.id, _praise(best, request, hosts, fitting, dropped))
        nearly = [host for host in hosts if all(f.soft for f in failures[host.id])]
        if not nearly:
            return Refused(_refusal(request, hosts, failures))
        closest = min(nearly, key=lambda host: (len(failures[host.id]), rank(request, host)))
        victim = failures[closest.id][-1]
        dropped.append(victim)
        active = [f for f in active if f is not victim]


def _praise(
    best: Candidate,
    request: Request,
    hosts: Sequence[Candidate],
    fitting: Sequence[Candidate],
    dropped: Sequence[Filter],
) -> str:
    if request.requested_host is not None:
        text = f"Placed on {best.name}, as asked"
    elif len(fitting) == 1:
        text = f"Placed on {best.name}, the only host that fits"
    else:
        text = f"Placed on {best.name}, the least used of {len(fitting)} hosts that fit"
    rules = [str(f.rule) for f in dropped if isinstance(f, Affinity)]
    data = [f.given_up(hosts) for f in dropped if isinstance(f, DataNear)]
    ignored = "; ".join(filter(None, [*rules, *data]))
    return f"{text} (given up: {ignored})" if ignored else text


def _refusal(request: Request, hosts: Sequence[Candidate], failures: dict[int, list[Filter]]) -> str:
    groups: dict[int, tuple[Filter, list[Candidate]]] = {}
    for host in hosts:
        # A host counts once, under the first hard condition that it fails: that one has to be mended first.
        first = next(f for f in failures[host.id] if not f.soft)
        groups.setdefault(id(first), (first, []))[1].append(host)
    clauses = [f.explain(failed) for f, failed in groups.values()]
    count, _, rest = clauses[0].partition(" ")
    clauses[0] = f"{count} of {len(hosts)} {'host' if len(hosts) == 1 else 'hosts'} {rest}"
    advice = [*dict.fromkeys(f.advice for f, _ in groups.values())]
    advice.append("ask for another host" if request.requested_host is not None else "add a host")
    text = ", ".join(advice[:-1]) + " or " + advice[-1]
    return f"No host fits: {'; '.join(clauses)}. {text[0].upper()}{text[1:]}."

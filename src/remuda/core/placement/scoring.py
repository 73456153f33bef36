"""Which of the hosts that fit is best: spread. Never says no."""

from __future__ import annotations

from remuda.core.placement.values import Candidate, Request


def rank(request: Request, host: Candidate) -> tuple[bool, int, int, int]:
    """Smaller is better: not where it failed before, fewest of the same service, fewest containers, lowest id."""
    same = sum(
        1 for tenant in host.tenants if request.service_id is not None and tenant.service_id == request.service_id
    )
    return (host.id in request.avoid, same, len(host.tenants), host.id)

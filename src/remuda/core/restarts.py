"""The restart of a service, a few units at a time: the next ones only when those before run and are well. Pure.

What is wished lies in the service's ``data`` until all its containers have been told; a container's ``restart_token`` says which
wish it was told last. Containers that are made meanwhile are new anyway, and count as told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from remuda.core.model import Instance, Service

_KEY = "restart"


class Wish(msgspec.Struct, frozen=True):
    """All containers are to have this ``token``; ``batch`` units get it at once."""

    token: int
    batch: int = 1


def wish(service: Service) -> Wish | None:
    """What is still wished of a service; None when nothing is."""
    told = service.data.get(_KEY)
    return Wish(int(told["token"]), max(1, int(told.get("batchSize", 1)))) if told else None


def begin(service: Service, instances: Iterable[Instance], batch: int) -> dict[str, Any]:
    """What changes when a restart is asked for; a second wish replaces one that is under way."""
    before = wish(service)
    token = max((i.restart_token for i in instances), default=0)
    token = max(token, before.token if before else 0) + 1
    return {"data": {**service.data, _KEY: {"token": token, "batchSize": batch}, "settled": False}}


def over(data: dict[str, Any]) -> dict[str, Any]:
    """A service's ``data`` without the wish."""
    return {name: value for name, value in data.items() if name != _KEY}

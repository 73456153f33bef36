"""The upgrade of a service to another one: the new one grows and the old one shrinks, a batch at a time. Pure.

What is wished lies in the old service's ``data`` under the word of other upgrades (:mod:`remuda.core.upgrades`), so that it is
finished, stopped and rolled back as they are. Scales are all that changes: each service's own planner does the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from remuda.core import upgrades
from remuda.core.balancing.config import LbConfig
from remuda.core.model import ACTIVE, INACTIVE, Service, ServiceLink

_FROM = "upgradedFrom"
"""In the new service's ``data``: the old one's number."""


class Wish(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``to`` is the new service, ``final`` the scale that it is to have, ``interval_millis`` the least time between steps."""

    to: int
    batch_size: int = 1
    interval_millis: int = 2000
    final_scale: int = 1
    update_links: bool = True


class Scales(NamedTuple):
    """Of the old and of the new service."""

    old: int
    new: int


def wish(service: Service) -> Wish | None:
    """Where a service is being upgraded to; None when it is not, or not any more."""
    told = service.data.get(upgrades.KEY)
    return msgspec.convert(told["handover"], Wish) if told and told.get("handover") else None


def going(service: Service) -> Wish | None:
    """The same while there is still something to do."""
    return wish(service) if upgrades.handing(service) else None


def source(service: Service) -> int | None:
    """The service that is upgraded to this one."""
    return service.data.get(_FROM)


def begin(old: Service, new: Service, asked: Wish) -> tuple[dict[str, Any], dict[str, Any]]:
    """What changes at both. A new service that is not active yet is started empty."""
    scale = new.scale if new.desired == ACTIVE else 0
    told = {
        "stage": upgrades.UPGRADING, "handing": True, "batchSize": asked.batch_size,
        "handover": msgspec.to_builtins(asked), "scales": {"old": old.scale, "new": scale, "active": new.desired == ACTIVE},
    }  # fmt: skip
    ours = {"data": {**old.data, upgrades.KEY: told, "settled": False}, "desired": ACTIVE}
    theirs = {"data": {**new.data, _FROM: old.id, "settled": False}, "desired": ACTIVE, "scale": scale}
    return ours, theirs


def step(scales: Scales, asked: Wish) -> Scales:
    """The next scales; the same when all is done. The old one gives up what is more than enough of both, else the new one grows:
    one after the other, so that nothing is given up before what replaces it runs."""
    surplus = min(scales.old + scales.new - asked.final_scale, scales.old, asked.batch_size)
    if surplus > 0:
        return Scales(scales.old - surplus, scales.new)
    return Scales(scales.old, scales.new + max(0, min(asked.batch_size, asked.final_scale - scales.new)))


def over(old: Service) -> dict[str, Any]:
    """What changes at the old service when all is handed over."""
    told = {name: value for name, value in old.data[upgrades.KEY].items() if name != "handing"}
    return {"data": {**old.data, upgrades.KEY: told}}


def back(old: Service, new: Service | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What changes at both when each is to be as it was."""
    told = {name: value for name, value in old.data[upgrades.KEY].items() if name != "handing"}
    before = told["scales"]
    ours = {
        "scale": before["old"],
        "data": {**old.data, upgrades.KEY: {**told, "stage": upgrades.BACK}, "settled": False},
    }
    if new is None:
        return ours, {}
    data = {name: value for name, value in new.data.items() if name != _FROM}
    desired = ACTIVE if before["active"] else INACTIVE
    return ours, {"scale": before["new"], "desired": desired, "data": {**data, "settled": False}}


# -- who used the old one uses both ----------------------------------------------------------------------------------
def linked(services: Iterable[Service], old: int, new: int) -> list[tuple[Service, dict[str, Any]]]:
    """The services that lead to the old one, each with what changes so that it leads to the new one as well."""
    return _changed(services, lambda service: _more(service, old, new))


def unlinked(services: Iterable[Service], old: int, new: int) -> list[tuple[Service, dict[str, Any]]]:
    """The same the other way: what led to both leads to the old one again."""
    return _changed(services, lambda service: _less(service, old, new))


def _changed(services: Iterable[Service], change: Any) -> list[tuple[Service, dict[str, Any]]]:
    found = [(service, change(service)) for service in services]
    return [(service, changes) for service, changes in found if changes]


def _more(service: Service, old: int, new: int) -> dict[str, Any]:
    if service.id in (old, new):
        return {}
    changes: dict[str, Any] = {}
    copies = [msgspec.structs.replace(link, service_id=new) for link in service.links if link.service_id == old]
    copies = [link for link in copies if link not in service.links]
    if copies:
        changes["links"] = [*service.links, *copies]
    config = service.lb_config or LbConfig()
    rules = [msgspec.structs.replace(rule, service_id=new) for rule in config.port_rules if rule.service_id == old]
    rules = [rule for rule in rules if rule not in config.port_rules]
    if rules:
        changes["lb_config"] = msgspec.structs.replace(config, port_rules=[*config.port_rules, *rules])
    return changes


def _less(service: Service, old: int, new: int) -> dict[str, Any]:
    changes: dict[str, Any] = {}

    def copied(link: ServiceLink) -> bool:
        return link.service_id == new and msgspec.structs.replace(link, service_id=old) in service.links

    kept = [link for link in service.links if not copied(link)]
    if len(kept) < len(service.links):
        changes["links"] = kept
    config = service.lb_config or LbConfig()
    rules = [
        rule
        for rule in config.port_rules
        if rule.service_id != new or msgspec.structs.replace(rule, service_id=old) not in config.port_rules
    ]
    if len(rules) < len(config.port_rules):
        changes["lb_config"] = msgspec.structs.replace(config, port_rules=rules)
    return changes

"""The upgrade of a service as 1.x clients drive it: begun, done, then finished, rolled back, or stopped halfway. Pure.

Replacing containers is the service planner's work and needs none of this; here is only what the words mean. What a service
remembers of its upgrade lies in its ``data``: the stage, how many units are replaced at once, and what it ran before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from remuda.core import ids
from remuda.core.model import Service
from remuda.core.spec import LaunchConfig

UPGRADING, CANCELED, BACK = "upgrading", "canceled-upgrade", "rolling-back"
KEY = "upgrade"


def stage(service: Service) -> str:
    """Where its upgrade stands; empty when there is none, or it is over."""
    return str(service.data.get(KEY, {}).get("stage", ""))


def handing(service: Service) -> bool:
    """Is it being handed over to another service, a batch at a time (:mod:`remuda.core.handover`)?"""
    told = service.data.get(KEY, {})
    return bool(told.get("handing")) and told.get("stage") == UPGRADING


def batch_size(service: Service) -> int:
    """How many units are replaced at once."""
    return max(1, int(service.data.get(KEY, {}).get("batchSize", 1)))


def begin(
    service: Service, launch: LaunchConfig | None, sidekicks: Sequence[LaunchConfig] | None, batch: int
) -> dict[str, Any]:
    """What changes when a service gets other launch configurations; None leaves one as it is."""
    told = {"stage": UPGRADING, "batchSize": batch, "before": _kept(service)}
    return {
        "launch_config": launch if launch is not None else service.launch_config,
        "secondary_launch_configs": list(sidekicks) if sidekicks is not None else service.secondary_launch_configs,
        **_again(service, told),
    }


def finish(service: Service) -> dict[str, Any]:
    """What changes when it stays as it is now. One that was stopped halfway goes on to the end."""
    return {"data": {**{k: v for k, v in service.data.items() if k != KEY}, "settled": False}}


def cancel(service: Service) -> dict[str, Any]:
    """What changes when nothing more is to be replaced."""
    return {"data": {**service.data, KEY: {**service.data[KEY], "stage": CANCELED}, "settled": False}}


def back(service: Service) -> dict[str, Any]:
    """What changes when it is to be what it was before."""
    before = service.data[KEY]["before"]
    launch = before["launchConfig"]
    return {
        "launch_config": msgspec.convert(launch, LaunchConfig) if launch is not None else None,
        "secondary_launch_configs": msgspec.convert(before["secondaryLaunchConfigs"], list[LaunchConfig]),
        **_again(service, {**service.data[KEY], "stage": BACK}),
    }


def shown(service: Service) -> dict[str, Any] | None:
    """The field ``upgrade`` as clients read it."""
    told = service.data.get(KEY)
    if not told:
        return None
    if "handover" in told:
        asked = {name: value for name, value in told["handover"].items() if name != "to"}
        other = ids.public("service", told["handover"]["to"])
        return {"inServiceStrategy": None, "toServiceStrategy": {**asked, "toServiceId": other}}
    before = told["before"]
    return {
        "inServiceStrategy": {
            "batchSize": told.get("batchSize", 1),
            "launchConfig": msgspec.to_builtins(service.launch_config),
            "secondaryLaunchConfigs": msgspec.to_builtins(service.secondary_launch_configs),
            "previousLaunchConfig": before["launchConfig"],
            "previousSecondaryLaunchConfigs": before["secondaryLaunchConfigs"],
        },
        "toServiceStrategy": None,
    }


def _kept(service: Service) -> dict[str, Any]:
    return {
        "launchConfig": msgspec.to_builtins(service.launch_config),
        "secondaryLaunchConfigs": msgspec.to_builtins(service.secondary_launch_configs),
    }


def _again(service: Service, told: dict[str, Any]) -> dict[str, Any]:
    return {"revision": service.revision + 1, "data": {**service.data, KEY: told, "settled": False}}

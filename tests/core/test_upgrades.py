"""Upgrades of services as clients of 1.x drive them: what is remembered, what is shown, and what the planner does about it."""

from __future__ import annotations

import msgspec

from remuda.core import upgrades
from remuda.core.model import Service
from remuda.core.spec import LaunchConfig
from remuda.core.states import derive

OLD, NEW = LaunchConfig(image_uuid="docker:a:1"), LaunchConfig(image_uuid="docker:a:2")
SETTLED = {"settled": True, "was_active": True}


def service(**changes: object) -> Service:
    return Service(**{"id": 1, "name": "web", "launch_config": OLD, "data": dict(SETTLED), **changes})  # type: ignore[arg-type]


def after(one: Service, changes: dict[str, object], *, settled: bool = False) -> Service:
    changed = msgspec.structs.replace(one, **changes)
    return msgspec.structs.replace(changed, data={**changed.data, "settled": settled})


def test_an_upgrade_walks_the_published_states() -> None:
    begun = after(service(), upgrades.begin(service(), NEW, None, 2))
    assert (begun.launch_config, begun.revision, upgrades.batch_size(begun)) == (NEW, 2, 2)
    assert derive(begun)[:2] == ("upgrading", "yes")
    done = after(begun, {}, settled=True)
    assert derive(done)[:2] == ("upgraded", "no")
    assert derive(after(done, upgrades.finish(done), settled=True))[:2] == ("active", "no")


def test_what_is_rolled_back_is_what_it_was() -> None:
    begun = after(service(), upgrades.begin(service(), NEW, [NEW], 1), settled=True)
    back = after(begun, upgrades.back(begun))
    assert (back.launch_config, back.secondary_launch_configs, back.revision) == (OLD, [], 3)
    assert derive(back)[:2] == ("rolling-back", "yes")
    assert derive(after(back, {}, settled=True))[:2] == ("active", "no")


def test_one_that_is_stopped_halfway_stays_so_until_it_is_told_on() -> None:
    begun = after(service(), upgrades.begin(service(), NEW, None, 1))
    halted = after(begun, upgrades.cancel(begun), settled=True)
    assert derive(halted)[:2] == ("canceled-upgrade", "no")
    assert upgrades.shown(halted) is not None
    assert derive(after(halted, upgrades.finish(halted)))[:2] == ("updating-active", "yes")
    assert upgrades.stage(after(halted, upgrades.finish(halted))) == ""

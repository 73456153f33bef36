"""Volumes: names, templates, where containers are drawn to, and what a step leaves to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.core.model import REMOVED, Instance, Mount, Volume, VolumeTemplate
from remuda.core.placement.pipeline import Placed, Refused, place
from remuda.core.placement.values import Candidate, Request, Tenant
from remuda.core.services import plan as plan_service
from remuda.core.spec import LaunchConfig
from remuda.core.states import settle
from remuda.core.volumes import (
    Bind,
    Holdings,
    Step,
    bind_of,
    cleans_up,
    holdings,
    names_of,
    owner_of,
    plan,
    resolved,
    template_of,
    uses,
)

from .fixtures import a_service, carried_out, facts_of, obeyed


def a_volume(number: int = 1, name: str = "data", **changes: Any) -> Volume:
    return Volume(**{"id": number, "uuid": f"v{number}", "account_id": 5, "name": name, "external_id": name, **changes})


def a_container(number: int, *binds: str, host: int | None = 1, **changes: Any) -> Instance:
    spec = LaunchConfig(data_volumes=list(binds), labels=changes.pop("labels", {}))
    return Instance(**{"id": number, "uuid": f"i{number}", "account_id": 5, "spec": spec, "host_id": host, **changes})


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("data:/var", Bind("data", "/var")),
        ("data:/var:ro", Bind("data", "/var", "ro")),
        ("/etc:/etc", None),
        ("/nameless", None),
        ("./here:/x", None),
        ("a:/x", None),  # Docker wants two letters
    ],
)
def test_only_names_are_volumes(text: str, bind: Bind | None) -> None:
    assert bind_of(text) == bind


def test_what_the_engine_shows_counts_too_and_nameless_volumes_do_not() -> None:
    shown = [
        {"Type": "volume", "Name": "from-another", "Destination": "/b", "RW": False},
        {"Type": "volume", "Name": "a" * 64, "Destination": "/c"},
        {"Type": "bind", "Name": "", "Source": "/etc", "Destination": "/d"},
    ]
    container = a_container(1, "data:/a", engine={"Mounts": shown})
    assert uses(container) == {("data", "/a"): "rw", ("from-another", "/b"): "ro"}


def test_a_stacks_names_become_the_engines() -> None:
    templates = [
        VolumeTemplate(name="data", external_id="shop_data"),
        VolumeTemplate(name="own", external_id="shop_own", per_container=True),
    ]
    spec = LaunchConfig(data_volumes=["data:/a", "shop_data:/b", "own:/c:ro", "other:/d", "/etc:/e", "/f"])
    told = resolved(spec, templates, owner_of("db", "io.rancher.service.primary.launch.config", 2))
    assert told.data_volumes == ["shop_data:/a", "shop_data:/b", "shop_own_db_2:/c:ro", "other:/d", "/etc:/e", "/f"]
    assert resolved(told, templates, "db_2") == told, "resolving twice changes nothing"
    found = {name: t.name for name in names_of(told) if (t := template_of(name, templates))}
    assert found == {"shop_data": "data", "shop_own_db_2": "own"}


# ---- placement -------------------------------------------------------------------------------------------------------


def asking(data: Holdings, *binds: str, **more: Any) -> Request:
    return Request((LaunchConfig(data_volumes=list(binds)),), service_id=7, data=data, **more)


def hosts(*busy: int, count: int = 3) -> list[Candidate]:
    mine = {n: (Tenant(f"u{n}", "web", service_id=7),) if n in busy else () for n in range(1, count + 1)}
    return [Candidate(n, f"h{n}", {}, mine[n]) for n in mine]


def test_a_declared_volume_binds_hard_and_says_so() -> None:
    data = holdings([a_volume(declared=True, host_id=2)])
    verdict = place(asking(data, "data:/x"), hosts(2))
    assert isinstance(verdict, Placed)
    assert verdict.host_id == 2
    away = [replace(h, unfit="not connected") if h.id == 2 else h for h in hosts()]
    refused = place(asking(data, "data:/x"), away)
    assert isinstance(refused, Refused)
    assert "2 of 3 hosts do not have the volume data (on host 1h2) (h1, h3)" in refused.because


def test_a_name_that_nobody_declared_draws_and_never_holds_back() -> None:
    data = holdings([a_volume(host_id=3)])
    verdict = place(asking(data, "data:/x"), hosts())
    assert isinstance(verdict, Placed)
    assert verdict.host_id == 3
    away = [replace(h, unfit="not connected") if h.id == 3 else h for h in hosts()]
    elsewhere = place(asking(data, "data:/x"), away)
    assert isinstance(elsewhere, Placed)
    assert elsewhere.host_id != 3
    assert "should be with its volume data on h3" in elsewhere.because


def test_data_that_a_container_of_the_service_has_does_not_keep_the_next_from_spreading() -> None:
    data = holdings([a_volume(host_id=3)])
    verdict = place(asking(data, "data:/x"), hosts(3))
    assert isinstance(verdict, Placed)
    assert verdict.host_id != 3
    assert "given up" not in verdict.because


def test_volumes_of_shared_drivers_and_those_that_go_hold_nobody() -> None:
    rows = [a_volume(1, "nfs", driver="rancher-nfs", declared=True, host_id=1),
            a_volume(2, "going", declared=True, host_id=1, desired=REMOVED)]  # fmt: skip
    assert holdings(rows) == Holdings()


def test_containers_of_one_plan_that_share_a_new_volume_go_to_one_host() -> None:
    service = a_service(scale=3, config={"data_volumes": ["data:/x"]})
    facts = facts_of(service, data=holdings([a_volume(declared=True)]))
    made = plan_service(facts).create
    assert len(made) == 3
    assert len({i.host_id for i in made}) == 1
    spread = plan_service(facts_of(service, data=Holdings())).create
    assert {i.host_id for i in spread} == {1, 2, 3}


def test_a_container_that_replaces_another_one_finds_its_data() -> None:
    service = a_service(scale=2, config={"data_volumes": ["own:/x"]})
    templates = [VolumeTemplate(name="own", external_id="shop_own", per_container=True)]
    facts = facts_of(service, hosts=3, templates=templates)
    facts = obeyed(carried_out(facts, plan_service(facts)))
    places = {i.spec.data_volumes[0].partition(":")[0]: i.host_id for i in facts.instances}
    assert places.keys() == {"shop_own_web_1", "shop_own_web_2"}
    volumes = [
        a_volume(n, name, declared=True, volume_template_id=1, host_id=at)
        for n, (name, at) in enumerate(places.items())
    ]
    for first, second in ((0, 1), (1, 0)):
        left = replace(facts, instances=[facts.instances[second]], occupancy={}, data=holdings(volumes))
        (new,) = plan_service(left).create
        assert new.spec.data_volumes == facts.instances[first].spec.data_volumes
        assert new.host_id == facts.instances[first].host_id


# ---- steps -----------------------------------------------------------------------------------------------------------


def applied(volume: Volume, mounts: list[Mount], step: Step) -> tuple[Volume, list[Mount]]:
    kept = [m for m in mounts if m not in step.unmount]
    start = max((m.id for m in mounts), default=0) + 1
    new = [msgspec.structs.replace(m, id=start + n) for n, m in enumerate(step.mount)]
    changes = {**step.changes, **({"desired": REMOVED, "assign_seq": 9} if step.order else {})}
    if step.changes.get("desired") == REMOVED:
        changes["removed"] = 1
    return msgspec.structs.replace(volume, **changes), [*kept, *new]


BINDS = st.lists(
    st.sampled_from(["data:/a", "data:/b", "data:/a:ro", "other:/a", "/etc:/etc", "/nameless"]), max_size=4
)
MOUNTED = st.tuples(st.integers(1, 6), st.sampled_from(["/a", "/b"]), st.sampled_from(["ro", "rw"]))
CONTAINERS = st.lists(st.tuples(BINDS, st.sampled_from([None, 1, 2]), st.booleans()), max_size=6)


@given(CONTAINERS, st.sampled_from([None, 1, 2]), st.sampled_from(["local", "nfs"]), st.booleans(), st.booleans(),
       st.lists(MOUNTED, unique_by=lambda m: m[:2]))  # fmt: skip
def test_a_step_that_was_done_leaves_nothing_to_do(
    containers: list[Any], host: int | None, driver: str, host_there: bool, cleaned: bool, there: list[Any]
) -> None:
    rows = [
        a_container(n, *binds, host=at, removed=1 if gone else None)
        for n, (binds, at, gone) in enumerate(containers, 1)
    ]
    mounts = [Mount(id=n, account_id=5, kind="mount", instance_id=i, volume_id=1, path=path, permissions=mode)
              for n, (i, path, mode) in enumerate(there, 1)]  # fmt: skip
    volume = a_volume(host_id=host, driver=driver)
    step = plan(volume, rows, mounts, host_there=host_there, cleaned=cleaned)
    after, mounts = applied(volume, mounts, step)
    assert plan(after, rows, mounts, host_there=host_there).empty
    alive = {i.id for i in rows if i.removed is None}
    assert {m.instance_id for m in mounts} <= alive
    if step.order:
        assert not mounts, "what is in use is never ordered to go"


def test_only_a_containers_own_label_lets_its_volume_go() -> None:
    label = {"io.rancher.container.volume_cleanup_strategy": "all"}
    assert cleans_up(a_container(1, labels=label))
    assert not cleans_up(a_container(1))
    volume, mount = a_volume(host_id=1, users=1), Mount(id=1, instance_id=1, volume_id=1, path="/a")
    assert not plan(volume, [], [mount], host_there=True).order
    assert plan(volume, [], [mount], host_there=True, cleaned=True).order
    other = a_container(2, "data:/a")
    assert not plan(volume, [other], [mount], host_there=True, cleaned=True).order


def test_local_volumes_go_with_their_host_and_shared_ones_stay() -> None:
    assert plan(a_volume(host_id=1), [], [], host_there=False).changes == {"desired": REMOVED}
    assert plan(a_volume(host_id=1, driver="nfs"), [], [], host_there=False).empty


@pytest.mark.parametrize(
    ("changes", "state", "transitioning"),
    [
        ({}, "inactive", "no"),
        ({"users": 1, "host_id": 1}, "activating", "yes"),
        ({"users": 1, "host_id": 1, "seen": "error", "message": "no space"}, "activating", "error"),
        ({"requested_host_id": 1, "host_id": 1, "assign_seq": 3}, "activating", "yes"),
        ({"seen": "present", "users": 1}, "active", "no"),
        ({"seen": "present"}, "detached", "no"),
        ({"seen": "present", "desired": REMOVED}, "removing", "yes"),
        ({"seen": "present", "desired": REMOVED, "message": "volume is in use"}, "removing", "error"),
        ({"removed": 1, "desired": REMOVED}, "removed", "no"),
    ],
)
def test_states_follow_from_what_is_so(changes: dict[str, Any], state: str, transitioning: str) -> None:
    shown = settle(a_volume(**changes))
    assert (shown.state, shown.transitioning) == (state, transitioning)

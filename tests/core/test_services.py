"""What a service's plan does, case by case, and what must hold of every plan."""

from __future__ import annotations

import sys
from dataclasses import replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.fixtures import a_host, a_service, carried_out, facts_of, obeyed

from remuda.core import labels, restarts, upgrades
from remuda.core.draft import GOING_SECONDS, Facts
from remuda.core.model import INACTIVE, REMOVED, RUNNING, STOPPED, Host, Instance, Port, Service
from remuda.core.placement.values import tenant
from remuda.core.services import BACKOFF_SECONDS, plan
from remuda.core.spec import PRIMARY, LaunchConfig, RestartPolicy

GLOBAL = {"labels": {labels.GLOBAL: "true"}}
SIDEKICKS = [
    LaunchConfig(name="logs", image_uuid="docker:logs", data_volumes_from_launch_configs=["web"]),
    LaunchConfig(name="net", image_uuid="docker:net", network_launch_config="logs"),
]


def step(facts: Facts) -> Facts:
    return obeyed(carried_out(facts, plan(facts)))


def run(facts: Facts, limit: int = 40) -> Facts:
    """Plan, carry out, obey, until nothing is left to do."""
    for _ in range(limit):
        draft = plan(facts)
        if draft.empty or draft.finished:
            return facts
        facts = obeyed(carried_out(facts, draft))
    raise AssertionError("the plan never comes to rest")


def names(facts: Facts) -> list[str]:
    return sorted(i.name for i in facts.instances if i.desired != REMOVED)


def with_service(facts: Facts, **changes: object) -> Facts:
    return replace(facts, service=msgspec.structs.replace(facts.service, **changes))


def with_host(facts: Facts, number: int, **changes: object) -> Facts:
    hosts = [msgspec.structs.replace(h, **changes) if h.id == number else h for h in facts.hosts]
    return replace(facts, hosts=hosts)


def test_all_replicas_are_created_and_placed_by_one_plan() -> None:
    draft = plan(facts_of(a_service(scale=5)))
    assert [i.name for i in draft.create] == [f"shop_web_{n}" for n in range(1, 6)]
    assert sorted(i.host_id or 0 for i in draft.create) == [1, 1, 2, 2, 3]
    assert len({i.unit for i in draft.create}) == 5
    assert draft.because == "0 of 5 containers run"


def test_when_they_run_the_service_has_settled() -> None:
    facts = run(facts_of(a_service(scale=2)))
    assert facts.service.because == "All 2 containers run"
    assert facts.service.current_scale == 2
    assert facts.service.health_state == "healthy"
    assert facts.service.data == {"settled": True, "was_active": True}


def test_the_labels_of_the_original_are_injected_over_the_users() -> None:
    config = {"labels": {"a": "b", labels.STACK_NAME: "mine", "IO.rancher.Container.Pull_image": "always"}}
    [instance] = plan(facts_of(a_service(config=config))).create
    assert instance.spec.labels == {
        "a": "b",
        "io.rancher.container.pull_image": "always",
        labels.STACK_NAME: "shop",
        labels.STACK_SERVICE_NAME: "shop/web",
        labels.PROJECT_NAME: "shop",
        labels.PROJECT_SERVICE_NAME: "shop/web",
        labels.DEPLOYMENT_UNIT: instance.unit,
        labels.LAUNCH_CONFIG: PRIMARY,
    }


def test_a_hostname_can_follow_the_containers_name_within_its_limit() -> None:
    config = {"labels": {labels.HOSTNAME_OVERRIDE: "container_name"}, "domain_name": "example.org"}
    [short] = plan(facts_of(a_service(config=config))).create
    assert short.spec.hostname == "shop_web_1"
    [long] = plan(facts_of(a_service(name="w" * 80, config=config))).create
    assert len(long.spec.hostname) == 64 - len(".example.org")
    assert long.spec.hostname.endswith("_1")


def test_scaling_down_takes_what_waits_then_what_is_broken_then_the_newest() -> None:
    facts = run(facts_of(a_service(scale=4)))
    rows = list(facts.instances)
    rows[1] = msgspec.structs.replace(rows[1], observed="error")
    draft = plan(with_service(replace(facts, instances=rows), scale=2))
    assert sorted(i.name for i, _ in draft.remove) == ["shop_web_2", "shop_web_4"]


def test_a_number_is_used_again_only_when_its_container_is_gone() -> None:
    facts = run(facts_of(a_service(scale=3)))
    rows = [msgspec.structs.replace(i, desired=REMOVED) if i.ordinal == 2 else i for i in facts.instances]
    waiting = plan(replace(facts, instances=rows))
    assert waiting.create == ()
    assert "shop_web_2 must be gone before it is made anew" in waiting.because
    gone = plan(replace(facts, instances=[i for i in rows if i.ordinal != 2]))
    assert [i.name for i in gone.create] == ["shop_web_2"]
    hanging = next(i for i in rows if i.ordinal == 2)
    late = plan(replace(facts, instances=rows, held_for={hanging.id: GOING_SECONDS}))
    assert [i.name for i in late.create] == ["shop_web_2"]


def test_sidekicks_live_on_the_host_of_their_primary_and_follow_what_they_need() -> None:
    draft = plan(facts_of(a_service(scale=2, secondary_launch_configs=SIDEKICKS)))
    assert [i.name for i in draft.create] == [
        "shop_web_1", "shop_web_logs_1", "shop_web_net_1", "shop_web_2", "shop_web_logs_2", "shop_web_net_2",
    ]  # fmt: skip
    for n in (1, 2):
        unit = [i for i in draft.create if i.ordinal == n]
        assert len({i.host_id for i in unit}) == 1
        assert len({i.unit for i in unit}) == 1
    assert draft.create[1].spec.labels[labels.STACK_SERVICE_NAME] == "shop/web/logs"


def test_a_dependency_comes_first_even_if_it_is_the_sidekick() -> None:
    sidekick = [LaunchConfig(name="base", image_uuid="docker:base")]
    service = a_service(config={"network_launch_config": "base"}, secondary_launch_configs=sidekick)
    assert [i.launch_config for i in plan(facts_of(service)).create] == ["base", PRIMARY]


def test_a_unit_is_placed_by_the_needs_of_all_its_containers() -> None:
    sidekick = [LaunchConfig(name="b", image_uuid="docker:b", ports=["81:81"])]
    facts = run(facts_of(a_service(config={"ports": ["80:80"]}, secondary_launch_configs=sidekick)))
    other = msgspec.structs.replace(facts.service, id=10, uuid="other", name="other", secondary_launch_configs=[], create_index=0,
                                    launch_config=LaunchConfig(image_uuid="docker:x", ports=["81:1"]), scale=3)  # fmt: skip
    draft = plan(Facts(other, "shop", hosts=facts.hosts, occupancy=facts.occupancy))
    assert sorted(i.host_id or 0 for i in draft.create) == [0, 2, 3]


def test_a_sidekick_that_was_removed_is_made_anew_with_those_that_share_with_it() -> None:
    facts = run(facts_of(a_service(secondary_launch_configs=SIDEKICKS)))
    host = facts.instances[0].host_id
    rows = [i for i in facts.instances if i.launch_config != "logs"]
    facts = run(replace(facts, instances=rows))
    assert names(facts) == ["shop_web_1", "shop_web_logs_1", "shop_web_net_1"]
    assert {i.host_id for i in facts.instances} == {host}
    fresh = {i.launch_config for i in facts.instances} - {i.launch_config for i in rows if i in facts.instances}
    assert fresh == {"logs", "net"}


def test_a_global_service_runs_once_per_matching_host_and_follows_them() -> None:
    rule = {"labels": {labels.GLOBAL: "true", labels.AFFINITY + "host_label": "zone=a"}}
    hosts = [a_host(1, labels={"zone": "a"}), a_host(2, labels={"zone": "b"}), a_host(3, labels={"zone": "a"})]
    facts = run(facts_of(a_service(config=rule), hosts=hosts))
    assert sorted(i.host_id or 0 for i in facts.instances) == [1, 3]
    assert all(i.spec.labels[labels.REQUESTED_HOST] == str(i.host_id) for i in facts.instances)
    facts = run(with_host(with_host(facts, 2, labels={"zone": "a"}), 1, labels={}))
    assert sorted(i.host_id or 0 for i in facts.instances) == [2, 3]
    assert facts.service.because == "All 2 containers run"


def test_a_global_service_stays_on_a_lost_host_and_says_so() -> None:
    facts = run(facts_of(a_service(config=GLOBAL, on_host_lost=0)))
    facts = run(replace(with_host(facts, 2, connection="lost"), lost_for={2: 1000.0}))
    assert sorted(i.host_id or 0 for i in facts.instances) == [1, 2, 3]
    assert "host h2 is lost" in facts.service.because


def test_replicas_leave_a_lost_host_after_the_grace_and_not_before() -> None:
    facts = with_host(run(facts_of(a_service(scale=3, on_host_lost=10))), 2, connection="lost")
    early = plan(replace(facts, lost_for={2: 4.0}))
    assert early.remove == ()
    assert early.create == ()
    assert early.wake_after == 6.0
    late = plan(replace(facts, lost_for={2: 10.0}))
    [(old, because)] = late.remove
    [new] = late.create
    assert old.host_id == 2
    assert because == "Its host h2 has been lost for 10 seconds"
    assert new.name == old.name
    assert new.uuid != old.uuid
    assert new.host_id in (1, 3)


def test_a_container_is_not_given_up_while_there_is_no_other_place() -> None:
    hosts = [a_host(1, connection="lost"), a_host(2, desired=INACTIVE)]
    facts = replace(run(facts_of(a_service(on_host_lost=0), hosts=1)), hosts=hosts, lost_for={1: 99.0})
    draft = plan(facts)
    assert draft.remove == ()
    assert draft.create == ()
    assert draft.service["blocked"] is True
    assert "1 is deactivated (h2)" in draft.because


def test_never_means_never() -> None:
    facts = with_host(run(facts_of(a_service(scale=3, on_host_lost=-1))), 2, connection="lost")
    draft = plan(replace(facts, lost_for={2: 1e9}))
    assert (draft.create, draft.remove) == ((), ())
    assert "never moved" in draft.because


def test_a_reconnecting_host_changes_nothing() -> None:
    facts = with_host(run(facts_of(a_service(scale=3, on_host_lost=0))), 2, connection="reconnecting")
    assert plan(facts).empty


def test_a_removed_hosts_replicas_are_replaced_at_once() -> None:
    facts = with_host(run(facts_of(a_service(scale=3, on_host_lost=-1))), 2, desired=REMOVED)
    draft = plan(facts)
    assert [i.host_id for i, _ in draft.remove] == [2]
    assert len(draft.create) == 1


def test_what_fails_is_made_anew_after_a_growing_pause_elsewhere() -> None:
    facts = run(facts_of(a_service()))
    bad = msgspec.structs.replace(facts.instances[0], observed="error", message="No such image")
    facts = replace(facts, instances=[bad])
    early = plan(replace(facts, held_for={bad.id: 1.0}))
    assert early.remove == ()
    assert early.because == "shop_web_1 failed: No such image. It is tried again after 15 seconds."
    assert early.wake_after == BACKOFF_SECONDS - 1
    late = replace(facts, held_for={bad.id: BACKOFF_SECONDS})
    again = replace(step(late), held_for={})
    [new] = plan(again).create
    assert new.name == "shop_web_1"
    assert new.host_id != bad.host_id
    assert again.service.data["attempts"] == {"1": {"count": 1, "host": bad.host_id}}
    assert "attempts" not in run(again).service.data


def test_a_new_revision_replaces_one_unit_at_a_time() -> None:
    facts = with_service(run(facts_of(a_service(scale=3))), revision=2)
    for expected in (2, 2, 2):
        first = plan(facts)
        assert len(first.remove) == 1
        facts = obeyed(carried_out(facts, first))
        assert len(facts.instances) == expected
        second = plan(facts)
        assert [i.revision for i in second.create] == [2]
        between = carried_out(facts, second)
        assert plan(between).remove == ()
        facts = obeyed(between)
    facts = run(facts)
    assert {i.revision for i in facts.instances} == {2}
    assert names(facts) == ["shop_web_1", "shop_web_2", "shop_web_3"]


def test_an_upgrade_replaces_as_many_at_once_as_its_batch_says() -> None:
    facts = run(facts_of(a_service(scale=3)))
    begun = upgrades.begin(facts.service, LaunchConfig(image_uuid="docker:new"), None, 2)
    assert len(plan(with_service(facts, **begun)).remove) == 2


def test_an_upgrade_that_was_stopped_replaces_nothing_more_and_is_settled() -> None:
    facts = with_service(run(facts_of(a_service(scale=3))), revision=2)
    facts = with_service(facts, data={**facts.service.data, "upgrade": {"stage": "canceled-upgrade", "before": {}}})
    draft = plan(facts)
    assert draft.remove == ()
    assert draft.service.get("data", facts.service.data)["settled"]
    assert "3 still have the old configuration" in draft.because


def test_a_broken_new_revision_halts_the_roll_out() -> None:
    facts = with_service(run(facts_of(a_service(scale=3))), revision=2)
    facts = step(facts)
    facts = carried_out(facts, plan(facts))
    rows = [
        msgspec.structs.replace(i, observed="error", message="boom") if i.revision == 2 else i for i in facts.instances
    ]
    facts = replace(facts, instances=rows)
    draft = plan(facts)
    assert draft.remove == ()
    fixed = plan(with_service(carried_out(facts, draft), revision=3))
    assert [i.revision for i, _ in fixed.remove] == [2]


def test_inactive_stops_and_keeps_active_starts_again() -> None:
    facts = run(facts_of(a_service(scale=3)))
    before = {i.uuid for i in facts.instances}
    facts = run(with_service(facts, desired=INACTIVE))
    assert {i.desired for i in facts.instances} == {STOPPED}
    assert facts.service.current_scale == 0
    assert facts.service.because == "Stopped"
    facts = run(with_service(facts, desired="active"))
    assert {i.desired for i in facts.instances} == {RUNNING}
    assert {i.uuid for i in facts.instances} == before


def test_an_inactive_service_creates_nothing_but_still_shrinks() -> None:
    assert plan(facts_of(a_service(scale=3, desired=INACTIVE))).create == ()
    facts = run(with_service(run(facts_of(a_service(scale=3))), desired=INACTIVE, scale=1))
    assert names(facts) == ["shop_web_1"]


def test_removal_takes_the_containers_first_and_waits_for_no_lost_host() -> None:
    facts = with_service(run(facts_of(a_service(scale=3))), desired=REMOVED)
    draft = plan(facts)
    assert len(draft.remove) == 3
    assert not draft.finished
    assert plan(step(facts)).finished
    lost = with_host(carried_out(facts, draft), 2, connection="lost")
    lost = replace(lost, instances=[i for i in lost.instances if i.host_id == 2])
    assert plan(lost).finished


def test_what_was_to_run_once_counts_as_started() -> None:
    facts = run(facts_of(a_service(scale=2, config={"labels": {labels.START_ONCE: "true"}})))
    rows = [msgspec.structs.replace(i, observed="exited", exit_code=0) for i in facts.instances]
    facts = run_seen(replace(facts, instances=rows))
    assert facts.service.health_state == "started-once"
    assert facts.service.because == "All containers ran once"
    assert facts.service.data["settled"] is True


def test_an_explicit_restart_policy_is_respected() -> None:
    for policy, code, fine in (
        ("no", 1, True),
        ("on-failure", 0, True),
        ("on-failure", 1, False),
        ("always", 0, False),
    ):
        facts = run(facts_of(a_service(config={"restart_policy": RestartPolicy(name=policy)})))
        rows = [msgspec.structs.replace(i, observed="exited", exit_code=code) for i in facts.instances]
        assert run_seen(replace(facts, instances=rows)).service.data["settled"] is fine


def test_a_global_service_rolls_on_past_a_broken_container_on_a_lost_host() -> None:
    facts = run(facts_of(a_service(config=GLOBAL)))
    rows = [msgspec.structs.replace(i, observed="error") if i.host_id == 3 else i for i in facts.instances]
    changed = msgspec.structs.replace(facts.service, revision=2)
    facts = facts_of(changed, rows, [*facts.hosts[:2], a_host(3, connection="lost")], lost_for={3: 0.0})
    assert {i.host_id for i, _ in plan(facts).remove} == {1, 3}, "one that runs, and the one that nobody waits for"


def run_seen(facts: Facts) -> Facts:
    """Plan and carry out once without the hosts doing anything."""
    facts = carried_out(facts, plan(facts))
    assert plan(facts).empty
    return facts


def test_it_waits_for_what_it_depends_on() -> None:
    facts = facts_of(a_service(depends_on=["db"]), waiting_for=["db"])
    draft = plan(facts)
    assert draft.create == ()
    assert draft.because == "Waits until db runs (depends_on)"
    assert len(plan(replace(facts, waiting_for=())).create) == 1


def test_a_service_without_an_image_wants_no_containers() -> None:
    draft = plan(facts_of(a_service(launch_config=None, scale=3)))
    assert draft.create == ()
    assert draft.service["data"]["settled"] is True


def test_what_found_no_place_is_kept_waiting_and_placed_later() -> None:
    facts = facts_of(a_service(scale=2, config={"ports": ["80:80"]}), hosts=1)
    facts = obeyed(carried_out(facts, plan(facts)))
    waiting = [i for i in facts.instances if i.host_id is None]
    assert [i.blocked for i in waiting] == [True]
    assert facts.service.blocked
    facts = run(replace(facts, hosts=[*facts.hosts, a_host(2)]))
    assert sorted(i.host_id or 0 for i in facts.instances) == [1, 2]
    assert not any(i.blocked for i in facts.instances)


def test_docker_that_does_not_answer_is_named() -> None:
    facts = with_host(run(facts_of(a_service(scale=3))), 2, docker="down")
    draft = plan(facts)
    assert (draft.create, draft.remove) == ((), ())
    assert "Docker on h2 does not answer" in draft.because


# ---- what must hold of every plan ------------------------------------------------------------------------------------------

hosts_strategy = st.lists(
    st.builds(
        lambda connection, docker, desired, zone: {
            "connection": connection,
            "docker": docker,
            "desired": desired,
            "labels": zone,
        },
        st.sampled_from(["connected", "connected", "connected", "reconnecting", "lost"]),
        st.sampled_from(["up", "up", "down"]),
        st.sampled_from(["active", "active", "inactive", "removed"]),
        st.sampled_from([{}, {"zone": "a"}, {"zone": "b"}]),
    ),
    min_size=0,
    max_size=4,
)


@st.composite
def worlds(draw: st.DrawFn) -> Facts:
    """A service somewhere in its life: it ran once, then everything about it and its hosts changed."""
    config = draw(st.sampled_from([
        {}, {"ports": ["80:80"]}, GLOBAL, {"labels": {labels.AFFINITY + "host_label": "zone=a"}},
        {"labels": {labels.AFFINITY + "container_label_ne": "io.rancher.stack_service.name=${stack_name}/${service_name}"}},
        {"labels": {labels.AFFINITY + "host_label_soft": "zone=b"}},
    ]))  # fmt: skip
    sidekicks = draw(st.sampled_from([[], [], SIDEKICKS]))
    service = a_service(scale=draw(st.integers(0, 5)), config=config, secondary_launch_configs=sidekicks,
                        on_host_lost=draw(st.sampled_from([-1, 0, 10])))  # fmt: skip
    facts = facts_of(service, hosts=[a_host(n, labels={"zone": "ab"[n % 2]}) for n in range(1, 5)])
    for _ in range(draw(st.integers(0, 3))):
        facts = step(facts)
    hosts = [a_host(n, **changes) for n, changes in enumerate(draw(hosts_strategy), 1)]
    rows = [draw(seen(i)) for i in facts.instances]
    changed: Service = msgspec.structs.replace(
        facts.service, scale=draw(st.integers(0, 5)), revision=draw(st.sampled_from([1, 1, 2])),
        desired=draw(st.sampled_from(["active", "active", "active", INACTIVE, REMOVED])),
    )  # fmt: skip
    if draw(st.sampled_from([False, False, True])):
        changed = msgspec.structs.replace(changed, **restarts.begin(changed, (), draw(st.integers(1, 2))))
    held = {i.id: draw(st.sampled_from([0.0, 20.0, 1000.0])) for i in rows}
    lost = {h.id: draw(st.sampled_from([0.0, 100.0])) for h in hosts if h.connection == "lost"}
    more = {"held_for": held, "lost_for": lost, "waiting_for": draw(st.sampled_from([(), (), ("db",)]))}
    return facts_of(changed, rows, hosts, **more)


@st.composite
def seen(draw: st.DrawFn, instance: Instance) -> Instance:
    what = draw(st.sampled_from(["running", "running", "running", "exited", "error", "absent", "removed"]))
    if instance.host_id is None:
        return instance  # nobody sees it, and a removed one would be closed at once
    if what == "removed":
        return msgspec.structs.replace(instance, desired=REMOVED)
    return msgspec.structs.replace(instance, observed=what)


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_a_plan_applied_to_its_own_result_is_empty(facts: Facts) -> None:
    first = plan(facts)
    after = carried_out(facts, first)
    removed = {i.id for i, _ in first.remove}
    after = replace(after, held_for={k: (0.0 if k in removed else v) for k, v in facts.held_for.items()})
    second = plan(after)
    if first.finished:
        return
    assert (second.create, second.remove, second.update, second.service) == ((), (), (), {}), (
        f"{first.because=} {first.create=} {second=}"
    )
    assert second.remove == ()
    assert second.update == ()
    assert second.service == {}, f"{first}"


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_a_plan_never_breaks_the_rules(facts: Facts) -> None:
    draft = plan(facts)
    after = carried_out(facts, draft)
    live = [i for i in after.instances if i.desired != REMOVED]
    keys = [(i.launch_config, i.ordinal) for i in live]
    assert len(keys) == len(set(keys)), "an ordinal twice"
    units: dict[str, set[int | None]] = {}
    for i in live:
        units.setdefault(i.unit, set()).add(i.host_id)
    assert all(len(hosts) == 1 for hosts in units.values()), "a unit on two hosts"
    schedulable = {h.id for h in facts.hosts if h.schedulable}
    beside = {i.unit for i in facts.instances}
    assert all(i.host_id is None or i.host_id in schedulable or i.unit in beside for i in draft.create)
    is_global = facts.service.launch_config is not None and labels.GLOBAL in facts.service.launch_config.labels
    if facts.service.desired != "active" or not is_global:
        assert len(units) <= max(facts.service.scale, len({i.unit for i in facts.instances}))
    reasons = [because for _, because in draft.remove]
    assert all(reasons)


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_with_good_hosts_every_service_comes_to_rest_as_wanted(facts: Facts) -> None:
    hosts: list[Host] = [a_host(n, labels={"zone": "a"}) for n in range(1, 6)]
    calm = replace(facts, hosts=hosts, lost_for={}, waiting_for=(), held_for={i.id: 1000.0 for i in facts.instances})
    calm = run(obeyed(calm))
    service = calm.service
    live = [i for i in calm.instances if i.desired != REMOVED]
    if service.desired == REMOVED:
        assert not calm.instances
        return
    assert service.data["settled"] is True, service.because
    assert all(i.revision == service.revision for i in live) or service.desired == INACTIVE
    if service.desired == "active":
        per_unit = 1 + len(service.secondary_launch_configs)
        config = service.launch_config
        assert config is not None
        assert len(live) == per_unit * (5 if labels.GLOBAL in config.labels else service.scale)


def test_ports_change_under_running_containers() -> None:
    facts = run(facts_of(a_service(scale=2, config={"ports": ["8080:80"]})))
    config = msgspec.structs.replace(facts.service.launch_config, ports=["9090:80"])
    draft = plan(with_service(facts, launch_config=config))
    assert not draft.create
    assert not draft.remove
    assert [changes["spec"].ports for _, changes in draft.update] == [["9090:80"], ["9090:80"]]
    assert plan(carried_out(with_service(facts, launch_config=config), draft)).update == ()


def test_a_port_that_is_taken_keeps_the_old_one_and_says_so() -> None:
    other = Instance(
        id=77, uuid="other", name="other", account_id=5, host_id=1, observed="running", published=[Port(80, 9090)],
    )  # fmt: skip
    facts = run(facts_of(a_service(scale=1, config={"ports": ["8080:80"]}), hosts=1))
    config = msgspec.structs.replace(facts.service.launch_config, ports=["9090:80"])
    busy = {1: [*facts.occupancy.get(1, ()), tenant(other)]}
    draft = plan(replace(with_service(facts, launch_config=config), occupancy=busy))
    assert not draft.update
    assert draft.service["blocked"] is True
    assert "9090/tcp is taken" in draft.because


def test_a_restart_goes_batch_by_batch_and_waits_for_each() -> None:
    facts = run(facts_of(a_service(scale=3)))
    wished = msgspec.structs.replace(facts.service, **restarts.begin(facts.service, facts.instances, 2))
    facts = replace(facts, service=wished)
    first = plan(facts)
    assert [changes["restart_token"] for _, changes in first.update] == [1, 1]
    facts = carried_out(facts, first)
    assert plan(facts).update == (), "the next only when those before run again"
    facts = obeyed(facts)
    assert len(plan(facts).update) == 1
    facts = run(facts)
    assert restarts.wish(facts.service) is None
    assert {i.restart_token for i in facts.instances} == {1}


def test_what_is_made_during_a_restart_is_not_restarted() -> None:
    facts = run(facts_of(a_service(scale=1)))
    wished = msgspec.structs.replace(facts.service, scale=2, **restarts.begin(facts.service, facts.instances, 1))
    facts = run(replace(facts, service=wished))
    assert [i.restart_token for i in facts.instances] == [1, 1]
    assert restarts.wish(facts.service) is None


def test_a_global_service_on_four_times_as_many_hosts_takes_little_more_than_four_times_the_work() -> None:
    service = a_service(launch_config=LaunchConfig(image_uuid="docker:nginx", **GLOBAL))

    def work(count: int) -> int:
        calls = 0

        def called(*_: object) -> None:
            nonlocal calls
            calls += 1

        facts = Facts(service, stack="shop", hosts=[a_host(n) for n in range(1, count + 1)])
        sys.setprofile(called)
        try:
            drawn = plan(facts)
        finally:
            sys.setprofile(None)
        assert len(drawn.create) == count
        return calls

    assert work(200) < 4.5 * work(50)

"""The agent's plan: tables for what is decided, and properties for what must always hold."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.agent import plan as planning
from remuda.agent.observe import Container
from remuda.agent.plan import Action, Adopt, Backoff, Create, Done, Remove, Restart, Start, Stop, Wait, plan
from remuda.core import labels
from remuda.core.spec import PRIMARY, LaunchConfig, RestartPolicy
from remuda.core.wire import Assignment

SPEC = LaunchConfig(image_uuid="docker:busybox")


def wish(uuid: str = "u1", seq: int = 5, desired: str = "running", **rest: object) -> Assignment:
    return Assignment(uuid=uuid, seq=seq, desired=desired, **{"spec": SPEC, "name": uuid, **rest})  # type: ignore[arg-type]


def box(uuid: str = "u1", state: str = "running", identity: str = "", **rest: object) -> Container:
    return Container(id=identity or f"c-{uuid}", uuid=uuid, state=state, **rest)  # type: ignore[arg-type]


def ended(code: int = 1, uuid: str = "u1") -> Container:
    return box(uuid, "exited", exit_code=code)


def policy(name: str, count: int = 0, **rest: object) -> LaunchConfig:
    return LaunchConfig(image_uuid="docker:busybox", restart_policy=RestartPolicy(name, count), **rest)  # type: ignore[arg-type]


ONCE = LaunchConfig(image_uuid="docker:busybox", labels={labels.START_ONCE: "true"})
DONE = Done(5, 0)


@pytest.mark.parametrize(
    ("assignment", "container", "done", "backoff", "expected"),
    [
        pytest.param(wish(), None, None, None, [Create("u1", True)], id="missing"),
        pytest.param(wish(), None, DONE, None, [Create("u1", True)], id="gone-is-made-again"),
        pytest.param(wish(), box(state="created"), None, None, [Start("u1", "c-u1")], id="created-only"),
        pytest.param(wish(), box(), None, None, [Adopt("u1", 5, 0)], id="found-running"),
        pytest.param(wish(), box(), DONE, None, [], id="as-wished"),
        pytest.param(wish(), box(state="paused"), DONE, None, [], id="paused-is-left"),
        pytest.param(wish(), ended(), DONE, None, [Start("u1", "c-u1", again=True)], id="crashed"),
        pytest.param(wish(), ended(), DONE, Backoff(1, 101.0), [Wait("u1", 101.0, "")], id="crashed-waits"),
        pytest.param(wish(), ended(), DONE, Backoff(1, 99.0), [Start("u1", "c-u1", again=True)], id="waited-enough"),
        pytest.param(wish(spec=ONCE), ended(0), DONE, None, [], id="once-ended"),
        pytest.param(wish(spec=ONCE), ended(0), None, None, [Adopt("u1", 5, 0)], id="once-ended-agent-forgot"),
        pytest.param(wish(spec=ONCE), ended(0), Done(4, 0), None, [Start("u1", "c-u1")], id="once-asked-again"),
        pytest.param(wish(spec=ONCE), None, DONE, None, [], id="once-cleaned-up"),
        pytest.param(wish(spec=policy("no")), ended(), DONE, None, [], id="policy-no"),
        pytest.param(wish(spec=policy("on-failure", 2)), ended(0), DONE, None, [], id="on-failure-success"),
        pytest.param(
            wish(spec=policy("on-failure", 2)),
            ended(1),
            DONE,
            Backoff(2, 0, crashes=True),
            [Start("u1", "c-u1", again=True)],
            id="on-failure-second",
        ),
        pytest.param(
            wish(spec=policy("on-failure", 2)), ended(1), DONE, Backoff(3, 0, crashes=True), [], id="on-failure-enough"
        ),
        pytest.param(wish(restart_token=2), box(), Done(5, 1), None, [Restart("u1", "c-u1", 10)], id="restart-asked"),
        pytest.param(wish(restart_token=2), box(), None, None, [Adopt("u1", 5, 2)], id="restart-forgotten-is-not-done"),
        pytest.param(wish(restart_token=2), ended(), Done(5, 1), None, [Start("u1", "c-u1")], id="restart-of-stopped"),
        pytest.param(wish(desired="stopped"), box(), DONE, None, [Stop("u1", "c-u1", 10)], id="stop"),
        pytest.param(wish(desired="stopped"), ended(), Done(4), None, [Adopt("u1", 5, 0)], id="stopped-already"),
        pytest.param(wish(desired="stopped"), None, Done(4), None, [Adopt("u1", 5, 0)], id="stopped-and-missing"),
        pytest.param(
            wish(desired="removed", stop_timeout=3),
            box(),
            DONE,
            None,
            [Remove("u1", "c-u1", 3, "removal was asked for")],
            id="remove",
        ),
        pytest.param(wish(desired="removed"), None, Done(4), None, [Adopt("u1", 5, 0)], id="removed-already"),
        pytest.param(
            wish(),
            box(state="removing"),
            DONE,
            None,
            [Wait("u1", 0, "Docker is removing the container")],
            id="docker-removes",
        ),
        pytest.param(
            wish(spec=LaunchConfig(image_uuid="docker:other")),
            box(),
            DONE,
            None,
            [],
            id="changed-spec-is-no-new-container",
        ),
    ],
)
def test_one_container(
    assignment: Assignment,
    container: Container | None,
    done: Done | None,
    backoff: Backoff | None,
    expected: list[Action],
) -> None:
    found = plan(
        {"u1": assignment},
        [container] if container else [],
        {"u1": done} if done else {},
        {"u1": backoff} if backoff else {},
        100.0,
    )
    assert found == expected


def test_what_is_not_assigned_goes_only_when_the_list_is_complete() -> None:
    containers = [box("u9"), Container(id="hand", state="running")]
    assert plan({}, containers, {}, {}, 0.0, complete=False) == []
    assert plan({}, containers, {}, {}, 0.0, complete=True) == [Remove("u9", "c-u9", 10, "no longer assigned here")]


def test_a_twin_is_removed_and_the_running_one_kept() -> None:
    containers = [box(identity="a", state="exited", created=1), box(identity="b", created=2)]
    found = plan({"u1": wish()}, containers, {"u1": DONE}, {}, 0.0)
    assert found == [Remove("u1", "a", 0, "a second container for the same instance")]


@pytest.mark.parametrize(
    ("assignment", "state", "done", "expected"),
    [
        pytest.param(wish("n", desired="stopped"), "running", None, [Stop("n", "hand", 10)], id="stop"),
        pytest.param(wish("n", desired="stopped"), "running", Done(5), [], id="started-by-hand-again"),
        pytest.param(wish("n"), "exited", None, [Start("n", "hand")], id="start"),
        pytest.param(wish("n"), "exited", Done(5), [], id="ended-again-is-its-owners-business"),
        pytest.param(wish("n", restart_token=1), "running", Done(4), [Restart("n", "hand", 10)], id="restart"),
        pytest.param(
            wish("n", desired="removed"), "running", None, [Remove("n", "hand", 10, "a user asked for it")], id="rm"
        ),
    ],
)
def test_a_native_container_gets_what_a_user_asked_for_once(
    assignment: Assignment, state: str, done: Done | None, expected: list[Action]
) -> None:
    assignment = msgspec.structs.replace(assignment, native=True, external_id="hand")
    native = Container(id="hand", state=state)
    assert plan({"n": assignment}, [native], {"n": done} if done else {}, {}, 0.0) == expected


def test_our_own_containers_are_never_touched() -> None:
    system = Container(id="hand", state="running", labels={labels.CONTAINER_SYSTEM: "true"})
    assignment = wish("n", desired="removed", native=True, external_id="hand")
    assert plan({"n": assignment}, [system], {"n": Done(5)}, {}, 0.0) == []
    assert plan({"n": assignment}, [system], {}, {}, 0.0) == [Adopt("n", 5, 0)]


def sidekick(**rest: object) -> Assignment:
    unit = {labels.DEPLOYMENT_UNIT: "unit", labels.LAUNCH_CONFIG: "helper"}
    return wish("u2", 6, spec=LaunchConfig(image_uuid="docker:busybox", labels=unit, **rest))  # type: ignore[arg-type]


def primary() -> Assignment:
    unit = {labels.DEPLOYMENT_UNIT: "unit", labels.LAUNCH_CONFIG: PRIMARY, labels.STACK_SERVICE_NAME: "stack/web"}
    return wish("u1", 5, spec=LaunchConfig(image_uuid="docker:busybox", labels=unit))


def test_volumes_of_a_companion_wait_until_it_exists() -> None:
    both = {"u1": primary(), "u2": sidekick(data_volumes_from_launch_configs=["web"])}
    create, wait = plan(both, [], {}, {}, 0.0)
    assert create == Create("u1", True)
    assert isinstance(wait, Wait)
    assert "Waits for u1" in wait.why
    [found] = [action for action in plan(both, [box("u1", "created")], {}, {}, 0.0) if action.uuid == "u2"]
    assert found == Create("u2", True, {"web": "c-u1"})


@pytest.mark.parametrize(
    "sharing", [{"network_mode": "container:u1"}, {"network_launch_config": PRIMARY}, {"pid_mode": "container:u1"}]
)
def test_a_shared_namespace_waits_until_its_owner_runs(sharing: dict[str, str]) -> None:
    both = {"u1": primary(), "u2": sidekick(**sharing)}
    [waiting] = [action for action in plan(both, [box("u1", "created")], {}, {}, 0.0) if action.uuid == "u2"]
    assert isinstance(waiting, Wait)
    [found] = [action for action in plan(both, [box("u1")], {}, {}, 0.0) if action.uuid == "u2"]
    assert isinstance(found, Create)
    assert set(found.companions.values()) == {"c-u1"}


def test_a_container_whose_network_is_gone_for_good_is_made_anew() -> None:
    both = {"u1": primary(), "u2": sidekick(network_mode="container:u1")}
    guest = box("u2", "exited", network="container:old")
    assert plan(both, [box("u1"), guest], {"u1": DONE, "u2": Done(6)}, {}, 0.0) == [
        Remove("u2", "c-u2", 0, "the container whose network it shared is gone")
    ]
    guest = box("u2", "exited", network="container:c-u1")
    assert plan(both, [box("u1"), guest], {"u1": DONE, "u2": Done(6)}, {}, 0.0) == [Start("u2", "c-u2", again=True)]


def test_pauses_double_up_to_a_minute_and_forget_after_a_stable_run() -> None:
    backoff, pauses = None, []
    for _ in range(8):
        backoff = planning.crashed(backoff, 0.0, ran=0.5)
        pauses.append(backoff.until)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert planning.crashed(backoff, 0.0, ran=planning.STABLE_SECONDS).until == 1
    assert planning.failed(backoff, 0.0, "x").failures == 1


# ---- properties ----------------------------------------------------------------------------------------------------------

UUIDS = ["u1", "u2", "u3"]
specs = st.sampled_from([SPEC, ONCE, policy("no"), policy("on-failure", 1), policy("always")])
wishes = st.builds(
    Assignment,
    seq=st.integers(1, 4),
    uuid=st.sampled_from(UUIDS),
    desired=st.sampled_from(["running", "stopped", "removed"]),
    spec=specs,
    restart_token=st.integers(0, 2),
)
boxes = st.builds(
    Container,
    id=st.sampled_from("abcdef"),
    uuid=st.sampled_from(["", *UUIDS]),
    state=st.sampled_from(["created", "running", "paused", "exited", "dead"]),
    exit_code=st.sampled_from([None, 0, 1]),
)
worlds = st.tuples(
    st.lists(wishes, unique_by=lambda wish: wish.uuid).map(lambda found: {wish.uuid: wish for wish in found}),
    st.lists(boxes, unique_by=lambda box: box.id).map(lambda found: {box.id: box for box in found}),
    st.dictionaries(st.sampled_from(UUIDS), st.builds(Done, seq=st.integers(0, 4), token=st.integers(0, 2))),
)
World = tuple[dict[str, Assignment], dict[str, Container], dict[str, Done]]


def carry_out(action: Action, world: World) -> None:
    """What the runtime does, on values."""
    assignments, containers, done = world
    wish = assignments.get(action.uuid)
    match action:
        case Create(uuid=uuid):
            containers[f"new-{uuid}"] = Container(id=f"new-{uuid}", uuid=uuid, state="running")
        case Start(container=found) | Restart(container=found):
            containers[found] = msgspec.structs.replace(containers[found], state="running")
        case Stop(container=found):
            containers[found] = msgspec.structs.replace(containers[found], state="exited", exit_code=143)
        case Remove(container=found):
            del containers[found]
            if wish is None or wish.desired != "removed":
                return
    if wish is not None:
        done[action.uuid] = Done(wish.seq, wish.restart_token)


@settings(max_examples=300, deadline=None)
@given(worlds)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(world: World) -> None:
    for _ in range(6):
        actions = plan(*_inputs(world))
        if not actions:
            break
        busy = set()
        for action in actions:
            if action.uuid not in busy:
                carry_out(action, world)
                busy.add(action.uuid)
    assert plan(*_inputs(world)) == []
    assignments, containers, _ = world
    for uuid, wish in assignments.items():
        mine = [found for found in containers.values() if found.uuid == uuid]
        assert len(mine) <= 1
        if wish.desired == "removed":
            assert not mine
        if wish.desired == "stopped":
            assert not any(found.running for found in mine)


@settings(max_examples=300, deadline=None)
@given(worlds)
def test_containers_of_people_are_in_no_plan(world: World) -> None:
    native = {found.id for found in world[1].values() if not found.uuid}
    for action in plan(*_inputs(world)):
        assert getattr(action, "container", "") not in native


def _inputs(world: World) -> tuple[dict[str, Assignment], list[Container], dict[str, Done], dict[str, Backoff], float]:
    assignments, containers, done = world
    return assignments, list(containers.values()), done, {}, 0.0

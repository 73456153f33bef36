"""Who observes whom, and what follows from what they see."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.fixtures import a_service, carried_out, facts_of, obeyed

from remuda.core.draft import Facts
from remuda.core.health import Seen, Watchers, calamity, choose, observers, verdict
from remuda.core.model import Instance
from remuda.core.network.scene import Scene, SceneContainer, SceneHost
from remuda.core.services import plan
from remuda.core.spec import HealthCheck

PASS, FAIL = True, False


def hosts(*numbers: int, connected: bool = True) -> list[SceneHost]:
    return [SceneHost(id=n, uuid=f"h{n}", ip=f"10.42.0.{n + 1}", connected=connected) for n in numbers]


def test_three_other_hosts_observe_a_container() -> None:
    found = choose("c", 1, hosts(1, 2, 3, 4, 5, 6))
    assert len(found) == 3
    assert 1 not in found


def test_alone_a_host_observes_its_own_containers() -> None:
    assert choose("c", 1, hosts(1)) == [1]
    assert choose("c", 1, [*hosts(1), *hosts(2, connected=False)]) == [1]
    assert choose("c", 1, hosts(1, 2)) == [2]


def test_a_command_is_run_where_the_container_is() -> None:
    scene = Scene(hosts={h.id: h for h in hosts(1, 2, 3)})
    check = HealthCheck(command=["true"])
    assert observers(scene, SceneContainer(id=1, uuid="c", host_id=2, health_check=check)) == [2]
    assert observers(scene, SceneContainer(id=1, uuid="c", host_id=2)) == []


@given(st.integers(4, 12), st.integers(1, 12))
def test_when_a_host_goes_only_its_checks_move(count: int, gone: int) -> None:
    everybody = hosts(*range(1, count + 1))
    for number in range(20):
        before = choose(f"c{number}", 1, everybody)
        after = choose(f"c{number}", 1, [h for h in everybody if h.id != gone or gone == 1])
        assert len(set(before) - set(after)) <= (gone in before)


def judged(
    before: str, seen: dict[int, bool], watching: set[int], *, restarted: bool = False, waited: float = 0.0
) -> str:
    sightings = [Seen(host, passing, "refused") for host, passing in seen.items()]
    return verdict(before, sightings, watching, restarted=restarted, waited=waited, limit=60.0).state


@pytest.mark.parametrize(
    ("before", "seen", "watching", "after"),
    [
        ("", {}, {2, 3}, "initializing"),
        ("initializing", {2: FAIL}, {2, 3}, "initializing"),
        ("initializing", {2: PASS, 3: FAIL}, {2, 3}, "healthy"),
        ("healthy", {2: FAIL, 3: PASS}, {2, 3}, "healthy"),
        ("healthy", {2: FAIL, 3: FAIL}, {2, 3}, "unhealthy"),
        ("healthy", {2: FAIL}, {2, 3}, "healthy"),  # the other one has not spoken yet
        ("healthy", {}, set(), "healthy"),  # nobody is there to see it
        ("unhealthy", {}, set(), "unhealthy"),
        ("unhealthy", {2: PASS, 3: FAIL}, {2, 3}, "healthy"),
        ("reinitializing", {2: FAIL, 3: FAIL}, {2, 3}, "reinitializing"),
    ],
)
def test_the_word_for_a_container(before: str, seen: dict[int, bool], watching: set[int], after: str) -> None:
    assert judged(before, seen, watching) == after


def test_a_restart_makes_a_healthy_container_prove_itself_again() -> None:
    assert judged("healthy", {}, {2}, restarted=True) == "reinitializing"
    assert judged("initializing", {}, {2}, restarted=True) == "initializing"
    assert judged("healthy", {2: PASS}, {2}, restarted=True) == "healthy"


def test_who_never_becomes_healthy_is_unhealthy_after_its_time() -> None:
    assert judged("initializing", {2: FAIL}, {2}, waited=59.0) == "initializing"
    assert judged("initializing", {2: FAIL}, {2}, waited=60.0) == "unhealthy"
    assert verdict("initializing", [], {2}, restarted=False, waited=1e9, limit=None).state == "initializing"


SAW = st.dictionaries(st.integers(1, 4), st.booleans(), max_size=4)
HISTORY = st.lists(st.tuples(SAW, st.sets(st.integers(1, 4)), st.booleans()), min_size=1)


def lived(history: list[tuple[dict[int, bool], set[int], bool]]) -> list[str]:
    """The word after each step; only what live observers see is handed in, as the servers do it."""
    state, words = "", []
    for seen, live, restarted in history:
        state = judged(state, {h: p for h, p in seen.items() if h in live}, live, restarted=restarted)
        words.append(state)
    return words


@given(HISTORY)
def test_no_history_in_which_a_live_observer_passes_ends_in_unhealthy(
    history: list[tuple[dict[int, bool], set[int], bool]],
) -> None:
    for (seen, live, _), word in zip(history, lived(history), strict=True):
        if any(passing for host, passing in seen.items() if host in live):
            assert word == "healthy"


@given(HISTORY)
def test_a_container_is_condemned_only_by_all_who_watch_and_only_after_it_was_healthy(
    history: list[tuple[dict[int, bool], set[int], bool]],
) -> None:
    before = ""
    for (seen, live, restarted), word in zip(history, lived(history), strict=True):
        if word == "unhealthy" != before:
            assert before == "healthy"
            assert not restarted
            assert live
            assert all(seen.get(host) is False for host in live)
        before = word


@given(st.sampled_from(["healthy", "unhealthy", "initializing", "reinitializing"]))
def test_observers_that_are_gone_say_nothing(before: str) -> None:
    assert judged(before, {}, set()) == before


def test_who_observes_is_worked_out_once_for_the_same_hosts() -> None:
    watchers = Watchers(hosts(1, 2, 3, 4, 5))
    assert watchers.of("c", 1) == choose("c", 1, hosts(1, 2, 3, 4, 5))
    assert watchers.of("c", 1) is watchers.of("c", 1)
    assert watchers.fits(hosts(5, 4, 3, 2, 1))
    assert not watchers.fits([*hosts(1, 2, 3, 4), *hosts(5, connected=False)])


@pytest.mark.parametrize(
    ("hosts_", "away", "checked", "ill", "places", "held"),
    [
        (3, 1, 6, 2, 1, False),
        (3, 2, 6, 0, 0, True),
        (1, 1, 2, 1, 1, False),  # alone, a host that is away holds nothing up that could be done
        (4, 0, 10, 6, 3, True),
        (4, 0, 10, 5, 3, False),
        (4, 0, 3, 3, 3, False),  # so few may well be at fault themselves
        (4, 0, 10, 9, 1, False),  # one bad host is not the network
    ],
)
def test_when_most_fails_at_once_it_is_not_the_containers(
    hosts_: int, away: int, checked: int, ill: int, places: int, held: bool
) -> None:
    assert bool(calamity(hosts_, away, checked, ill, places)) is held


# ---- what a service does about it ----------------------------------------------------------------------------------------


def sick(facts: Facts, count: int = 1, health: str = "unhealthy", held: float = 5.0) -> Facts:
    rows: list[Instance] = []
    for number, i in enumerate(facts.instances):
        rows.append(msgspec.structs.replace(i, health_state=health if number < count else "healthy"))
    return replace(facts, instances=rows, held_for={i.id: held for i in rows})


def running(check: HealthCheck, scale: int = 3) -> Facts:
    facts = facts_of(a_service(scale=scale, config={"health_check": check}))
    return obeyed(carried_out(facts, plan(facts)))


def test_an_unhealthy_container_is_made_anew() -> None:
    draft = plan(sick(running(HealthCheck(port=80))))
    assert len(draft.remove) == 1
    assert "unhealthy" in draft.remove[0][1]


def test_it_is_looked_at_for_one_interval_first() -> None:
    facts = running(HealthCheck(port=80, interval=3000))
    draft = plan(sick(facts, held=2.0))
    assert not draft.remove
    assert draft.wake_after == pytest.approx(1.0)
    assert plan(sick(facts, held=3.0)).remove


def test_in_a_calamity_nothing_is_made_anew_and_the_reason_is_told() -> None:
    facts = replace(sick(running(HealthCheck(port=80)), 2, held=60.0), calamity="9 of 10 fail at once")
    draft = plan(facts)
    assert not draft.remove
    assert "9 of 10 fail at once" in draft.because
    assert draft.wake_after is not None


def test_a_calamity_that_lasts_is_taken_for_the_truth_one_container_at_a_time() -> None:
    facts = replace(sick(running(HealthCheck(port=80)), 2, held=301.0), calamity="9 of 10 fail at once")
    draft = plan(facts)
    assert len(draft.remove) == 1
    after = carried_out(facts, draft)
    assert not plan(replace(after, held_for={draft.remove[0][0].id: 1.0, **dict.fromkeys((2, 3), 301.0)})).remove


@pytest.mark.parametrize(("well_for", "forgiven"), [(5.0, False), (121.0, True)])
def test_who_was_unhealthy_must_stay_well_before_that_is_forgotten(well_for: float, forgiven: bool) -> None:
    facts = sick(running(HealthCheck(port=80), scale=1), 0, held=well_for)
    service = msgspec.structs.replace(facts.service, data={"attempts": {"1": {"count": 2, "ill": True}}})
    attempts = plan(replace(facts, service=service)).service["data"].get("attempts", {})
    assert ("1" not in attempts) is forgiven


@given(st.lists(st.sampled_from(["healthy", "unhealthy", "initializing"]), min_size=3, max_size=3), st.floats(0, 900))
def test_one_that_is_healthy_is_never_taken_for_one_that_is_not(words: list[str], held: float) -> None:
    facts = running(HealthCheck(port=80))
    rows = [msgspec.structs.replace(i, health_state=w) for i, w in zip(facts.instances, words, strict=True)]
    draft = plan(replace(facts, instances=rows, held_for={i.id: held for i in rows}))
    assert {i.health_state for i, _ in draft.remove} <= {"unhealthy"}
    assert not draft.create or draft.remove


def test_a_check_that_only_watches_recreates_nothing() -> None:
    draft = plan(sick(running(HealthCheck(port=80, strategy="none"))))
    assert not draft.remove
    assert "only watches" in draft.because
    assert draft.service["data"]["settled"], "nothing is under way"


@pytest.mark.parametrize(("quorum", "removed"), [(2, 1), (3, 0)])
def test_with_a_quorum_the_last_healthy_ones_are_not_left_alone(quorum: int, removed: int) -> None:
    check = HealthCheck(port=80, strategy="recreateOnQuorum", recreate_on_quorum_strategy_config={"quorum": quorum})
    assert len(plan(sick(running(check))).remove) == removed


def test_a_replacement_that_is_unhealthy_too_waits_before_it_is_replaced() -> None:
    facts = running(HealthCheck(port=80), scale=1)
    again = sick(facts)
    service = msgspec.structs.replace(again.service, data={**again.service.data, "attempts": {"1": {"count": 1}}})
    draft = plan(replace(again, service=service))
    assert not draft.remove
    assert "after 15 seconds" in draft.because
    assert draft.wake_after is not None


def test_a_new_revision_goes_on_only_when_the_last_one_is_healthy() -> None:
    facts = running(HealthCheck(port=80), scale=2)
    facts = sick(facts, 0)
    service = msgspec.structs.replace(facts.service, revision=2)
    rows = [msgspec.structs.replace(i, revision=2 if n == 0 else 1) for n, i in enumerate(facts.instances)]

    def step(health: str) -> int:
        changed = [msgspec.structs.replace(i, health_state=health if i.revision == 2 else "healthy") for i in rows]
        return len(plan(replace(facts, service=service, instances=changed)).remove)

    assert step("initializing") == 0
    assert step("healthy") == 1


@pytest.mark.parametrize(
    ("ill", "word"), [(0, "healthy"), (1, "degraded"), (3, "unhealthy")]
)  # fmt: skip
def test_a_service_is_as_healthy_as_its_containers(ill: int, word: str) -> None:
    facts = running(HealthCheck(port=80, strategy="none"))
    service = msgspec.structs.replace(facts.service, data={"was_active": True}, health_state="x")
    facts = replace(facts, service=service)
    assert plan(sick(facts, ill)).service["health_state"] == word

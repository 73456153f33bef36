"""Slots and voters: whatever is interrupted wherever, one ensemble stays, with quorum, and ends up as it should."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.core.membership import (
    Change,
    Claim,
    Ensemble,
    Node,
    Rest,
    Stay,
    Voter,
    Watch,
    Write,
    bootstrap,
    check_invariants,
    majority,
    may_fail,
    may_stop,
    plan_ensemble,
    plan_slot,
    readdress,
    refound,
)


def nodes(*slots: int | None, beat: int = 1) -> list[Node]:
    return [Node(f"n{i}", slot, f"10.0.0.{i}", beat) for i, slot in enumerate(slots, 1)]


def watching(cluster: list[Node], silent: dict[str, float] | None = None) -> Watch:
    watch = Watch().look(cluster, 0.0)
    for now in range(2, 600, 2):
        moved = [
            Node(n.uuid, n.slot, n.address, n.beat if now <= (silent or {}).get(n.uuid, 0) else n.beat + now)
            for n in cluster
        ]
        watch = watch.look(moved, float(now))
        if silent and now >= max(silent.values()):
            break
    return watch


def test_majorities() -> None:
    assert [(majority(n), may_fail(n)) for n in (1, 2, 3, 4, 5)] == [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2)]


# ---------------------------------------------------------------- silence


def test_a_beat_that_moves_is_life_whatever_it_shows() -> None:
    watch = Watch().look([Node("a", 1, "x", 500)], 0.0)
    for i in range(1, 50):
        watch = watch.look([Node("a", 1, "x", 500 - i)], i * 2.0)
    assert watch.alive("a")
    assert watch.silent("a") == 0


def test_silence_adds_up_by_the_observers_seconds() -> None:
    watch = Watch()
    for i in range(20):
        watch = watch.look([Node("a", 1, "x", 7)], i * 2.0)
    assert watch.silent("a") == 38.0
    assert not watch.alive("a")


def test_an_observer_that_slept_does_not_accuse_others() -> None:
    watch = Watch().look([Node("a", 1, "x", 7)], 0.0)
    watch = watch.look([Node("a", 1, "x", 7)], 3600.0)
    assert watch.silent("a") <= 6.0


# ---------------------------------------------------------------- slots


def test_free_places_are_taken_lowest_first() -> None:
    cluster = nodes(None, 1, 3)
    assert plan_slot("n1", cluster, 3, watching(cluster), 60) == Claim(2, None, "place 2 of 3 is free")


def test_a_holder_stays() -> None:
    assert isinstance(plan_slot("n1", nodes(1, 2), 3, Watch(), 60), Stay)


def test_a_spare_waits_while_all_live() -> None:
    cluster = nodes(1, 2, 3, None)
    plan = plan_slot("n4", cluster, 3, watching(cluster), 60)
    assert isinstance(plan, Stay)
    assert "spare" in plan.because


def test_a_spare_takes_over_only_after_the_grace() -> None:
    cluster = nodes(1, 2, 3, None)
    early = plan_slot("n4", cluster, 3, watching(cluster, {"n2": 40}), 60)
    assert isinstance(early, Stay)
    assert "takes over soon" in early.because
    late = plan_slot("n4", cluster, 3, watching(cluster, {"n2": 64}), 60)
    assert isinstance(late, Claim)
    assert (late.slot, late.evict) == (2, "n2")


def test_an_operator_may_shorten_the_grace_but_not_evict_the_living() -> None:
    cluster = nodes(1, 2, 3, None)
    dead = plan_slot("n4", cluster, 3, watching(cluster, {"n2": 10}), 60, {"n2"})
    assert isinstance(dead, Claim)
    assert isinstance(plan_slot("n4", cluster, 3, watching(cluster), 60, {"n2"}), Stay)


# ---------------------------------------------------------------- the first ensemble


@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_first_ensemble_needs_everybody(size: int) -> None:
    cluster = nodes(*range(1, size + 1))
    made = bootstrap(cluster, size, watching(cluster), 0, 60)
    assert isinstance(made, Ensemble)
    assert len(made.voters) == size
    assert check_invariants(made, size) == []
    if size > 1:
        told = bootstrap(cluster[:-1], size, watching(cluster[:-1]), 0, 60)
        assert isinstance(told, str)
        assert "1 more node of" in told


def test_a_majority_starts_after_patience_and_a_minority_never() -> None:
    two = nodes(1, 2)
    assert isinstance(bootstrap(two, 3, watching(two), 61, 60), Ensemble)
    one = nodes(1)
    assert isinstance(bootstrap(one, 3, watching(one), 10_000, 60), str)


def test_dead_rows_of_an_earlier_try_do_not_vote() -> None:
    cluster = nodes(1, 2, 3)
    watch = watching(cluster, {"n3": 30})
    assert isinstance(bootstrap(cluster, 3, watch, 10, 60), str)
    made = bootstrap(cluster, 3, watch, 61, 60)
    assert isinstance(made, Ensemble)
    assert [voter.node for voter in made.voters] == ["n1", "n2"]


# ---------------------------------------------------------------- replacement, interrupted anywhere

START = Ensemble(tuple(Voter(i, f"n{i}", f"10.0.0.{i}") for i in (1, 2, 3)), None, 4)


class World:
    """A database row, an ensemble that runs, and servers that start when they are written down."""

    def __init__(self, row: Ensemble, cluster: list[Node], size: int, dead: set[str]) -> None:
        self.row, self.cluster, self.size, self.dead = row, cluster, size, dead
        self.running = {voter.id for voter in row.voters}

    def ready(self) -> set[int]:
        return {voter.id for voter in self.row.known if voter.node not in self.dead}

    def actual(self) -> set[int] | None:
        up = self.running & self.ready()
        return set(self.running) if len(up) >= majority(len(self.running)) else None

    def step(self, crash_after_change: bool = False) -> bool:
        plan = plan_ensemble(self.row, self.cluster, self.size, self.actual(), self.ready())
        if isinstance(plan, Rest):
            return False
        if isinstance(plan, Write):
            self.row = plan.ensemble
        elif isinstance(plan, Change):
            after = (self.running | ({plan.join.id} if plan.join else set())) - {plan.leave}
            assert len(after & self.ready()) >= majority(len(after)), "a change lost quorum"
            assert len(after ^ self.running) <= 2, "more than one server exchanged at once"
            self.running = after  # type: ignore[assignment]
        assert check_invariants(self.row, self.size) == []
        return True

    def settle(self) -> None:
        for _ in range(50):
            if not self.step():
                return
        raise AssertionError("it never comes to rest")


def replaced(dead: set[str], *joined: Node) -> World:
    """Nodes died and spares took their slots."""
    holders = [n for n in nodes(1, 2, 3) if n.uuid not in dead] + list(joined)
    holders += [Node(uuid, None, f"10.0.0.{uuid[1:]}") for uuid in dead]
    return World(START, holders, 3, dead)


def test_a_spare_replaces_a_dead_voter_under_a_new_number() -> None:
    world = replaced({"n2"}, Node("n4", 2, "10.0.0.4"))
    world.settle()
    assert world.running == {1, 3, 4}
    assert {voter.node for voter in world.row.voters} == {"n1", "n3", "n4"}
    assert world.row.joining is None
    assert world.row.next_id == 5


def prefixes() -> Iterator[tuple[int, World]]:
    for count in range(8):
        world = replaced({"n2"}, Node("n4", 2, "10.0.0.4"))
        for _ in range(count):
            world.step()
        yield count, world


def test_every_interrupted_prefix_goes_on_to_the_same_end() -> None:
    for _, world in prefixes():
        world.settle()
        assert world.running == {1, 3, 4}


def test_after_every_prefix_the_old_node_may_come_back_without_a_second_ensemble() -> None:
    for _, world in prefixes():
        world.dead.clear()
        world.settle()
        assert world.running == {1, 3, 4}


def test_after_every_prefix_the_new_node_may_die_and_be_replaced_itself() -> None:
    for count, world in prefixes():
        world.dead.add("n4")
        world.cluster = [n for n in world.cluster if n.uuid != "n4"] + [
            Node("n4", None, "10.0.0.4"),
            Node("n5", 2, "10.0.0.5"),
        ]
        world.settle()
        assert {voter.node for voter in world.row.voters} == {"n1", "n3", "n5"}, count
        assert len(world.running) == 3


def test_a_changed_address_is_a_replacement_of_oneself() -> None:
    cluster = [*nodes(1, 2), Node("n3", 3, "10.0.0.33")]
    world = World(START, cluster, 3, set())
    world.settle()
    assert world.running == {1, 2, 4}
    assert world.row.voters[-1] == Voter(4, "n3", "10.0.0.33")


def test_without_quorum_nothing_is_changed_and_the_reason_is_told() -> None:
    world = replaced({"n2", "n3"}, Node("n4", 2, "10.0.0.4"))
    world.settle()
    assert world.running == {1, 2, 3}
    plan = plan_ensemble(world.row, world.cluster, 3, world.actual(), world.ready())
    assert isinstance(plan, Rest)
    assert plan.state == "waiting"
    assert "2 of the 3 old voters" in plan.because


def test_a_joining_server_that_does_not_answer_is_waited_for() -> None:
    world = replaced({"n2"}, Node("n4", 2, "10.0.0.4"))
    world.dead.add("n4")
    world.settle()
    assert world.running == {1, 2, 3}
    assert world.row.joining is not None


def test_a_cluster_that_started_with_a_majority_grows_to_its_size() -> None:
    first = Ensemble(START.voters[:2], None, 3)
    world = World(first, nodes(1, 2, 3), 3, set())
    world.settle()
    assert world.running == {1, 2, 3}


def test_a_cluster_that_became_smaller_lets_servers_go_one_by_one() -> None:
    five = Ensemble(tuple(Voter(i, f"n{i}", f"10.0.0.{i}") for i in range(1, 6)), None, 6)
    world = World(five, nodes(1, 2, 3, None, None), 5, set())
    world.size = 3
    steps = 0
    while True:
        plan = plan_ensemble(world.row, world.cluster, 3, world.actual(), world.ready())
        if isinstance(plan, Rest):
            break
        steps += 1
        assert steps < 10
        if isinstance(plan, Write):
            world.row = plan.ensemble
        else:
            world.running = world.running - {plan.leave}  # type: ignore[operator]
    assert world.running == {1, 2, 3}
    assert check_invariants(world.row, 3) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["die", "back", "step", "move"]), st.integers(1, 7)), max_size=40))
def test_any_history_keeps_the_invariants(history: list[tuple[str, int]]) -> None:
    world = World(START, nodes(1, 2, 3, None, None, None, None), 3, set())
    fresh = itertools.count(50)
    for what, who in history:
        uuid = f"n{who}"
        if what == "die":
            world.dead.add(uuid)
        elif what == "back":
            world.dead.discard(uuid)
        elif what == "move":
            index = next(i for i, n in enumerate(world.cluster) if n.uuid == uuid)
            node = world.cluster[index]
            world.cluster[index] = Node(uuid, node.slot, f"10.0.1.{next(fresh)}")
        else:
            spare = next((n for n in world.cluster if n.slot is None and n.uuid not in world.dead), None)
            gone = next((n for n in world.cluster if n.slot is not None and n.uuid in world.dead), None)
            if spare and gone:
                slot = gone.slot
                world.cluster = [n for n in world.cluster if n not in (spare, gone)]
                world.cluster += [Node(spare.uuid, slot, spare.address), Node(gone.uuid, None, gone.address)]
            world.step()
        assert check_invariants(world.row, 3) == []
        assert len(world.running) == 3


# ---------------------------------------------------------------- the rest


def test_when_most_addresses_changed_the_same_servers_are_entered_anew() -> None:
    moved = [Node(n.uuid, n.slot, n.address.replace("10.0.0", "10.9.9")) for n in nodes(1, 2, 3)]
    made = readdress(START, moved, watching(moved))
    assert made is not None
    assert [voter.id for voter in made.voters] == [1, 2, 3]
    assert {voter.address for voter in made.voters} == {"10.9.9.1", "10.9.9.2", "10.9.9.3"}
    one = [*nodes(1, 2), moved[2]]
    assert readdress(START, one, watching(one)) is None


def test_when_most_voters_are_gone_for_good_those_who_took_their_places_begin_anew() -> None:
    cluster = [Node("n1", 1, "10.0.0.1"), Node("n4", 2, "10.0.0.4"), Node("n5", 3, "10.0.0.5")]
    gone = [Node("n2", None, "10.0.0.2"), Node("n3", None, "10.0.0.3")]
    made = refound(START, [*cluster, *gone], 3, watching([*cluster, *gone], {"n2": 90, "n3": 90}))
    assert made is not None
    assert {voter.node for voter in made.voters} == {"n1", "n4", "n5"}
    assert {voter.id for voter in made.voters} == {4, 5, 6}, "numbers are never used again"
    assert made.epoch == START.epoch + 1
    assert check_invariants(made, 3) == []
    assert refound(START, [*cluster, *gone], 3, watching([*cluster, *gone], {"n2": 90})) is None, "n3 lives"
    assert refound(START, [*cluster[:2], *gone], 3, watching(cluster[:2])) is None, "a place is free"
    one_gone = [*nodes(1, 2), Node("n4", 3, "10.0.0.4"), Node("n3", None, "10.0.0.3")]
    assert refound(START, one_gone, 3, watching(one_gone, {"n3": 90})) is None, "two of three can still agree"


def test_a_node_may_be_stopped_only_if_a_majority_stays() -> None:
    assert may_stop(START, "n1", {1, 2, 3}) == ""
    assert "2 are needed" in may_stop(START, "n1", {1, 2})

"""Which other hosts are asked, and what is said of them."""

from __future__ import annotations

import pytest

from remuda.core.network.reach import (
    DOUBTED_SECONDS,
    DOWN,
    SETTLED_SECONDS,
    SMALL,
    UP,
    Finding,
    Turns,
    complaint,
    judge,
    sentence,
)
from remuda.core.network.scene import SceneHost


def after(*checks: tuple[float | None, bool], start: Finding = Finding()) -> Finding:  # noqa: B008 - a value
    found = start
    for round_trip, full in checks:
        found = judge(found, round_trip, full)
    return found


GOOD, LOST, CUT = (0.001, True), (None, False), (0.001, False)


@pytest.mark.parametrize(
    ("checks", "state"),
    [
        ([], ""),
        ([GOOD], UP),
        ([LOST], ""),
        ([LOST] * 3, DOWN),
        ([GOOD, LOST, LOST], UP),
        ([GOOD, LOST, LOST, GOOD, LOST, LOST], UP),
        ([GOOD, LOST, LOST, LOST], DOWN),
        ([LOST, LOST, LOST, GOOD], UP),
        ([GOOD, CUT, CUT], UP),
        ([GOOD, CUT, CUT, CUT], SMALL),
        ([CUT, CUT, CUT, GOOD], UP),
        ([CUT, CUT, CUT, LOST, LOST], SMALL),
        ([LOST, LOST, LOST, CUT, CUT], DOWN),
        ([LOST, LOST, LOST, CUT, CUT, CUT], SMALL),
    ],
)
def test_a_state_changes_after_three_in_a_row(checks: list[tuple[float | None, bool]], state: str) -> None:
    assert after(*checks).state == state


def test_the_latency_that_is_told_is_steady() -> None:
    found = after((0.0010, True))
    assert found.latency_ms == 1.0
    assert after((0.0013, True), start=found).latency_ms == 1.0
    assert after((0.0040, True), start=found).latency_ms == 4.0
    assert after((0.0001, True), start=found).latency_ms == 0.1


def test_settled_hosts_are_asked_seldom_and_doubted_ones_soon() -> None:
    turns = Turns()
    turns.members([1, 2], 0.0)
    assert turns.next(0.0, 4) == [1, 2]
    assert turns.next(100.0, 4) == [], "those under way are not asked twice"
    turns.again(1, Finding(UP), 0.0)
    turns.again(2, Finding(UP, misses=1), 0.0)
    assert turns.next(DOUBTED_SECONDS, 4) == [2]
    assert turns.next(SETTLED_SECONDS, 4) == [1]


def test_many_hosts_take_their_turns_at_the_same_pace() -> None:
    turns, asked = Turns(), []
    turns.members(range(1, 101), 0.0)
    for second in range(50):
        for number in turns.next(float(second), 4):
            asked.append(number)
            turns.again(number, Finding(UP), float(second))
    assert len(asked) == 200
    assert sorted(asked[:100]) == list(range(1, 101)), "everybody once before anybody twice"


def test_hosts_come_and_go() -> None:
    turns = Turns()
    turns.members([1, 2, 3], 0.0)
    assert turns.next(0.0, 1) == [1]
    turns.members([3, 4], 1.0)
    turns.again(1, Finding(UP), 1.0)
    assert turns.next(99.0, 9) == [3, 4]


HOSTS = {n: SceneHost(id=n, name=f"h{n}", agent_ip=f"192.0.2.{n}", connected=n != 9) for n in (*range(1, 8), 9)}


def test_a_host_that_does_not_answer_is_named_with_what_to_do() -> None:
    assert complaint({1: Finding(UP)}, HOSTS, 1390, "plain") == ""
    said = complaint({2: Finding(DOWN, 1.0)}, HOSTS, 1390, "plain")
    assert (
        said
        == "h2 (192.0.2.2) does not answer over the managed network; let UDP 4789 pass between the hosts, both ways"
    )
    assert "UDP 500 and 4500" in sentence(Finding(DOWN), HOSTS[2], 1390, "ipsec")
    assert "packets of 1390 bytes do not reach h2" in sentence(Finding(SMALL), HOSTS[2], 1390, "ipsec")
    assert sentence(Finding(UP), HOSTS[2], 1390, "ipsec") == ""


def test_a_newcomer_has_some_time_before_it_is_named() -> None:
    never = after(*[LOST] * 3)
    assert never.state == DOWN
    assert complaint({2: never}, HOSTS, 1390, "plain") == ""
    assert "h2" in complaint({2: after(*[LOST] * 10)}, HOSTS, 1390, "plain")
    assert "h2" in complaint({2: after(GOOD, *[LOST] * 3)}, HOSTS, 1390, "plain")


def test_many_hosts_make_a_short_sentence() -> None:
    said = complaint({n: Finding(DOWN, 1.0) for n in range(1, 8)}, HOSTS, 1390, "plain")
    assert said.startswith("h1 (192.0.2.1), h2 (192.0.2.2), h3 (192.0.2.3) and 4 others do not answer")
    both = complaint({1: Finding(DOWN, 1.0), 2: Finding(SMALL), 3: Finding(SMALL)}, HOSTS, 1390, "plain")
    assert "h1" in both.split(";")[0]
    assert "do not reach h2 (192.0.2.2), h3 (192.0.2.3)" in both


def test_a_host_that_the_server_does_not_hear_either_is_no_news() -> None:
    assert complaint({9: Finding(DOWN, 1.0)}, HOSTS, 1390, "plain") == ""

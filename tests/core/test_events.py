"""Which events somebody asked for, and how often a row that keeps changing is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.core.events import Pace, Wanted, may_publish, wanted
from remuda.core.model import Change


def asked(*names: str) -> Wanted:
    found = wanted(names)
    assert isinstance(found, Wanted), found
    return found


@pytest.mark.parametrize(
    ("names", "event", "heard"),
    [
        (["resource.change"], "resource.change", True),
        (["resource.change;account=1a7"], "resource.change", True),
        (["service.*"], "service.kubernetes.change", True),
        (["service.*"], "services.x", False),
        (["*.change"], "resource.change", True),
        (["*"], "reply.1", True),
        (["service.kubernetes.change", "resource.change"], "service.kubernetes.change", True),
        (["resource.chang"], "resource.change", False),
        (["resource_change"], "resource.change", False),
        (["resource.*e"], "resource.change", True),
        (["ab*ba"], "aba", False),
        (["a*b*c"], "a.b.b.c", True),
        (["a*b*c"], "a.c.b", False),
    ],
)
def test_a_name_or_a_pattern_says_which_events_are_meant(names: list[str], event: str, heard: bool) -> None:
    assert asked(*names).match(event) is heard


@pytest.mark.parametrize("name", ["a b", "a/b", "", "é", "a\n", "a" * 257, "a,b"])
def test_names_of_other_characters_are_refused_with_a_sentence(name: str) -> None:
    assert isinstance(wanted([name]), str)


def test_nothing_asked_for_and_too_much_are_refused() -> None:
    assert "Say which" in str(wanted([]))
    assert "Say which" in str(wanted([";account=1a5"]))
    assert "At most" in str(wanted([f"a{n}" for n in range(101)]))


def test_a_pattern_of_many_stars_is_answered_at_once() -> None:
    assert not asked("*" * 200 + "x").match("a" * 256)
    assert not asked("a*" * 100 + "b").match("a" * 256)


def test_only_replies_and_news_of_services_may_be_said_by_anybody() -> None:
    assert may_publish("reply.1")
    assert may_publish("service.kubernetes.change;account=1a5")
    for name in ("resource.change", "ping", "logout", "service", "services.x", "xservice.a"):
        assert not may_publish(name), name


def change(seq: int, row: int = 1) -> Change:
    return Change(seq=seq, kind="service", record_id=row, account_id=5, version=1)


def told(pace: Pace, now: float) -> list[int]:
    return [one.seq for one in pace.due(now)]


def test_the_first_change_of_a_row_is_told_at_once_and_a_later_one_soon() -> None:
    pace = Pace(0)
    pace.take([change(1)], 10.0)
    assert told(pace, 10.0) == [1]
    pace.take([change(2), change(3)], 10.01)
    assert told(pace, 10.02) == []
    assert pace.wait(10.025) == pytest.approx(0.1)
    assert told(pace, 10.13) == [3]
    assert pace.wait(10.2) is None


def test_a_row_that_keeps_changing_is_told_about_once_a_second() -> None:
    pace, frames = Pace(0), []
    for step in range(1000):  # ten seconds
        now = step / 100
        pace.take([change(step + 1)], now)
        frames += [now for _ in pace.due(now)]
    assert 11 <= len(frames) <= 14
    assert [round(b - a, 1) for a, b in zip(frames[-4:], frames[-3:], strict=False)] == [1.0, 1.0, 1.0]


def test_a_row_that_was_quiet_is_told_at_once_again() -> None:
    pace = Pace(0)
    for step in range(300):
        pace.take([change(step + 1)], step / 100)
        pace.due(step / 100)
    pace.due(4.0)
    pace.take([change(301)], 6.0)
    assert told(pace, 6.0) == [301]


def test_other_rows_do_not_wait_for_a_busy_one() -> None:
    pace = Pace(0)
    pace.take([change(1, 1)], 0.0)
    pace.due(0.0)
    pace.take([change(2, 1), change(3, 2)], 0.01)
    assert told(pace, 0.01) == [3]
    assert pace.floor == 1  # who resumes must be told of row 1 again
    assert told(pace, 1.0) == [2]
    assert pace.floor == 3


STEPS = st.lists(st.tuples(st.lists(st.integers(1, 4), max_size=5), st.floats(0, 1.5)), max_size=40)


@given(STEPS)
def test_nobody_who_resumes_from_the_floor_misses_a_change(steps: list[tuple[list[int], float]]) -> None:
    pace, now, seq, floor = Pace(0), 0.0, 0, 0
    newest: dict[int, int] = {}
    known: dict[int, int] = {}
    for rows, passed in steps:
        now += passed
        fresh = []
        for row in rows:
            seq += 1
            newest[row] = seq
            fresh.append(change(seq, row))
        pace.take(fresh, now)
        for one in pace.due(now):
            known[one.record_id] = one.seq
        assert pace.floor >= floor
        floor = pace.floor
        assert all(known.get(row) == at for row, at in newest.items() if at <= floor)
    pace.due(now + 10)
    assert pace.floor == seq


@given(STEPS)
def test_every_row_is_told_of_its_newest_change_in_the_end(steps: list[tuple[list[int], float]]) -> None:
    pace, now, seq = Pace(0), 0.0, 0
    newest: dict[int, int] = {}
    known: dict[int, int] = {}
    for rows, passed in steps:
        now += passed
        for row in rows:
            seq += 1
            newest[row] = seq
            pace.take([change(seq, row)], now)
        known |= {one.record_id: one.seq for one in pace.due(now)}
    for _ in range(3):
        now += 2
        known |= {one.record_id: one.seq for one in pace.due(now)}
    assert known == newest
    assert pace.wait(now) is None

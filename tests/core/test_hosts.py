"""When a silent host counts as lost."""

from __future__ import annotations

import pytest

from remuda.core.hosts import REMOVAL_PATIENCE, judge, patience, removal_due
from remuda.core.model import REMOVED, Host


@pytest.mark.parametrize(("end", "seconds"), [("silence", 1.5), ("closed", 5.0), ("server", 8.0), ("", 8.0)])
def test_the_way_a_session_ended_says_how_long_to_hope(end: str, seconds: float) -> None:
    host = Host(connection="reconnecting", data={"session_end": end})
    assert patience(end) == seconds
    early = judge(host, seconds - 0.5, {"s1"})
    assert early.connection == "reconnecting"
    assert early.wake_after == pytest.approx(0.5)
    assert judge(host, seconds, {"s1"}).connection == "lost"


def test_a_session_counts_as_long_as_its_server_lives() -> None:
    host = Host(connection="connected", session_id="x", session_server="s1")
    assert judge(host, 1e9, {"s1"}) == ("connected", "", False, None)
    verdict = judge(host, 0, {"s2"})
    assert verdict.orphaned
    assert verdict.connection == "reconnecting"


def test_lost_stays_lost_until_a_session_comes() -> None:
    assert judge(Host(connection="lost"), 0.0, {"s1"}).connection == "lost"


@pytest.mark.parametrize(
    ("connection", "waited", "left", "due"),
    [
        ("connected", 0.0, 3, False),
        ("connected", 0.0, 0, True),
        ("connected", REMOVAL_PATIENCE, 3, True),
        ("lost", 0.0, 3, True),
        ("reconnecting", 0.0, 3, True),
    ],
)
def test_a_removed_host_is_closed_when_it_is_empty_or_out_of_reach(
    connection: str, waited: float, left: int, due: bool
) -> None:
    assert removal_due(Host(desired=REMOVED, connection=connection), waited, left) is due
    assert removal_due(Host(connection=connection), waited, left) is False

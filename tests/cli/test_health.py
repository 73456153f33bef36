"""``remuda health``: who sees what, in one table, with an exit code for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run

from remuda.cli.commands.health import age, rows_of
from remuda.cli.output import reason_of, state_of

CONTAINER = {
    "id": "1i1",
    "name": "shop-web-1",
    "healthState": "unhealthy",
    "healthBecause": "All 2 observers see it fail",
}
HOSTS = {"1h2": "berlin", "1h3": "athens"}


def observation(host: str, message: str) -> dict[str, object]:
    return {"hostId": host, "healthState": "failing", "latency": 3, "sinceTS": 940_000, "message": message}


def test_each_observer_has_a_line_of_its_own() -> None:
    seen = [observation("1h2", "connection refused"), observation("1h3", "HTTP/1.0 503 Busy")]
    rows = rows_of(CONTAINER, seen, HOSTS, 1000.0)
    assert [row[3:] for row in rows] == [
        ("athens", "failing", 3, "60s", "HTTP/1.0 503 Busy"),
        ("berlin", "failing", 3, "60s", "connection refused"),
    ]


def test_the_engines_own_check_is_an_observer_and_nobody_is_told_as_such() -> None:
    own = rows_of({**CONTAINER, "engine": {"Health": "healthy"}}, [], HOSTS, 0)
    assert [row[3:5] for row in own] == [("its engine", "healthy")]
    assert rows_of(CONTAINER, [], HOSTS, 0)[0][-1] == "All 2 observers see it fail"
    assert rows_of({"id": "1i2"}, [], HOSTS, 0)[0][2] == "not checked"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (200_000, "2d")]
)
def test_times_are_short(seconds: int, text: str) -> None:
    assert age(1, seconds + 0.001) == text


def test_lists_show_who_is_not_well_and_why() -> None:
    running = {**CONTAINER, "state": "running", "transitioning": "no"}
    assert state_of(running) == "running (unhealthy)"
    assert reason_of(running) == "All 2 observers see it fail"
    assert reason_of({**running, "healthState": "healthy"}) == ""


def test_containers_that_are_checked_are_listed_and_others_are_not(run: Run, home: Path) -> None:
    (home / "docker-compose.yml").write_text(
        "services:\n"
        "  checked:\n    image: nginx\n    health_check: {port: 80, initializing_timeout: null}\n"
        "  free:\n    image: nginx\n"
    )
    done = run("up", "--stack", "well", "-d")
    assert done.returncode == 0, done.stderr

    def listed() -> list[dict[str, object]]:
        return json.loads(run("health", "--format", "json").stdout)  # type: ignore[no-any-return]

    import time

    deadline = time.monotonic() + 30
    while not (found := listed()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [c["healthState"] for c in found] == ["initializing"]
    assert found[0]["observations"] == []
    table = run("health", "well")
    assert table.returncode == 0
    assert "Not healthy yet" in table.stdout
    assert "not checked" in table.stdout

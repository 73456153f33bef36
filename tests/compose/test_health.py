"""Health checks in compose files: Rancher's, and Docker's own; both ways."""

from __future__ import annotations

from typing import Any

import pytest

from remuda.compose import load
from remuda.compose.dump import dump
from remuda.core.spec import HealthCheck, LaunchConfig


def config(settings: str) -> LaunchConfig:
    project = load(f"services:\n  web: {{image: nginx, {settings}}}\n", "")
    assert project.valid, [str(p) for p in project.problems]
    return project.services[0].launch_config


def again(settings: str) -> tuple[LaunchConfig, LaunchConfig]:
    """What a file says, and what it says after it was written out and read in."""
    project = load(f"services:\n  web: {{image: nginx, {settings}}}\n", "")
    return project.services[0].launch_config, load(*dump(project.services)).services[0].launch_config


@pytest.mark.parametrize(
    ("written", "check"),
    [
        ("{port: 80}", HealthCheck(port=80)),
        ("{port: 80, request_line: GET /up HTTP/1.0}", HealthCheck(port=80, request_line="GET /up HTTP/1.0")),
        ("{port: 443, protocol: https}", HealthCheck(port=443, protocol="https")),
        ("{command: [pg_isready, -q]}", HealthCheck(command=["pg_isready", "-q"])),
        ("{port: 80, initializing_timeout: null}", HealthCheck(port=80, initializing_timeout=None)),
        ("{port: 80, strategy: recreateOnQuorum, recreate_on_quorum_strategy_config: {quorum: 2}}",
         HealthCheck(port=80, strategy="recreateOnQuorum", recreate_on_quorum_strategy_config={"quorum": 2})),
        ("{port: 80, interval: 5000, response_timeout: 1000, healthy_threshold: 3, unhealthy_threshold: 4}",
         HealthCheck(port=80, interval=5000, response_timeout=1000, healthy_threshold=3, unhealthy_threshold=4)),
    ],
)  # fmt: skip
def test_a_health_check_is_read_and_written(written: str, check: HealthCheck) -> None:
    first, second = again(f"health_check: {written}")
    assert first.health_check == second.health_check == check


@pytest.mark.parametrize(
    ("written", "fields"),
    [
        ("{test: curl -f localhost}", {"health_cmd": ["CMD-SHELL", "curl -f localhost"]}),
        ("{test: [CMD, curl, -f, localhost], interval: 1m30s, timeout: 10s, retries: 3, start_period: 40s}",
         {"health_cmd": ["CMD", "curl", "-f", "localhost"], "health_interval": 90, "health_timeout": 10, "health_retries": 3,
          "health_start_period": 40}),
        ("{disable: true}", {"health_cmd": ["NONE"]}),
        ("{interval: 500ms}", {"health_interval": 1}),
    ],
)  # fmt: skip
def test_dockers_own_healthcheck_goes_to_the_engine(written: str, fields: dict[str, Any]) -> None:
    for found in again(f"healthcheck: {written}"):
        assert {name: getattr(found, name) for name in fields} == fields
        assert found.health_check is None


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("health_check: {interval: 2000}", "needs a port, or a command"),
        ("health_check: {port: 70000}", "65535"),
        ("health_check: {port: 80, interval: 0}", "interval"),
        ("health_check: {port: 80, protocol: ftp}", "tcp, http or https"),
        ("health_check: {port: 80, intervall: 5}", "interval"),
        ("healthcheck: {test: [curl, localhost]}", "CMD"),
        ("healthcheck: {tests: x}", "test"),
        ("healthcheck: 5", "mapping"),
    ],
)
def test_what_cannot_be_checked_is_refused_with_the_reason(written: str, complaint: str) -> None:
    project = load(f"services:\n  web: {{image: nginx, {written}}}\n", "")
    assert not project.valid
    assert any(complaint in str(problem) for problem in project.problems)

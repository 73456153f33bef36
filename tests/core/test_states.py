"""What clients see is derived from what is wanted and what is so."""

from __future__ import annotations

import msgspec
import pytest

from remuda.core.model import Host, Instance, Service
from remuda.core.spec import LaunchConfig, RestartPolicy
from remuda.core.states import derive, settle

PLACED = Instance(host_id=1, assign_seq=3, applied_seq=3, external_id="d")


@pytest.mark.parametrize(
    ("changes", "state", "transitioning"),
    [
        ({"host_id": None}, "creating", "yes"),
        ({"host_id": None, "blocked": True, "because": "No host fits"}, "creating", "error"),
        ({"observed": "pulling"}, "creating", "yes"),
        ({"observed": "created"}, "starting", "yes"),
        ({"observed": "running"}, "running", "no"),
        ({"observed": "running", "assign_seq": 4}, "restarting", "yes"),
        ({"observed": "exited", "exit_code": 1}, "starting", "yes"),
        ({"observed": "error", "message": "no such image"}, "error", "error"),
        ({"observed": "running", "desired": "stopped"}, "stopping", "yes"),
        ({"observed": "exited", "desired": "stopped"}, "stopped", "no"),
        ({"observed": "running", "desired": "removed"}, "removing", "yes"),
        ({"observed": "running", "removed": 1}, "removed", "no"),
        ({"native": True, "observed": "running"}, "running", "no"),
        ({"native": True, "observed": "exited"}, "stopped", "no"),
    ],
)
def test_a_container(changes: dict[str, object], state: str, transitioning: str) -> None:
    view = derive(msgspec.structs.replace(PLACED, **changes))
    assert (view.state, view.transitioning) == (state, transitioning)


@pytest.mark.parametrize(
    ("policy", "code", "state"),
    [("no", 1, "stopped"), ("no", 0, "stopped"), ("on-failure", 0, "stopped"), ("on-failure", 1, "starting")],
)  # fmt: skip
def test_a_container_that_is_not_to_be_started_again_has_stopped(policy: str, code: int, state: str) -> None:
    spec = LaunchConfig(restart_policy=RestartPolicy(name=policy))
    assert derive(msgspec.structs.replace(PLACED, spec=spec, observed="exited", exit_code=code)).state == state


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"connection": "connected", "docker": "up"}, "active"),
        ({"connection": "connected", "docker": "up", "desired": "inactive"}, "inactive"),
        ({"connection": "connected", "docker": "down"}, "error"),
        ({"connection": "reconnecting"}, "reconnecting"),
        ({"connection": "lost"}, "disconnected"),
        ({"desired": "removed"}, "removing"),
    ],
)
def test_a_host(changes: dict[str, object], state: str) -> None:
    assert derive(msgspec.structs.replace(Host(), **changes)).state == state


@pytest.mark.parametrize(
    ("changes", "state", "transitioning"),
    [
        ({}, "activating", "yes"),
        ({"data": {"settled": True, "was_active": True}}, "active", "no"),
        ({"data": {"settled": False, "was_active": True}}, "updating-active", "yes"),
        ({"blocked": True, "because": "No host fits"}, "activating", "error"),
        ({"desired": "inactive", "current_scale": 1}, "deactivating", "yes"),
        ({"desired": "inactive"}, "inactive", "no"),
        ({"desired": "removed"}, "removing", "yes"),
    ],
)
def test_a_service(changes: dict[str, object], state: str, transitioning: str) -> None:
    view = derive(msgspec.structs.replace(Service(), **changes))
    assert (view.state, view.transitioning) == (state, transitioning)


def test_settling_twice_changes_nothing_more() -> None:
    once = settle(msgspec.structs.replace(PLACED, observed="running"))
    assert settle(once) is once


def test_a_service_that_is_being_started_does_not_say_that_it_is_stopped() -> None:
    off = Service(desired="inactive", because="Stopped")
    assert derive(msgspec.structs.replace(off, desired="active")).message == "Working toward its scale"

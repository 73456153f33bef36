"""Derive what clients see (``state``, ``transitioning``, ``transitioningMessage``) from what is wanted and what is so.

The words are those of the published 1.x state graphs. Nothing is stored as "in progress" by itself: a record whose wish
and observation differ *is* in transition, and stops being so when they agree.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import msgspec

from remuda.core import restarts, stackupgrades, upgrades
from remuda.core.model import (
    ACTIVE,
    INACTIVE,
    REMOVED,
    RUNNING,
    STOPPED,
    ExternalEvent,
    Host,
    Instance,
    PullTask,
    Record,
    Service,
    Stack,
    Volume,
)
from remuda.core.pulls import over, summary
from remuda.core.units import ended_well

PURGED = "purged"
"""In the data of a removed row: somebody asked that it be forgotten, which it is in time anyway."""
IS_OFF = "Stopped"
"""What a service says while it is off."""

R = TypeVar("R", bound=Record)


class View(NamedTuple):
    """The derived triple. ``transitioning``: ``no``, ``yes`` or ``error``."""

    state: str
    transitioning: str = "no"
    message: str = ""


def settle(record: R) -> R:
    """The record with its derived fields brought up to date; the store calls this on every write."""
    view = derive(record)
    if (record.state, record.transitioning, record.transitioning_message) == view:
        return record
    return msgspec.structs.replace(
        record, state=view.state, transitioning=view.transitioning, transitioning_message=view.message
    )


def derive(record: Record) -> View:
    """What clients are to see of this record."""
    if record.removed is not None:
        return View("purged" if record.data.get(PURGED) else "removed")
    if isinstance(record, Instance):
        return _native(record) if record.native else _instance(record)
    if isinstance(record, Service):
        return _service(record)
    if isinstance(record, Host):
        return _host(record)
    if isinstance(record, PullTask):
        return View(ACTIVE if over(record.hosts) else "activating", *summary(record.hosts))
    if isinstance(record, Volume):
        return _volume(record)
    if record.desired == REMOVED:
        return View("removing", "yes", "Being removed")
    if isinstance(record, Stack) and (state := stackupgrades.state(record))[0]:
        return View(state[0], "yes" if state[1] else "no", "Its services are on the way" if state[1] else "")
    if isinstance(record, ExternalEvent):
        return View("created")
    return View(INACTIVE if record.desired == INACTIVE else ACTIVE)


def _native(instance: Instance) -> View:
    if instance.applied_seq < instance.assign_seq:
        return _instance(instance)
    return View(RUNNING if instance.observed == "running" else STOPPED)


def _instance(instance: Instance) -> View:
    if instance.desired == REMOVED:
        return View("removing", "yes", instance.message or "Being removed from its host")
    if instance.desired == STOPPED:
        if instance.observed == "running":
            return View("stopping", "yes", instance.message or "Being stopped")
        return View(STOPPED)
    return _to_run(instance)


def _to_run(instance: Instance) -> View:
    if instance.host_id is None:
        return View("creating", "error" if instance.blocked else "yes", instance.because or "Waiting for a host")
    pending = instance.applied_seq < instance.assign_seq
    match instance.observed:
        case "running":
            if pending and instance.external_id:
                return View("restarting", "yes", instance.message or "Being restarted")
            return View(RUNNING, "no", instance.message)
        case "exited":
            if ended_well(instance) and not pending:
                return View(STOPPED)
            return View("starting", "yes", instance.message or _exit_sentence(instance))
        case "created":
            return View("starting", "yes", instance.message or "Being started")
        case "error":
            return View("error", "error", instance.message or "The host could not make this container")
        case "pulling":
            return View(_making(instance), "yes", instance.message or "Pulling the image")
        case _:
            return View(_making(instance), "yes", instance.message or "Sent to its host")


def _making(instance: Instance) -> str:
    """What ran before and is made once more is being started, as clients see it: nothing is created twice."""
    return "creating" if instance.started is None else "starting"


def _exit_sentence(instance: Instance) -> str:
    return "Starting again" if instance.exit_code is None else f"Exited with code {instance.exit_code}; starting again"


def _service(service: Service) -> View:
    if service.desired == REMOVED:
        return View("removing", "yes", service.because or "Its containers are being removed")
    if service.desired == INACTIVE:
        if service.current_scale > 0:
            return View("deactivating", "yes", service.because or "Its containers are being stopped")
        return View(INACTIVE)
    if service.blocked:
        return View(_busy(service), "error", service.because)
    stage = upgrades.stage(service)
    if service.data.get("settled") is True and not upgrades.handing(service):
        return View({upgrades.UPGRADING: "upgraded", upgrades.CANCELED: upgrades.CANCELED}.get(stage, ACTIVE))
    # what was said while it was off is not why it is not on yet
    because = service.because if service.because != IS_OFF else ""
    return View(_busy(service), "yes", because or "Working toward its scale")


def _busy(service: Service) -> str:
    stage = upgrades.stage(service)
    if stage:
        return "canceling-upgrade" if stage == upgrades.CANCELED else stage
    if restarts.wish(service) is not None:
        return "restarting"
    return "updating-active" if service.data.get("was_active") else "activating"


def _host(host: Host) -> View:
    if host.desired == REMOVED:
        return View("removing", "yes", "Being removed")
    if host.connection == "lost":
        return View("disconnected", "error", "The agent has not been heard of; the host counts as lost")
    if host.connection != "connected":
        return View("reconnecting", "yes", "Waiting for the agent to connect")
    if host.desired == INACTIVE:
        return View(INACTIVE)
    if host.docker == "down":
        return View("error", "error", host.docker_message or "The agent is there, but Docker does not answer")
    return View(ACTIVE)


def _volume(volume: Volume) -> View:
    if volume.desired == REMOVED:
        if volume.message:
            return View("removing", "error", volume.message)
        return View("removing", "yes", "Being removed from its host")
    if volume.seen == "present":
        return View(ACTIVE if volume.users else "detached", "no", volume.message)
    if volume.users or (volume.requested_host_id is not None and volume.assign_seq):
        if volume.seen == "error":
            return View("activating", "error", volume.message or "The host could not make this volume")
        return View("activating", "yes", volume.message or "Being made on its host")
    return View(INACTIVE)

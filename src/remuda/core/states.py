"""Derive what clients see (``state``, ``transitioning``, ``transitioningMessage``) from what is wanted and what is so.

The words are those of the published 1.x state graphs. Nothing is stored as "in progress" by itself: a record whose wish
and observation differ *is* in transition, and stops being so when they agree.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import msgspec

from remuda.core.model import (
    ACTIVE,
    INACTIVE,
    REMOVED,
    RUNNING,
    STOPPED,
    Host,
    Instance,
    Record,
    Service,
)
from remuda.core.units import ended_well

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
        return View("removed")
    if isinstance(record, Instance):
        return _native(record) if record.native else _instance(record)
    if isinstance(record, Service):
        return _service(record)
    if isinstance(record, Host):
        return _host(record)
    if record.desired == REMOVED:
        return View("removing", "yes", "Being removed")
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
            return View(RUNNING)
        case "exited":
            if ended_well(instance) and not pending:
                return View(STOPPED)
            return View("starting", "yes", instance.message or _exit_sentence(instance))
        case "created":
            return View("starting", "yes", instance.message or "Being started")
        case "error":
            return View("error", "error", instance.message or "The host could not make this container")
        case "pulling":
            return View("creating", "yes", instance.message or "Pulling the image")
        case _:
            return View("creating", "yes", instance.message or "Sent to its host")


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
    if service.data.get("settled") is True:
        return View(ACTIVE)
    return View(_busy(service), "yes", service.because or "Working toward its scale")


def _busy(service: Service) -> str:
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

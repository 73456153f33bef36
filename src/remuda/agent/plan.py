"""What to do on this host now: ``plan(assignments, containers, done, backoffs, now) -> actions``. Pure.

A container belongs to an assignment by its uuid label. It is never made anew because its launch configuration changed: a
changed service gets new instances from the control plane. It is made again only when it is missing, or cannot ever start
again because the container whose network it shared was made anew. What this agent made and
a complete list of assignments does not name is removed. Containers that somebody started by hand are left alone, except
where a user asked for one of them (``native`` assignments), and then exactly once per request.

The same inputs give the same plan, and a plan that was carried out leaves an empty one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from remuda.agent.observe import GONE_STATES, Container
from remuda.agent.translate import CONTAINER_MODE, needs, network_mode
from remuda.core import labels
from remuda.core.model import REMOVED, RUNNING
from remuda.core.spec import PRIMARY, LaunchConfig
from remuda.core.wire import Assignment

FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
STABLE_SECONDS = 10.0
"""A container that ran so long did not crash in a loop: its next restart waits the first delay again."""


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far an assignment was carried out: its number, its restart token, and how often its container was restarted."""

    seq: int = 0
    token: int = 0
    restarts: int = 0


class Backoff(msgspec.Struct, frozen=True):
    """How often in a row something failed for a uuid, when it may be tried again (monotonic), and Docker's words.

    ``crashes`` tells an ended container (True) from a failed call to Docker (False).
    """

    failures: int = 0
    until: float = 0.0
    message: str = ""
    crashes: bool = False


class Action(msgspec.Struct, frozen=True, tag_field="do"):
    """Something to do for one uuid."""

    uuid: str


class Create(Action, frozen=True):
    """Pull if need be, create, and start when ``start``. ``companions`` maps references of the spec to Docker ids."""

    start: bool
    companions: dict[str, str] = {}


class Start(Action, frozen=True):
    """Start an existing container. ``again`` = it had ended by itself (counts as a restart)."""

    container: str
    again: bool = False


class Stop(Action, frozen=True):
    """Stop it; ``timeout`` seconds of grace."""

    container: str
    timeout: int


class Restart(Action, frozen=True):
    """Stop and start, because a user asked (``token``)."""

    container: str
    timeout: int


class Remove(Action, frozen=True):
    """Stop with grace and remove, with nameless volumes. ``why`` is for the log."""

    container: str
    timeout: int
    why: str = ""


class Adopt(Action, frozen=True):
    """Docker is as the assignment says: remember that ``seq`` is carried out."""

    seq: int
    token: int


class Wait(Action, frozen=True):
    """Nothing now. ``until`` 0 = until something else changes."""

    until: float
    why: str


def ends(action: Action) -> bool:
    """Does this end a container that serves, with grace? What is removed by force does not serve any more."""
    return isinstance(action, Stop | Restart | Remove) and action.timeout > 0


def failed(before: Backoff | None, now: float, message: str) -> Backoff:
    """The backoff after a call to Docker failed."""
    failures = before.failures + 1 if before and not before.crashes else 1
    return Backoff(failures, now + delay(failures), message)


def crashed(before: Backoff | None, now: float, ran: float) -> Backoff:
    """The backoff after a container ended by itself, having run ``ran`` seconds."""
    in_a_row = before is not None and before.crashes and ran < STABLE_SECONDS
    failures = before.failures + 1 if before and in_a_row else 1
    return Backoff(failures, now + delay(failures), crashes=True)


def delay(failures: int) -> float:
    """The pause after so many failures in a row."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 16))


def plan(
    assignments: Mapping[str, Assignment],
    containers: Iterable[Container],
    done: Mapping[str, Done],
    backoffs: Mapping[str, Backoff],
    now: float,
    *,
    complete: bool = True,
    no_network: str = "",
    lacking: Mapping[str, str] | None = None,
) -> list[Action]:
    """The actions, at most one per container. ``complete`` = ``assignments`` are all there are.

    ``no_network``: why no container can be attached to the managed network now. ``lacking``: what containers wait for, by uuid.
    """
    listed = list(containers)
    owned: dict[str, list[Container]] = {}
    by_id = {container.id: container for container in listed}
    for container in listed:
        if container.uuid:
            owned.setdefault(container.uuid, []).append(container)
    actions: list[Action] = []
    companions = Companions(assignments, owned, no_network, lacking or {})
    for uuid, assignment in sorted(assignments.items(), key=lambda item: (item[1].seq, item[0])):
        known, backoff = done.get(uuid), backoffs.get(uuid)
        if assignment.native:
            action = _native(assignment, by_id.get(assignment.external_id), known, backoff, now)
        else:
            mine = sorted(owned.get(uuid, ()), key=_preference)
            actions += [Remove(uuid, twin.id, 0, "a second container for the same instance") for twin in mine[1:]]
            action = _managed(assignment, mine[0] if mine else None, known, backoff, now, companions)
        if action is not None:
            actions.append(action)
    if complete:
        for uuid, orphans in sorted(owned.items()):
            if uuid not in assignments:
                actions += [
                    waiting(orphan.uuid, backoffs.get(uuid), now)
                    or Remove(uuid, orphan.id, 10, "no longer assigned here")
                    for orphan in orphans
                    if orphan.state != "removing"
                ]
    return actions


def waiting(uuid: str, backoff: Backoff | None, now: float) -> Wait | None:
    """The wait that a backoff imposes, if it still does."""
    if backoff is None or backoff.until <= now:
        return None
    return Wait(uuid, backoff.until, backoff.message)


class Companions:
    """Finds the containers that another one shares volumes or namespaces with: by uuid, or by launch configuration name
    within its deployment unit."""

    def __init__(
        self,
        assignments: Mapping[str, Assignment],
        owned: Mapping[str, list[Container]],
        no_network: str = "",
        lacking: Mapping[str, str] | None = None,
    ) -> None:
        self.no_network = no_network
        self.lacking = lacking or {}
        self._owned = owned
        self._assigned = assignments
        self._units: dict[tuple[str, str], str] = {}
        for uuid, assignment in assignments.items():
            own = assignment.spec.labels
            unit = own.get(labels.DEPLOYMENT_UNIT, "")
            if not unit or assignment.desired == REMOVED:
                continue
            launch = own.get(labels.LAUNCH_CONFIG, PRIMARY)
            self._units[unit, launch] = uuid
            service = own.get(labels.STACK_SERVICE_NAME, "").rpartition("/")[2]
            if launch == PRIMARY and service:
                self._units.setdefault((unit, service), uuid)

    def resolve(self, spec: LaunchConfig) -> tuple[dict[str, str], str]:
        """Docker ids by reference, and what there is to wait for (empty = nothing)."""
        existing, running = needs(spec)
        unit = spec.labels.get(labels.DEPLOYMENT_UNIT, "")
        found: dict[str, str] = {}
        for reference in (*existing, *running):
            uuid = reference if reference in self._assigned else self._units.get((unit, reference), "")
            if not uuid:
                continue  # Docker's own name or id of a container: Docker will say if there is none
            container = next(iter(sorted(self._owned.get(uuid, ()), key=_preference)), None)
            name = self._assigned[uuid].name or uuid
            if container is None or container.state in GONE_STATES:
                return {}, f"Waits for {name}, which it shares something with"
            if reference in running and not container.running:
                return {}, f"Waits until {name} runs, whose network or namespace it shares"
            found[reference] = container.id
        return found, ""


def _preference(container: Container) -> tuple[bool, bool, int, str]:
    return (container.state in GONE_STATES, not container.running, container.created, container.id)


def _managed(
    wish: Assignment,
    container: Container | None,
    known: Done | None,
    backoff: Backoff | None,
    now: float,
    companions: Companions,
) -> Action | None:
    if container is not None and container.state == "removing":
        return Wait(wish.uuid, 0, "Docker is removing the container")
    if wish.desired == REMOVED:
        if container is None:
            return _adopt(wish, known)
        return waiting(wish.uuid, backoff, now) or Remove(
            wish.uuid, container.id, wish.stop_timeout, "removal was asked for"
        )
    if container is not None and container.state == "dead":
        return waiting(wish.uuid, backoff, now) or Remove(
            wish.uuid, container.id, 0, "Docker could not remove it fully"
        )
    if wish.desired != RUNNING:
        if container is not None and container.running:
            return waiting(wish.uuid, backoff, now) or Stop(wish.uuid, container.id, wish.stop_timeout)
        return _adopt(wish, known)
    if container is not None and container.running:
        # An agent that lost its memory takes the container as it is: a restart that nobody asked for would be worse.
        if known is not None and wish.restart_token > known.token:
            return waiting(wish.uuid, backoff, now) or Restart(wish.uuid, container.id, wish.stop_timeout)
        return _adopt(wish, known)
    if container is not None and container.ended and not _to_start(wish, container, known, backoff):
        return _adopt(wish, known)
    if container is None and wish.spec.start_once and known is not None and not _newer(wish, known):
        return None  # it ran to its end, then somebody cleaned up: running it a second time could do harm
    return waiting(wish.uuid, backoff, now) or _bring_up(wish, container, known, companions)


def _bring_up(wish: Assignment, container: Container | None, known: Done | None, companions: Companions) -> Action:
    found, missing = companions.resolve(wish.spec)
    missing = missing or companions.lacking.get(wish.uuid, "")
    if missing:
        return Wait(wish.uuid, 0, missing)
    if container is None:
        if companions.no_network and wish.managed_ip:
            return Wait(wish.uuid, 0, companions.no_network)
        return Create(wish.uuid, True, found)
    shared = container.network.startswith(CONTAINER_MODE) and network_mode(wish.spec, found)
    if found and shared and shared != container.network:
        return Remove(wish.uuid, container.id, 0, "the container whose network it shared is gone")
    return Start(wish.uuid, container.id, again=container.ended and not _newer(wish, known))


def _newer(wish: Assignment, known: Done | None) -> bool:
    return known is not None and (wish.seq > known.seq or wish.restart_token > known.token)


def _to_start(wish: Assignment, container: Container, known: Done | None, backoff: Backoff | None) -> bool:
    """Is a container that ended to run again? A newer assignment asks for it whatever the policy says."""
    if _newer(wish, known):
        return True
    if wish.spec.start_once:
        return False
    policy = wish.spec.restart_policy
    name = policy.name if policy else "always"
    if name == "no":
        return False
    if name == "on-failure" and policy is not None:
        attempts = backoff.failures if backoff and backoff.crashes else 0
        limit = policy.maximum_retry_count
        return bool(container.exit_code) and (limit <= 0 or attempts <= limit)
    return True


def _adopt(wish: Assignment, known: Done | None) -> Adopt | None:
    if known is not None and known.seq >= wish.seq and known.token >= wish.restart_token:
        return None
    return Adopt(wish.uuid, wish.seq, wish.restart_token)


def _native(
    wish: Assignment, container: Container | None, known: Done | None, backoff: Backoff | None, now: float
) -> Action | None:
    """A request about a container that is not ours is carried out once; what happens to it later is its owner's business."""
    if container is None or container.system or not (known is None or _newer(wish, known)):
        return _adopt(wish, known)
    act: Action | None = None
    if wish.desired == REMOVED:
        act = Remove(wish.uuid, container.id, wish.stop_timeout, "a user asked for it")
    elif wish.desired == RUNNING and not container.running:
        act = Start(wish.uuid, container.id)
    elif wish.desired == RUNNING and wish.restart_token > (known.token if known else 0):
        act = Restart(wish.uuid, container.id, wish.stop_timeout)
    elif wish.desired != RUNNING and container.running:
        act = Stop(wish.uuid, container.id, wish.stop_timeout)
    if act is None:
        return _adopt(wish, known)
    return waiting(wish.uuid, backoff, now) or act

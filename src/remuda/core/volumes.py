"""Named volumes: which names a container uses, where their data lies, and what follows from that. Pure.

A volume of the ``local`` driver lies on one host. One that somebody made here (``declared`` without a stack's template) binds
the containers that use it to that host, hard: nobody wants an empty database elsewhere. All other names only draw their
containers to where such a name lies, so that a scaled service spreads, each host with its own, and outlives a host.

Never decides to delete data by itself: only an order of the API, or a container's own label, does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from remuda.core.labels import VOLUME_CLEANUP
from remuda.core.model import REMOVED, Instance, Mount, Volume, VolumeTemplate
from remuda.core.spec import PRIMARY, LaunchConfig

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")
"""What Docker takes for a volume's name."""
NAMELESS = re.compile(r"[0-9a-f]{64}")
"""What Docker calls volumes that nobody named: they come and go with their container."""
RO, RW = "ro", "rw"


class Bind(NamedTuple):
    """``name:/path[:mode]`` of a launch configuration."""

    name: str
    path: str
    mode: str = ""

    @property
    def permissions(self) -> str:
        """May the container write?"""
        return RO if RO in self.mode.split(",") else RW


def bind_of(text: str) -> Bind | None:
    """The named volume in an entry of ``dataVolumes``; None for paths of the host and for nameless ones."""
    name, colon, rest = text.partition(":")
    if not colon or not NAME.fullmatch(name):
        return None
    path, _, mode = rest.partition(":")
    return Bind(name, path, mode)


def names_of(spec: LaunchConfig) -> list[str]:
    """The volumes that a container asks for by name."""
    return list(dict.fromkeys(bind.name for text in spec.data_volumes if (bind := bind_of(text))))


def uses(instance: Instance) -> dict[tuple[str, str], str]:
    """(volume, path) -> permissions: what a container asked for, and what its engine shows (``volumes_from`` included)."""
    found = {(bind.name, bind.path): bind.permissions for text in instance.spec.data_volumes if (bind := bind_of(text))}
    for mount in instance.engine.get("Mounts") or ():
        name = str(mount.get("Name") or "")
        if mount.get("Type") == "volume" and name and not NAMELESS.fullmatch(name):
            found[name, str(mount.get("Destination") or "")] = RO if mount.get("RW") is False else RW
    return found


# ---- templates -------------------------------------------------------------------------------------------------------


def resolved(spec: LaunchConfig, templates: Sequence[VolumeTemplate], owner: str) -> LaunchConfig:
    """A launch configuration with the names of its stack's templates replaced by those that the engine will know.

    ``owner`` names the container's place in its service: what is one per container carries it, so that the container that
    replaces another one finds the other's data.
    """
    if not templates or not spec.data_volumes:
        return spec
    by_name = {template.name: template for template in templates}
    by_name |= {template.external_id: template for template in templates}
    texts = []
    for text in spec.data_volumes:
        bind = bind_of(text)
        template = by_name.get(bind.name) if bind else None
        texts.append(text if template is None else f"{engine_name(template, owner)}:{text.partition(':')[2]}")
    return spec if texts == spec.data_volumes else msgspec.structs.replace(spec, data_volumes=texts)


def engine_name(template: VolumeTemplate, owner: str) -> str:
    """What the engine calls the volume of a template for this container."""
    return f"{template.external_id}_{owner}" if template.per_container else template.external_id


def owner_of(service: str, launch_name: str, ordinal: int) -> str:
    """A container's place in its service: ``web_1``, ``web_sidekick_1``."""
    return "_".join([service, *([launch_name] if launch_name != PRIMARY else []), str(ordinal)])


def template_of(name: str, templates: Iterable[VolumeTemplate]) -> VolumeTemplate | None:
    """The template that a volume of this name is made from."""
    for template in templates:
        own = template.per_container and name.startswith(f"{template.external_id}_")
        if own or (name == template.external_id and not template.per_container):
            return template
    return None


# ---- where data lies -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Holdings:
    """Where the local volumes of an environment lie.

    ``bound``: made here, name -> host. ``loose``: made here, not on a host yet. ``held``: all others, name -> hosts.
    """

    bound: Mapping[str, int] = field(default_factory=dict)
    loose: frozenset[str] = frozenset()
    held: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def settled(self, names: Iterable[str], host_id: int) -> Holdings:
        """After a container with these names was put on a host."""
        wanted = set(names)
        new = wanted & self.loose
        held = {name: self.held.get(name, frozenset()) | {host_id} for name in wanted & self.held.keys()}
        return replace(
            self,
            bound={**self.bound, **dict.fromkeys(new, host_id)},
            loose=self.loose - new,
            held={**self.held, **held},
        )


NOTHING = Holdings()


def holdings(volumes: Iterable[Volume]) -> Holdings:
    """Where the data lies, out of an environment's rows."""
    bound: dict[str, int] = {}
    loose: set[str] = set()
    held: dict[str, set[int]] = {}
    for volume in volumes:
        if not volume.local or volume.removed is not None or volume.desired == REMOVED:
            continue
        host_id = volume.host_id if volume.host_id is not None else volume.requested_host_id
        if binds(volume):
            if host_id is None:
                loose.add(volume.external_id)
            else:
                bound[volume.external_id] = host_id
        elif host_id is not None:
            held.setdefault(volume.external_id, set()).add(host_id)
    return Holdings(bound, frozenset(loose), {name: frozenset(hosts) for name, hosts in held.items()})


def binds(volume: Volume) -> bool:
    """Must a container that uses it go where it lies?"""
    return volume.declared and volume.local and volume.volume_template_id is None


# ---- what is to be done for one volume -------------------------------------------------------------------------------


class Step(NamedTuple):
    """``mount`` and ``unmount``: rows to add and to close; ``changes`` of the volume; ``order``: tell its host to remove it."""

    mount: tuple[Mount, ...] = ()
    unmount: tuple[Mount, ...] = ()
    changes: Mapping[str, Any] = {}
    order: bool = False
    because: str = ""

    @property
    def empty(self) -> bool:
        """Nothing to write."""
        return not (self.mount or self.unmount or self.changes or self.order)


def plan(
    volume: Volume, instances: Sequence[Instance], mounts: Sequence[Mount], *, host_there: bool, cleaned: bool = False
) -> Step:
    """What the containers of its host (of the environment, where all hosts share it) mean for a volume.

    ``mounts`` are its open ones; ``host_there`` tells whether its host still exists; ``cleaned``: a container that asked for its
    volumes to go with it used it last.
    """
    lost = volume.host_id is not None and volume.local and not host_there
    gone = volume.removed is not None or lost
    wanted: dict[tuple[int, str], str] = {}
    for instance in () if gone else users_of(volume, instances):
        for (name, path), permissions in uses(instance).items():
            if name == volume.external_id:
                wanted[instance.id, path] = permissions
    there = {(mount.instance_id, mount.path): mount for mount in mounts}
    add = [
        Mount(account_id=volume.account_id, kind="mount", instance_id=key[0], volume_id=volume.id, path=key[1],
              permissions=permissions)
        for key, permissions in wanted.items()
        if key not in there or there[key].permissions != permissions
    ]  # fmt: skip
    stale = [mount for key, mount in there.items() if wanted.get(key) != mount.permissions]
    changes: dict[str, Any] = {}
    users = len({instance_id for instance_id, _ in wanted})
    if users != volume.users:
        changes["users"] = users
    order, because = False, ""
    if volume.removed is None and lost:
        changes |= {"desired": REMOVED}
        because = f"Volume {volume.name} went with its host"
    elif volume.removed is None and cleaned and not users and volume.desired != REMOVED:
        order, because = True, f"Volume {volume.name} goes with the container that used it, as its label asks"
    return Step(tuple(add), tuple(stale), changes, order, because)


def users_of(volume: Volume, instances: Iterable[Instance]) -> list[Instance]:
    """The containers that use it: placed where it can be reached, and not closed."""
    return [
        i
        for i in instances
        if i.removed is None
        and i.host_id is not None
        and (not volume.local or i.host_id == volume.host_id)
        and any(name == volume.external_id for name, _ in uses(i))
    ]


def cleans_up(instance: Instance) -> bool:
    """Does a container ask that its named volumes go with it?"""
    return instance.spec.labels.get(VOLUME_CLEANUP, "").strip().lower() == "all"

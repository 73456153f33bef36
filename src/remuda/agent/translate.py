"""One assignment in Docker's words: the document for ``POST /containers/create`` and the container's name. Pure.

Restarting is the agent's work, not Docker's: every container is created with Docker's policy ``no``. A crashed container is
started again after 1, 2, 4 ... 60 s, without limit for ``always``, up to N times for ``on-failure:N``, not at all for ``no``; the
server sees each crash and can say why. After a reboot, or a restart of Docker, the agent starts what its last known
assignments want to run, in the order that shared networks and volumes need, which Docker itself would not know. So Docker
never starts a container that the server meanwhile placed on another host before the agent had a chance to hear of it.

It refuses port ranges and malformed values with a sentence; it never asks Docker anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from remuda.agent.network import attach
from remuda.agent.network.state import DOCKER_NETWORK
from remuda.agent.observe import AGENT_UUID
from remuda.agent.secrets import TARGET as SECRETS_TARGET
from remuda.core import labels
from remuda.core.balancing.haproxy import FOLDER as HAPROXY_FOLDER
from remuda.core.network.names import search_domains
from remuda.core.spec import LaunchConfig
from remuda.core.wire import Assignment

CONTAINER_MODE = "container:"
_PORT = re.compile(
    r"^(?:(?P<bind>\[[0-9a-fA-F:]+\]|\d+(?:\.\d+){3}):)?(?:(?P<public>\d*):)?(?P<private>\d+)(?:/(?P<proto>\w+))?$"
)
_encode = msgspec.json.Encoder(order="deterministic").encode

Document = dict[str, Any]


class Untranslatable(ValueError):  # noqa: N818 - a state of the wish
    """The launch configuration says something that Docker cannot do; the message is for the user."""


class Translation(NamedTuple):
    """What to send to Docker."""

    name: str
    document: Document


def translate(
    assignment: Assignment,
    containers: Mapping[str, str] | None = None,
    agent: str = "",
    folder: str = "",
    *,
    served: bool = True,
    secrets: str = "",
) -> Translation:
    """The create call for ``assignment``. ``containers`` maps uuids (and names) of its companions to Docker ids.

    ``folder`` is the agent's own on the host: load balancers find their configuration in it. Where no network service may run
    (not ``served``) nobody answers for names or publishes ports but Docker. ``secrets`` is the folder on the host with those
    of this container.
    """
    known = containers or {}
    spec = assignment.spec
    if not spec.image:
        raise Untranslatable("The launch configuration names no image (imageUuid)")
    exposed, bindings = _ports(spec)
    binds, volumes = _volumes(spec)
    if assignment.balancer and folder:
        binds = [*binds, f"{folder}/balancer/{assignment.uuid}:{HAPROXY_FOLDER}"]
    document: Document = {
        "Image": spec.image,
        "Labels": {**spec.labels, **_signature(assignment, agent)},
        "Env": [f"{key}={value}" for key, value in spec.environment.items()],
        "Tty": spec.tty,
        "OpenStdin": spec.stdin_open,
        "ExposedPorts": exposed,
        "Volumes": volumes,
        "HostConfig": _host_config(spec, bindings, binds, known),
    }
    if spec.secrets:
        document["HostConfig"]["Mounts"] = [_secrets(secrets)]
    hostname = _hostname(assignment)
    if assignment.managed_ip:
        document |= attach.endpoint(assignment.managed_ip, assignment.mac)
        document["HostConfig"] |= _managed(spec) if served else {"NetworkMode": DOCKER_NETWORK}
    elif (
        served
        and labels.truthy(spec.labels.get(labels.CONTAINER_DNS, ""))
        and document["HostConfig"]["NetworkMode"]
        in (
            "host",
            "bridge",
        )
    ):
        document["HostConfig"] |= _resolver(spec)
    optional = {
        "Cmd": spec.command,
        "Entrypoint": spec.entry_point,
        "Hostname": hostname,
        "Domainname": spec.domain_name,
        "User": spec.user,
        "WorkingDir": spec.working_dir,
        "StopSignal": spec.stop_signal,
        "StopTimeout": spec.stop_timeout,
        "Healthcheck": _healthcheck(spec),
    }
    document.update({key: value for key, value in optional.items() if value not in (None, "")})
    return Translation(container_name(assignment), document)


def _secrets(folder: str) -> Document:
    """A mount, unlike a bind, that Docker refuses when the folder is missing: no container starts without its secrets."""
    if not folder:
        raise Untranslatable("This agent cannot keep secrets")
    return {"Type": "bind", "Source": folder, "Target": SECRETS_TARGET, "ReadOnly": True}


def _healthcheck(spec: LaunchConfig) -> Document | None:
    """The engine's own health check; what is left out stays as the image has it."""
    second = 1_000_000_000
    values = {
        "Test": spec.health_cmd,
        "Interval": spec.health_interval and spec.health_interval * second,
        "Timeout": spec.health_timeout and spec.health_timeout * second,
        "StartPeriod": spec.health_start_period and spec.health_start_period * second,
        "Retries": spec.health_retries,
    }
    return {key: value for key, value in values.items() if value} or None


def _managed(spec: LaunchConfig) -> Document:
    """The host's side of a container of the managed network: its ports are published by us, its questions answered by us."""
    return {**_resolver(spec), "NetworkMode": DOCKER_NETWORK, "PortBindings": {}, "PublishAllPorts": False}


def _resolver(spec: LaunchConfig) -> Document:
    stack, service = spec.labels.get(labels.STACK_NAME, ""), spec.labels.get(labels.STACK_SERVICE_NAME, "")
    priority = spec.labels.get(labels.DNS_PRIORITY, "")
    primary = service.split("/")[1] if "/" in service else ""
    return attach.resolver(search_domains(stack, primary, spec.dns_search, priority))


def container_name(assignment: Assignment) -> str:
    """Docker's name: readable, and unique although a replacement may live beside what it replaces."""
    base = re.sub(r"[^a-zA-Z0-9_.-]+", "-", assignment.name).strip("-._") or "container"
    return f"{base[:200]}-{_short(assignment.uuid)}"


def spec_hash(spec: LaunchConfig) -> str:
    """A digest of the launch configuration that survives reordering of its maps."""
    return hashlib.sha256(_encode(spec)).hexdigest()[:16]


def parse_port(text: str) -> tuple[str, str, str]:
    """``[ip:][public:]private[/proto]`` as (``80/tcp``, host ip, host port); host port empty = not published."""
    match = _PORT.match(text.strip())
    if match is None:
        if re.search(r"\d-\d", text):
            raise Untranslatable(f"Port {text!r} is a range: list each port by itself, ranges are not supported")
        raise Untranslatable(f"Port {text!r} is not of the form [ip:][public:]private[/tcp|udp]")
    protocol = (match["proto"] or "tcp").lower()
    if protocol not in ("tcp", "udp", "sctp"):
        raise Untranslatable(f"Port {text!r}: {protocol!r} is no protocol that Docker publishes; use tcp or udp")
    for number in (match["private"], match["public"] or "1"):
        if not 0 < int(number) < 65536:
            raise Untranslatable(f"Port {text!r}: {number} is no port number (1 to 65535)")
    # "80" alone publishes 80 on a port that Docker picks, as a compose file's "80" does
    return f"{match['private']}/{protocol}", (match["bind"] or "").strip("[]"), match["public"] or ""


def needs(spec: LaunchConfig) -> tuple[list[str], list[str]]:
    """Which companions (by uuid or name) must exist, and which must run, before this one can be created."""
    running = []
    if spec.network_mode.startswith(CONTAINER_MODE):
        running.append(spec.network_mode.removeprefix(CONTAINER_MODE))
    elif spec.network_launch_config:
        running.append(spec.network_launch_config)
    modes = (spec.pid_mode, spec.ipc_mode)
    running += [mode.removeprefix(CONTAINER_MODE) for mode in modes if mode.startswith(CONTAINER_MODE)]
    existing = [name.split(":")[0] for name in (*spec.data_volumes_from, *spec.data_volumes_from_launch_configs)]
    return existing, running


def _short(uuid: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]", "", uuid)[:8] or "x"


def _signature(assignment: Assignment, agent: str) -> dict[str, str]:
    signature = {
        labels.CONTAINER_UUID: assignment.uuid,
        labels.CONTAINER_NAME: assignment.name,
        labels.ASSIGNED_SEQ: str(assignment.seq),
        labels.ASSIGNED_HASH: spec_hash(assignment.spec),
    }
    if agent:
        signature[AGENT_UUID] = agent
    return signature


def _hostname(assignment: Assignment) -> str:
    spec = assignment.spec
    if spec.network_mode == "host" or spec.network_mode.startswith(CONTAINER_MODE) or spec.network_launch_config:
        return ""
    if spec.labels.get(labels.HOSTNAME_OVERRIDE) == "container_name":
        return re.sub(r"[^a-zA-Z0-9-]+", "-", assignment.name).strip("-")[:63]
    return spec.hostname


def _ports(spec: LaunchConfig) -> tuple[Document, Document]:
    exposed: Document = {}
    bindings: dict[str, list[dict[str, str]]] = {}
    for text in spec.expose:
        exposed[parse_port(text)[0]] = {}
    for text in spec.ports:
        key, bind, public = parse_port(text)
        exposed[key] = {}
        bindings.setdefault(key, []).append({"HostIp": bind, "HostPort": public})
    return exposed, bindings


def _volumes(spec: LaunchConfig) -> tuple[list[str], Document]:
    binds, anonymous = [], {}
    for text in spec.data_volumes:
        if ":" in text:
            binds.append(text)
        elif text.startswith("/"):
            anonymous[text] = dict[str, Any]()
        else:
            raise Untranslatable(f"Volume {text!r} is neither a path in the container nor source:/path[:mode]")
    return binds, anonymous


def _companion(reference: str, known: Mapping[str, str]) -> str:
    return known.get(reference, reference)


def _namespace(mode: str, known: Mapping[str, str]) -> str:
    if mode.startswith(CONTAINER_MODE):
        return CONTAINER_MODE + _companion(mode.removeprefix(CONTAINER_MODE), known)
    return mode


def network_mode(spec: LaunchConfig, known: Mapping[str, str]) -> str:
    """Docker's network mode; without an address of the managed network such a container gets the engine's own bridge."""
    if spec.network_mode.startswith(CONTAINER_MODE):
        return _namespace(spec.network_mode, known)
    if spec.network_launch_config:
        return CONTAINER_MODE + _companion(spec.network_launch_config, known)
    return "bridge" if spec.network_mode in ("", "managed", "default") else spec.network_mode


def _host_config(spec: LaunchConfig, bindings: Document, binds: list[str], known: Mapping[str, str]) -> Document:
    volumes_from = []
    for text in (*spec.data_volumes_from, *spec.data_volumes_from_launch_configs):
        name, colon, mode = text.partition(":")
        volumes_from.append(_companion(name, known) + colon + mode)
    document: Document = {
        "RestartPolicy": {"Name": "no"},
        "NetworkMode": network_mode(spec, known),
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only,
        "PublishAllPorts": spec.publish_all_ports,
    }
    optional: Document = {
        "PortBindings": bindings,
        "Binds": binds,
        "VolumesFrom": volumes_from,
        "VolumeDriver": spec.volume_driver,
        "CapAdd": spec.cap_add,
        "CapDrop": spec.cap_drop,
        "Devices": [_device(text) for text in spec.devices],
        "Dns": spec.dns,
        "DnsSearch": spec.dns_search,
        "DnsOptions": spec.dns_opt,
        "ExtraHosts": spec.extra_hosts,
        "SecurityOpt": spec.security_opt,
        "GroupAdd": spec.group_add,
        "Ulimits": [_ulimit(wish) for wish in spec.ulimits],
        "Sysctls": spec.sysctls,
        "Tmpfs": spec.tmpfs,
        "PidMode": _namespace(spec.pid_mode, known),
        "IpcMode": _namespace(spec.ipc_mode, known),
        "UTSMode": spec.uts,
        "UsernsMode": spec.userns_mode,
        "StorageOpt": spec.storage_opt,
        "CgroupParent": spec.cgroup_parent,
        "Init": spec.run_init or None,
        "OomKillDisable": spec.oom_kill_disable or None,
        "LogConfig": _log_config(spec),
        **_resources(spec),
        **_disks(spec),
    }
    document.update({key: value for key, value in optional.items() if value not in (None, "", [], {})})
    return document


def _resources(spec: LaunchConfig) -> Document:
    period, quota = spec.cpu_period, spec.cpu_quota
    return {
        "CpuShares": spec.cpu_shares,
        "CpusetCpus": spec.cpu_set,
        "CpusetMems": spec.cpu_set_mems,
        "CpuRealtimePeriod": spec.cpu_realtime_period,
        "CpuRealtimeRuntime": spec.cpu_realtime_runtime,
        "CpuPeriod": period,
        "CpuQuota": quota,
        "Memory": spec.memory,
        "MemorySwap": spec.memory_swap,
        "KernelMemory": spec.kernel_memory,
        "MemoryReservation": spec.memory_reservation,
        "MemorySwappiness": spec.memory_swappiness,
        "OomScoreAdj": spec.oom_score_adj,
        "PidsLimit": spec.pids_limit,
        "ShmSize": spec.shm_size,
    }


_DISK_LIMITS = {
    "readBps": "BlkioDeviceReadBps", "writeBps": "BlkioDeviceWriteBps",
    "readIops": "BlkioDeviceReadIOps", "writeIops": "BlkioDeviceWriteIOps",
}  # fmt: skip


def _disks(spec: LaunchConfig) -> Document:
    """Shares and limits of disks, which Docker wants by limit and we have by device."""
    devices = sorted(spec.blkio_device_options.items())
    found: Document = {
        "BlkioWeight": spec.blkio_weight,
        "BlkioWeightDevice": [{"Path": path, "Weight": of["weight"]} for path, of in devices if of.get("weight")],
    }
    for ours, theirs in _DISK_LIMITS.items():
        found[theirs] = [{"Path": path, "Rate": of[ours]} for path, of in devices if of.get(ours)]
    return found


def _log_config(spec: LaunchConfig) -> Document | None:
    if spec.log_config is None or not (spec.log_config.driver or spec.log_config.config):
        return None
    return {"Type": spec.log_config.driver or "json-file", "Config": spec.log_config.config}


def _device(text: str) -> Document:
    parts = text.split(":")
    if not parts[0].startswith("/") or len(parts) > 3:
        raise Untranslatable(f"Device {text!r} is not of the form /dev/on-host[:/dev/in-container[:rwm]]")
    inside = parts[1] if len(parts) > 1 and parts[1] else parts[0]
    return {
        "PathOnHost": parts[0],
        "PathInContainer": inside,
        "CgroupPermissions": parts[2] if len(parts) > 2 else "rwm",
    }


def _ulimit(wish: Mapping[str, Any]) -> Document:
    lowered = {key.lower(): value for key, value in wish.items()}
    try:
        soft = int(lowered.get("soft", lowered.get("hard", "")))
        return {"Name": str(lowered["name"]), "Soft": soft, "Hard": int(lowered.get("hard", soft))}
    except (KeyError, TypeError, ValueError) as error:
        raise Untranslatable(f"Ulimit {dict(wish)!r} needs a name and the numbers soft and hard") from error

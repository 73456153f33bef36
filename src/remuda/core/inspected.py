"""A container as ``docker inspect`` tells it, as a launch configuration. Pure.

What Docker says that a launch configuration has no word for is left out; what is no such document at all is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from remuda.core.spec import LaunchConfig, LogConfig, RestartPolicy

_SECOND = 1_000_000_000
_CONFIG = {
    "Hostname": "hostname", "Domainname": "domain_name", "User": "user", "WorkingDir": "working_dir", "Tty": "tty",
    "OpenStdin": "stdin_open", "Cmd": "command", "Entrypoint": "entry_point", "Labels": "labels", "StopSignal": "stop_signal",
}  # fmt: skip
_HOST = {
    "Privileged": "privileged", "PublishAllPorts": "publish_all_ports", "ReadonlyRootfs": "read_only", "CapAdd": "cap_add",
    "CapDrop": "cap_drop", "Dns": "dns", "DnsSearch": "dns_search", "ExtraHosts": "extra_hosts", "SecurityOpt": "security_opt",
    "GroupAdd": "group_add", "Tmpfs": "tmpfs", "Sysctls": "sysctls", "VolumesFrom": "data_volumes_from",
    "VolumeDriver": "volume_driver", "PidMode": "pid_mode", "IpcMode": "ipc_mode", "UTSMode": "uts",
    "CgroupParent": "cgroup_parent", "OomKillDisable": "oom_kill_disable", "OomScoreAdj": "oom_score_adj", "Init": "run_init",
    "DnsOptions": "dns_opt", "StorageOpt": "storage_opt", "UsernsMode": "userns_mode", "CpusetMems": "cpu_set_mems",
    "CpuRealtimePeriod": "cpu_realtime_period", "CpuRealtimeRuntime": "cpu_realtime_runtime", "BlkioWeight": "blkio_weight",
    "KernelMemory": "kernel_memory", "CpuShares": "cpu_shares", "CpusetCpus": "cpu_set", "CpuPeriod": "cpu_period",
    "CpuQuota": "cpu_quota", "Memory": "memory", "MemorySwap": "memory_swap", "MemoryReservation": "memory_reservation",
    "PidsLimit": "pids_limit", "ShmSize": "shm_size",
}  # fmt: skip


_DISKS = {
    "BlkioWeightDevice": ("weight", "Weight"),
    "BlkioDeviceReadBps": ("readBps", "Rate"), "BlkioDeviceWriteBps": ("writeBps", "Rate"),
    "BlkioDeviceReadIOps": ("readIops", "Rate"), "BlkioDeviceWriteIOps": ("writeIops", "Rate"),
}  # fmt: skip


def launch_config(document: Mapping[str, Any]) -> LaunchConfig:
    """The launch configuration that would make such a container. Raises ValueError with what is wrong."""
    config, host = _part(document, "Config"), _part(document, "HostConfig")
    if not config:
        raise ValueError("'Config' is required: send a container as docker inspect shows it")
    values: dict[str, Any] = {ours: config[theirs] for theirs, ours in _CONFIG.items() if config.get(theirs)}
    values |= {ours: host[theirs] for theirs, ours in _HOST.items() if host.get(theirs)}
    for name in ("command", "entry_point"):
        if isinstance(values.get(name), str):
            values[name] = [values[name]]
    return LaunchConfig(
        **values,
        image_uuid=f"docker:{config['Image']}" if config.get("Image") else "",
        name=str(document.get("Name") or "").lstrip("/"),
        environment=dict(_pair(text) for text in config.get("Env") or ()),
        ports=list(_ports(host.get("PortBindings") or {})),
        expose=sorted(set(config.get("ExposedPorts") or {}) - set(host.get("PortBindings") or {})),
        data_volumes=_volumes(config.get("Volumes") or {}, host.get("Binds") or []),
        devices=[
            f"{d.get('PathOnHost')}:{d.get('PathInContainer')}:{d.get('CgroupPermissions') or 'rwm'}"
            for d in host.get("Devices") or ()
        ],
        ulimits=[
            {"name": u.get("Name"), "soft": u.get("Soft"), "hard": u.get("Hard")} for u in host.get("Ulimits") or ()
        ],
        blkio_device_options=_disks(host),
        network_mode=_network(str(host.get("NetworkMode") or "")),
        restart_policy=_restart(_part(host, "RestartPolicy")),
        log_config=_log(_part(host, "LogConfig")),
        **_check(_part(config, "Healthcheck")),
    )


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = document.get(name) or {}
    if not isinstance(part, Mapping):
        raise ValueError(f"'{name}' must be an object")
    return part


def _pair(text: object) -> tuple[str, str]:
    name, _, value = str(text).partition("=")
    return name, value


def _ports(bindings: Mapping[str, Any]) -> Iterable[str]:
    for private, wished in bindings.items():
        for wish in wished or [{}]:
            parts = [part for part in (wish.get("HostIp"), wish.get("HostPort")) if part]
            if wish.get("HostIp") and not wish.get("HostPort"):
                parts.append("")
            yield ":".join([*parts, str(private)])


def _volumes(volumes: Mapping[str, Any], binds: Iterable[str]) -> list[str]:
    inside = {bind.split(":")[1] for bind in binds if ":" in bind}
    return [*binds, *(path for path in volumes if path not in inside)]


def _disks(host: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Limits of disks by device; Docker has them by limit."""
    found: dict[str, dict[str, int]] = {}
    for theirs, (ours, amount) in _DISKS.items():
        for entry in host.get(theirs) or ():
            found.setdefault(str(entry.get("Path")), {})[ours] = int(entry.get(amount) or 0)
    return found


def _network(mode: str) -> str:
    if mode in ("host", "none") or mode.startswith("container:"):
        return mode
    return "managed"


def _restart(policy: Mapping[str, Any]) -> RestartPolicy | None:
    name = str(policy.get("Name") or "")
    return RestartPolicy(name, int(policy.get("MaximumRetryCount") or 0)) if name else None


def _log(log: Mapping[str, Any]) -> LogConfig:
    return LogConfig(str(log.get("Type") or ""), {str(k): str(v) for k, v in (log.get("Config") or {}).items()})


def _check(check: Mapping[str, Any]) -> dict[str, Any]:
    seconds = {"Interval": "health_interval", "Timeout": "health_timeout", "StartPeriod": "health_start_period"}
    found: dict[str, Any] = {
        ours: int(check[theirs]) // _SECOND for theirs, ours in seconds.items() if check.get(theirs)
    }
    if check.get("Test"):
        found["health_cmd"] = list(check["Test"])
    if check.get("Retries"):
        found["health_retries"] = int(check["Retries"])
    return found

"""Services back to compose files: a docker-compose.yml (version 2) and the rancher-compose.yml that belongs to it.

What :func:`remuda.compose.load` reads from the result equals what was written (a test holds this). ``$`` is doubled.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

from remuda.compose.model import ServiceSpec
from remuda.core.spec import HealthCheck, LaunchConfig, RestartPolicy

RANCHER_KEYS = {
    "scale", "health_check", "metadata", "upgrade_strategy", "lb_config", "load_balancer_config", "certs", "default_cert",
    "external_ips", "retain_ip", "scale_policy", "start_on_create", "storage_driver", "network_driver", "on_host_lost",
    "milli_cpu_reservation", "drain_timeout_ms", "labels", "service_schemas", "hostname",
}  # fmt: skip

_PLAIN = {
    "command": "command", "entry_point": "entrypoint", "ports": "ports", "expose": "expose", "data_volumes": "volumes",
    "volume_driver": "volume_driver", "labels": "labels", "hostname": "hostname", "domain_name": "domainname",
    "user": "user", "working_dir": "working_dir", "tty": "tty", "stdin_open": "stdin_open", "privileged": "privileged",
    "read_only": "read_only", "cap_add": "cap_add", "cap_drop": "cap_drop", "devices": "devices", "dns": "dns",
    "dns_search": "dns_search", "extra_hosts": "extra_hosts", "security_opt": "security_opt", "cpu_shares": "cpu_shares",
    "cpu_set": "cpuset", "cpu_period": "cpu_period", "cpu_quota": "cpu_quota", "memory": "mem_limit",
    "memory_swap": "memswap_limit", "memory_reservation": "mem_reservation", "memory_swappiness": "mem_swappiness",
    "oom_kill_disable": "oom_kill_disable", "oom_score_adj": "oom_score_adj", "pids_limit": "pids_limit",
    "shm_size": "shm_size", "pid_mode": "pid", "ipc_mode": "ipc", "uts": "uts", "cgroup_parent": "cgroup_parent",
    "group_add": "group_add", "sysctls": "sysctls", "stop_signal": "stop_signal", "run_init": "init",
    "environment": "environment",
}  # fmt: skip


def dump(services: Iterable[ServiceSpec]) -> tuple[str, str]:
    """(docker-compose.yml, rancher-compose.yml)."""
    docker: dict[str, Any] = {}
    rancher: dict[str, Any] = {}
    for service in services:
        docker[service.name] = _launch(service.launch_config)
        rancher[service.name] = _rancher(service)
        _links(service, docker[service.name])
        for sidekick in service.sidekicks:
            docker[sidekick.name] = _launch(sidekick)
            extra = _launch_rancher(sidekick)
            if extra:
                rancher[sidekick.name] = extra
    return _text(docker), _text({name: settings for name, settings in rancher.items() if settings})


def _text(services: dict[str, Any]) -> str:
    document = {"version": "2", "services": _escape(services)}
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Shows repeated values in full: aliases in an exported file help nobody."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _escape(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_escape(child) for child in value]
    return value


def _launch(config: LaunchConfig) -> dict[str, Any]:
    found: dict[str, Any] = {"image": config.image} if config.image_uuid else {}
    defaults = LaunchConfig()
    for ours, theirs in _PLAIN.items():
        value = getattr(config, ours)
        if value != getattr(defaults, ours):
            found[theirs] = value
    if config.restart_policy is not None:
        found["restart"] = _restart(config.restart_policy)
    if config.log_config is not None:
        logging = {"driver": config.log_config.driver, "options": config.log_config.config}
        found["logging"] = {key: value for key, value in logging.items() if value}
    if config.ulimits:
        found["ulimits"] = {u["name"]: {"soft": u["soft"], "hard": u["hard"]} for u in config.ulimits}
    if config.tmpfs:
        found["tmpfs"] = [f"{path}:{options}" if options else path for path, options in config.tmpfs.items()]
    if config.stop_timeout is not None:
        found["stop_grace_period"] = f"{config.stop_timeout}s"
    sources = [*config.data_volumes_from_launch_configs, *(f"container:{c}" for c in config.data_volumes_from)]
    if sources:
        found["volumes_from"] = sources
    if config.network_launch_config:
        found["network_mode"] = f"service:{config.network_launch_config}"
    elif config.network_mode not in ("", "bridge", "managed", "container"):
        found["network_mode"] = config.network_mode
    return found


def _restart(policy: RestartPolicy) -> str:
    return f"{policy.name}:{policy.maximum_retry_count}" if policy.maximum_retry_count else policy.name


def _links(service: ServiceSpec, found: dict[str, Any]) -> None:
    for key, pairs in (("links", service.links), ("external_links", service.external_links)):
        if pairs:
            found[key] = [
                target if target.rpartition("/")[2] == alias else f"{target}:{alias}" for target, alias in pairs
            ]
    if service.depends_on:
        found["depends_on"] = list(service.depends_on)


def _rancher(service: ServiceSpec) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if service.scale is not None:
        found["scale"] = service.scale
    found.update(_launch_rancher(service.launch_config))
    if service.metadata:
        found["metadata"] = service.metadata
    if not service.start_on_create:
        found["start_on_create"] = False
    if service.retain_ip:
        found["retain_ip"] = True
    if service.on_host_lost is not None:
        found["on_host_lost"] = "never" if service.on_host_lost < 0 else f"{service.on_host_lost}s"
    if service.upgrade_strategy is not None:
        found["upgrade_strategy"] = msgspec.structs.asdict(service.upgrade_strategy)
    found.update(service.extra)
    return found


def _launch_rancher(config: LaunchConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if config.health_check is not None:
        found["health_check"] = _health(config.health_check)
    if config.milli_cpu_reservation is not None:
        found["milli_cpu_reservation"] = config.milli_cpu_reservation
    return found


def _health(check: HealthCheck) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(check).items() if value not in (None, "")}

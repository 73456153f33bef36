"""Services back to compose files: a docker-compose.yml (version 2) and the rancher-compose.yml that belongs to it.

What :func:`remuda.compose.load` reads from the result equals what was written (a test holds this). ``$`` is doubled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import yaml

from remuda.compose import blkio
from remuda.compose.model import ServiceSpec, VolumeSpec
from remuda.core.spec import HealthCheck, LaunchConfig, RestartPolicy, SecretReference

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
    "environment": "environment", "dns_opt": "dns_opt", "storage_opt": "storage_opt", "userns_mode": "userns_mode",
    "cpu_realtime_period": "cpu_rt_period", "cpu_realtime_runtime": "cpu_rt_runtime",
}  # fmt: skip


def dump(services: Iterable[ServiceSpec], volumes: Sequence[VolumeSpec] = (), stack: str = "") -> tuple[str, str]:
    """(docker-compose.yml, rancher-compose.yml). ``volumes`` that carry the name of the ``stack`` are written without it."""
    docker: dict[str, Any] = {}
    rancher: dict[str, Any] = {}
    specs = list(services)
    for service in specs:
        docker[service.name] = _launch(service.launch_config)
        rancher[service.name] = _rancher(service)
        _links(service, docker[service.name])
        for sidekick in service.sidekicks:
            docker[sidekick.name] = _launch(sidekick)
            extra = _launch_rancher(sidekick)
            if extra:
                rancher[sidekick.name] = extra
    own = {volume.docker_name: volume.name for volume in volumes}
    for config in docker.values():
        if "volumes" in config:
            config["volumes"] = [_bind(text, own) for text in config["volumes"]]
    declared = {volume.name: _volume(volume, stack) for volume in volumes}
    used = {r.secret_id: {"external": True} for s in specs for c in (s.launch_config, *s.sidekicks) for r in c.secrets}
    return _text(docker, volumes=declared, secrets=used), _text(
        {name: settings for name, settings in rancher.items() if settings}
    )


def _bind(text: str, own: Mapping[str, str]) -> str:
    name, colon, rest = text.partition(":")
    return f"{own.get(name, name)}{colon}{rest}"


def _volume(volume: VolumeSpec, stack: str) -> dict[str, Any]:
    named = volume.docker_name not in ("", volume.name if volume.external else f"{stack}_{volume.name}")
    values = {
        "driver": volume.driver, "driver_opts": volume.driver_opts, "external": volume.external,
        "per_container": volume.per_container, "name": volume.docker_name if named else "",
    }  # fmt: skip
    return {key: value for key, value in values.items() if value}


def _text(services: dict[str, Any], **more: dict[str, Any]) -> str:
    document = {
        "version": "2",
        "services": _escape(services),
        **{key: _escape(told) for key, told in more.items() if told},
    }
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
    found |= _parts(config)
    if config.ulimits:
        found["ulimits"] = {u["name"]: {"soft": u["soft"], "hard": u["hard"]} for u in config.ulimits}
    if config.tmpfs:
        found["tmpfs"] = [f"{path}:{options}" if options else path for path, options in config.tmpfs.items()]
    if config.stop_timeout is not None:
        found["stop_grace_period"] = f"{config.stop_timeout}s"
    if engine := _engine_check(config):
        found["healthcheck"] = engine
    found |= {"secrets": [_secret(reference) for reference in config.secrets]} if config.secrets else {}
    sources = [*config.data_volumes_from_launch_configs, *(f"container:{c}" for c in config.data_volumes_from)]
    if sources:
        found["volumes_from"] = sources
    if config.network_launch_config:
        found["network_mode"] = f"service:{config.network_launch_config}"
    elif config.network_mode not in ("", "managed", "container"):
        found["network_mode"] = config.network_mode
    return found


def _parts(config: LaunchConfig) -> dict[str, Any]:
    """Keys with parts of their own."""
    found: dict[str, Any] = {}
    if config.restart_policy is not None:
        found["restart"] = _restart(config.restart_policy)
    if config.log_config is not None:
        logging = {"driver": config.log_config.driver, "options": config.log_config.config}
        found["logging"] = {key: value for key, value in logging.items() if value}
    if disks := blkio.told(config):
        found["blkio_config"] = disks
    return found


def _secret(reference: SecretReference) -> dict[str, str] | str:
    if reference == SecretReference(secret_id=reference.secret_id, name=reference.secret_id):
        return reference.secret_id
    long = {"source": reference.secret_id, "target": reference.name, "uid": reference.uid, "gid": reference.gid}
    defaults = SecretReference()
    found = {k: v for k, v in long.items() if v and v != getattr(defaults, k, None)}
    return {**found, "mode": reference.mode} if reference.mode != defaults.mode else found


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
    if config.drain_timeout_ms is not None:
        found["drain_timeout_ms"] = config.drain_timeout_ms
    return found


def _engine_check(config: LaunchConfig) -> dict[str, Any]:
    if config.health_cmd == ["NONE"]:
        return {"disable": True}
    times = {
        "interval": config.health_interval,
        "timeout": config.health_timeout,
        "start_period": config.health_start_period,
    }
    found: dict[str, Any] = {"test": config.health_cmd} if config.health_cmd else {}
    found |= {key: f"{value}s" for key, value in times.items() if value}
    return found | ({"retries": config.health_retries} if config.health_retries else {})


def _health(check: HealthCheck) -> dict[str, Any]:
    values = msgspec.structs.asdict(check)
    if not check.port:
        del values["port"]
    # no limit is something else than the limit that holds when nothing is said
    return {k: v for k, v in values.items() if v not in (None, "", []) or k.endswith("initializing_timeout")}

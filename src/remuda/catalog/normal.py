"""The normal form of a stack: what its files mean, in plain words that other programs can compare.

It is what ``remuda catalog render --format normalized`` prints. Absent means "as it is by default".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remuda.catalog.model import Plain
from remuda.compose.model import Project, ServiceSpec
from remuda.core.balancing.compose import from_compose
from remuda.core.labels import GLOBAL, truthy
from remuda.core.model import ServiceLink
from remuda.core.placement.values import parse_port
from remuda.core.spec import HealthCheck, LaunchConfig, SecretReference

_TOLD = {
    "tty": "tty", "stdin_open": "stdin_open", "privileged": "privileged", "hostname": "hostname", "user": "user",
    "domain_name": "domainname", "pid_mode": "pid", "ipc_mode": "ipc", "uts": "uts", "cap_add": "cap_add", "dns": "dns",
    "dns_search": "dns_search", "extra_hosts": "extra_hosts", "expose": "expose", "memory": "mem_limit",
    "cpu_period": "cpu_period", "cpu_quota": "cpu_quota", "sysctls": "sysctls", "volume_driver": "volume_driver",
    "environment": "environment", "labels": "labels", "entry_point": "entrypoint", "command": "command",
}  # fmt: skip
"""Fields that mean the same and are told unless they are empty."""


def normal(project: Project) -> Plain:
    """The whole stack. Raises ValueError where a load balancer's rules make no sense."""
    names = {volume.docker_name: volume.name for volume in project.volumes}
    services: Plain = {}
    for spec in project.services:
        services[spec.name] = {**_service(spec), **_launch(spec.launch_config, names)}
        for sidekick in spec.sidekicks:
            blank = {"kind": "sidekick", "primary": [], "scale": 1, **_launch(sidekick, names)}
            told = services.setdefault(sidekick.name, blank)
            told["primary"] = sorted([*told["primary"], spec.name])
    volumes = {
        volume.name: _filled(driver=volume.driver, driver_opts=volume.driver_opts, external=volume.external,
                             per_container=volume.per_container)
        for volume in project.volumes
    }  # fmt: skip
    return {"services": services, "volumes": volumes, "secrets": sorted(secret.name for secret in project.secrets)}


def _filled(**values: Any) -> Plain:
    return {name: value for name, value in values.items() if value}


def _service(spec: ServiceSpec) -> Plain:
    found: Plain = {"kind": spec.kind, "scale": spec.scale or 1}
    found |= _filled(
        links=[_link(*link, external=False) for link in spec.links]
        + [_link(*link, external=True) for link in spec.external_links],
        metadata=spec.metadata,
        retain_ip=spec.retain_ip,
        depends_on=spec.depends_on,
        start_first=spec.upgrade_strategy is not None and spec.upgrade_strategy.start_first,
        scale_policy=spec.extra.get("scale_policy"),
        storage_driver=spec.extra.get("storage_driver"),
        network_driver=_driver(spec.extra.get("network_driver") or {}),
    )
    if spec.kind == "loadBalancerService":
        found["lb" if spec.extra.get("lb_config") else "legacy_lb"] = balancer(spec)
    return found


def _driver(given: Plain) -> Plain:
    network = given.get("default_network")
    return _filled(
        name=given.get("name"),
        default_network=network.get("name") if isinstance(network, dict) else network,
        cni_files=sorted(given.get("cni_config") or {}),
    )


def _link(target: str, alias: str, *, external: bool) -> Plain:
    stack, _, service = target.rpartition("/")
    return {"stack": stack or None, "service": service, "alias": alias, "external": external}


def balancer(spec: ServiceSpec) -> Plain:
    """A load balancer's rules with the names of services."""
    names: list[str] = []

    def number(name: str) -> int:
        names.append(name)
        return len(names)

    linked = [ServiceLink(service_id=number(target), name=alias) for target, alias in _targets(spec)]
    config = from_compose(spec.launch_config, spec.extra, linked, number, number)
    rules = [
        {
            "source_port": rule.source_port, "target_port": rule.target_port, "protocol": rule.protocol or "http",
            "hostname": rule.hostname, "path": rule.path, "priority": rule.priority, "selector": rule.selector,
            "service": names[rule.service_id - 1] if rule.service_id else "",
        }
        for rule in config.port_rules
    ]  # fmt: skip
    certificates = [names[number - 1] for number in config.certificate_ids]
    default = names[config.default_certificate_id - 1] if config.default_certificate_id else ""
    return {"port_rules": rules, **_filled(default_cert=default, certs=certificates)}


def _targets(spec: ServiceSpec) -> Sequence[tuple[str, str]]:
    return [*spec.links, *spec.external_links]


def _launch(config: LaunchConfig, names: dict[str, str]) -> Plain:
    found: Plain = {"image": config.image, "network_mode": config.network_mode or "managed"}
    found |= {told: value for field, told in _TOLD.items() if (value := getattr(config, field))}
    found |= _filled(
        **{"global": truthy(config.labels.get(GLOBAL, ""))},
        network_from=config.network_launch_config,
        ports=[_port(port) for port in config.ports],
        volumes=[_volume(volume, names) for volume in config.data_volumes],
        volumes_from=[*config.data_volumes_from_launch_configs, *config.data_volumes_from],
        restart=_restart(config),
        logging=_logging(config),
        ulimits={one["name"]: {"soft": one["soft"], "hard": one["hard"]} for one in config.ulimits},
        health_check=_check(config.health_check),
        secrets=[_secret(one) for one in config.secrets],
    )
    return found


def _port(written: str) -> Plain:
    port = parse_port(written)
    if port is None:
        raise ValueError(f"{written!r} is no port")
    return {"ip": port.bind, "public": port.public or None, "private": port.private, "protocol": port.protocol}


def _volume(written: str, names: dict[str, str]) -> Plain:
    source, _, rest = written.partition(":") if ":" in written else ("", "", written)
    target, _, mode = rest.partition(":")
    return {"source": names.get(source, source), "target": target, "mode": mode}


def _secret(given: SecretReference) -> Plain:
    other = given.name if given.name != given.secret_id else ""
    return {"source": given.secret_id, "uid": given.uid, "gid": given.gid, **_filled(target=other)}


def _restart(config: LaunchConfig) -> str:
    policy = config.restart_policy
    if policy is None:
        return ""
    return f"{policy.name}:{policy.maximum_retry_count}" if policy.maximum_retry_count else policy.name


def _logging(config: LaunchConfig) -> Plain:
    if config.log_config is None:
        return {}
    return {"driver": config.log_config.driver, **_filled(options=config.log_config.config)}


def _check(check: HealthCheck | None) -> Plain:
    if check is None:
        return {}
    quorum = (check.recreate_on_quorum_strategy_config or {}).get("quorum")
    return {
        "port": check.port, "interval": check.interval, "response_timeout": check.response_timeout,
        "healthy_threshold": check.healthy_threshold, "unhealthy_threshold": check.unhealthy_threshold,
        **_filled(request_line=check.request_line, quorum=quorum,
                  strategy=check.strategy if check.strategy != "recreate" else ""),
        **{name: value for name in ("initializing_timeout", "reinitializing_timeout")
           if (value := getattr(check, name)) != getattr(HealthCheck(), name)},
    }  # fmt: skip

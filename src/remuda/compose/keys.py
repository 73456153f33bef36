"""Every setting a service may have in a compose file, and where it goes. One table; to support a key, add a line.

Keys of the Compose Specification that Remuda does not act on are listed with what happens instead, so that a file written
for another tool is read with warnings and a misspelt key is still an error.
"""

from __future__ import annotations

from remuda.compose import blkio
from remuda.compose import handlers as h
from remuda.compose.deploy import cpus, deploy, health_check, healthcheck
from remuda.compose.documents import did_you_mean
from remuda.compose.draft import Draft
from remuda.compose.handlers import Handler
from remuda.compose.secrets import mounted

KEYS: dict[str, Handler] = {
    "image": h.image,
    "build": h.build,
    "command": h.words("command", "command"),
    "entrypoint": h.words("entry_point", "entrypoint"),
    "environment": h.done,
    "env_file": h.done,
    "labels": h.labels,
    "ports": h.ports,
    "expose": h.expose,
    "volumes": h.volumes,
    "volumes_from": h.volumes_from,
    "volume_driver": h.text("volume_driver", "volume_driver"),
    "tmpfs": h.tmpfs,
    "links": h.links("links"),
    "external_links": h.links("external_links"),
    "depends_on": h.depends_on,
    "restart": h.restart,
    "logging": h.logging,
    "log_driver": h.log_driver,
    "log_opt": h.log_opt,
    "mem_limit": h.size("memory", "mem_limit"),
    "memswap_limit": h.size("memory_swap", "memswap_limit", unlimited=True),
    "mem_reservation": h.size("memory_reservation", "mem_reservation"),
    "mem_swappiness": h.number("memory_swappiness", "mem_swappiness", -1, 100),
    "milli_cpu_reservation": h.number("milli_cpu_reservation", "milli_cpu_reservation"),
    "cpu_shares": h.number("cpu_shares", "cpu_shares"),
    "cpu_quota": h.number("cpu_quota", "cpu_quota", -1),
    "cpu_period": h.number("cpu_period", "cpu_period"),
    "cpuset": h.text("cpu_set", "cpuset"),
    "cpus": cpus,
    "pids_limit": h.number("pids_limit", "pids_limit", -1),
    "oom_kill_disable": h.switch("oom_kill_disable", "oom_kill_disable"),
    "oom_score_adj": h.number("oom_score_adj", "oom_score_adj", -1000, 1000),
    "shm_size": h.size("shm_size", "shm_size"),
    "ulimits": h.ulimits,
    "sysctls": h.sysctls,
    "extra_hosts": h.extra_hosts,
    "dns": h.texts("dns", "dns"),
    "dns_search": h.texts("dns_search", "dns_search"),
    "dns_opt": h.texts("dns_opt", "dns_opt"),
    "storage_opt": h.storage_opt,
    "userns_mode": h.text("userns_mode", "userns_mode"),
    "blkio_config": blkio.read,
    "cpu_rt_period": h.microseconds("cpu_realtime_period", "cpu_rt_period"),
    "cpu_rt_runtime": h.microseconds("cpu_realtime_runtime", "cpu_rt_runtime"),
    "devices": h.texts("devices", "devices"),
    "cap_add": h.texts("cap_add", "cap_add"),
    "cap_drop": h.texts("cap_drop", "cap_drop"),
    "security_opt": h.texts("security_opt", "security_opt"),
    "group_add": h.texts("group_add", "group_add"),
    "privileged": h.switch("privileged", "privileged"),
    "read_only": h.switch("read_only", "read_only"),
    "tty": h.switch("tty", "tty"),
    "stdin_open": h.switch("stdin_open", "stdin_open"),
    "init": h.switch("run_init", "init"),
    "user": h.text("user", "user"),
    "working_dir": h.text("working_dir", "working_dir"),
    "hostname": h.text("hostname", "hostname"),
    "domainname": h.text("domain_name", "domainname"),
    "cgroup_parent": h.text("cgroup_parent", "cgroup_parent"),
    "net": h.network_mode,
    "network_mode": h.network_mode,
    "pid": h.text("pid_mode", "pid"),
    "ipc": h.text("ipc_mode", "ipc"),
    "uts": h.text("uts", "uts"),
    "stop_signal": h.text("stop_signal", "stop_signal"),
    "stop_grace_period": h.stop_grace,
    "pull_policy": h.pull_policy,
    "container_name": h.container_name,
    "healthcheck": healthcheck,
    "health_check": health_check,
    "scale": h.scale,
    "metadata": h.metadata,
    "start_on_create": h.start_on_create,
    "retain_ip": h.retain_ip,
    "on_host_lost": h.on_host_lost,
    "x-remuda": h.remuda,
    "upgrade_strategy": h.upgrade_strategy,
    "deploy": deploy,
    "lb_config": h.kept("lb_config"),
    "load_balancer_config": h.kept("load_balancer_config"),
    "external_ips": h.kept("external_ips"),
    "default_cert": h.kept("default_cert"),
    "certs": h.kept("certs"),
    "scale_policy": h.counted("scale_policy"),
    "storage_driver": h.kept("storage_driver"),
    "network_driver": h.kept("network_driver"),
    "profiles": h.done,
    "extends": h.done,
    "description": h.done,
    "drain_timeout_ms": h.number("drain_timeout_ms", "drain_timeout_ms"),
    "secrets": mounted,
    "attach": h.done,
    "annotations": h.done,
    "service_schemas": h.done,
}

IGNORED = {
    "networks", "configs", "cgroup", "cpu_count", "cpu_percent",
    "credential_spec", "develop", "device_cgroup_rules", "dockerfile", "gpus", "isolation",
    "label_file", "mac_address", "models", "platform", "post_start", "pre_stop", "provider", "runtime",
    "use_api_socket", "kernel_memory", "pre_start",
}  # fmt: skip


def read_keys(draft: Draft) -> None:
    """Carry out every key of a service."""
    for key, node in draft.node.items():
        handler = KEYS.get(key)
        if handler is not None:
            handler(draft, node)
        elif key.startswith("x-"):
            continue
        elif key in IGNORED:
            if node.value not in (None, [], {}):
                draft.report.warning(node, f"{key} is not supported and is ignored", key=True)
        else:
            near = did_you_mean(key, [*KEYS, *IGNORED])
            draft.report.error(node, f"{key} is not a setting of a service{near}", key=True)
    h.finish(draft)

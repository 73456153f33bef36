"""Launch configurations in Docker's words."""

from __future__ import annotations

from typing import Any

import pytest

from remuda.agent.observe import AGENT_UUID
from remuda.agent.translate import Untranslatable, container_name, parse_port, spec_hash, translate
from remuda.core import labels
from remuda.core.spec import LaunchConfig, LogConfig, RestartPolicy
from remuda.core.wire import Assignment


def made(**spec: Any) -> dict[str, Any]:
    assignment = Assignment(seq=3, uuid="1234-5678-9", desired="running", name="stack_web_1", spec=launch(**spec))
    return translate(assignment, {"other": "docker-id"}, "agent-1").document


def launch(**spec: Any) -> LaunchConfig:
    return LaunchConfig(**{"image_uuid": "docker:nginx:1", **spec})


def test_the_least_there_is() -> None:
    document = made()
    assert document["Image"] == "nginx:1"
    assert document["HostConfig"]["RestartPolicy"] == {"Name": "no"}
    assert document["HostConfig"]["NetworkMode"] == "bridge"
    assert "Cmd" not in document
    assert "Entrypoint" not in document
    assert document["Labels"] == {
        labels.CONTAINER_UUID: "1234-5678-9",
        labels.CONTAINER_NAME: "stack_web_1",
        labels.ASSIGNED_SEQ: "3",
        labels.ASSIGNED_HASH: spec_hash(launch()),
        AGENT_UUID: "agent-1",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", ("80/tcp", "", "")),
        ("8080:80", ("80/tcp", "", "8080")),
        ("8080:80/udp", ("80/udp", "", "8080")),
        ("127.0.0.1:8080:80", ("80/tcp", "127.0.0.1", "8080")),
        ("127.0.0.1::80", ("80/tcp", "127.0.0.1", "")),
        ("[::1]:8080:80/TCP", ("80/tcp", "::1", "8080")),
    ],
)
def test_ports(text: str, expected: tuple[str, str, str]) -> None:
    assert parse_port(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("8000-8010:80", "is a range"),
        ("80-90", "is a range"),
        ("0:80", "no port number"),
        ("70000:80", "no port number"),
        ("80/icmp", "no protocol"),
        ("web:80", "not of the form"),
        ("", "not of the form"),
    ],
)
def test_ports_that_are_refused(text: str, reason: str) -> None:
    with pytest.raises(Untranslatable, match=reason):
        parse_port(text)


@pytest.mark.parametrize(
    ("spec", "where", "expected"),
    [
        ({"command": ["sleep", "1"]}, "Cmd", ["sleep", "1"]),
        ({"entry_point": ["/e"]}, "Entrypoint", ["/e"]),
        ({"environment": {"A": "1"}}, "Env", ["A=1"]),
        ({"ports": ["8080:80"]}, "HostConfig.PortBindings", {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}),
        ({"ports": ["8080:80"], "expose": ["9"]}, "ExposedPorts", {"80/tcp": {}, "9/tcp": {}}),
        ({"publish_all_ports": True}, "HostConfig.PublishAllPorts", True),
        ({"data_volumes": ["v:/data:ro", "/only"]}, "HostConfig.Binds", ["v:/data:ro"]),
        ({"data_volumes": ["v:/data:ro", "/only"]}, "Volumes", {"/only": {}}),
        ({"data_volumes_from": ["other:ro"]}, "HostConfig.VolumesFrom", ["docker-id:ro"]),
        ({"volume_driver": "nfs"}, "HostConfig.VolumeDriver", "nfs"),
        ({"network_mode": "host"}, "HostConfig.NetworkMode", "host"),
        ({"network_mode": "none"}, "HostConfig.NetworkMode", "none"),
        ({"network_mode": "managed"}, "HostConfig.NetworkMode", "bridge"),
        ({"network_mode": "container:other"}, "HostConfig.NetworkMode", "container:docker-id"),
        ({"network_launch_config": "other"}, "HostConfig.NetworkMode", "container:docker-id"),
        ({"pid_mode": "host"}, "HostConfig.PidMode", "host"),
        ({"ipc_mode": "container:other"}, "HostConfig.IpcMode", "container:docker-id"),
        ({"uts": "host"}, "HostConfig.UTSMode", "host"),
        ({"userns_mode": "host"}, "HostConfig.UsernsMode", "host"),
        ({"storage_opt": {"size": "1G"}}, "HostConfig.StorageOpt", {"size": "1G"}),
        ({"dns_opt": ["ndots:2"]}, "HostConfig.DnsOptions", ["ndots:2"]),
        ({"kernel_memory": 5_000_000}, "HostConfig.KernelMemory", 5_000_000),
        ({"cpu_set_mems": "0"}, "HostConfig.CpusetMems", "0"),
        ({"cpu_realtime_period": 1000, "cpu_realtime_runtime": 900}, "HostConfig.CpuRealtimeRuntime", 900),
        ({"blkio_weight": 300}, "HostConfig.BlkioWeight", 300),
        (
            {"blkio_device_options": {"/dev/b": {"readBps": 7}, "/dev/a": {"readBps": 5, "weight": 20}}},
            "HostConfig.BlkioDeviceReadBps",
            [{"Path": "/dev/a", "Rate": 5}, {"Path": "/dev/b", "Rate": 7}],
        ),
        (
            {"blkio_device_options": {"/dev/b": {"writeIops": 7}, "/dev/a": {"weight": 20}}},
            "HostConfig.BlkioWeightDevice",
            [{"Path": "/dev/a", "Weight": 20}],
        ),
        ({"hostname": "h", "domain_name": "d"}, "Hostname", "h"),
        ({"hostname": "h", "domain_name": "d"}, "Domainname", "d"),
        ({"labels": {labels.HOSTNAME_OVERRIDE: "container_name"}}, "Hostname", "stack-web-1"),
        ({"user": "u", "working_dir": "/w"}, "WorkingDir", "/w"),
        ({"tty": True, "stdin_open": True}, "Tty", True),
        ({"stop_signal": "SIGINT", "stop_timeout": 5}, "StopSignal", "SIGINT"),
        ({"stop_signal": "SIGINT", "stop_timeout": 5}, "StopTimeout", 5),
        ({"privileged": True, "read_only": True}, "HostConfig.Privileged", True),
        ({"privileged": True, "read_only": True}, "HostConfig.ReadonlyRootfs", True),
        ({"cap_add": ["NET_ADMIN"], "cap_drop": ["ALL"]}, "HostConfig.CapAdd", ["NET_ADMIN"]),
        ({"cap_add": ["NET_ADMIN"], "cap_drop": ["ALL"]}, "HostConfig.CapDrop", ["ALL"]),
        (
            {"devices": ["/dev/fuse", "/dev/a:/dev/b:r"]},
            "HostConfig.Devices",
            [
                {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"},
                {"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"},
            ],
        ),
        ({"dns": ["1.1.1.1"], "dns_search": ["x"]}, "HostConfig.DnsSearch", ["x"]),
        ({"extra_hosts": ["a:1.2.3.4"]}, "HostConfig.ExtraHosts", ["a:1.2.3.4"]),
        ({"security_opt": ["no-new-privileges"]}, "HostConfig.SecurityOpt", ["no-new-privileges"]),
        ({"group_add": ["audio"]}, "HostConfig.GroupAdd", ["audio"]),
        ({"memory": 64, "memory_swap": 128}, "HostConfig.MemorySwap", 128),
        ({"cpu_shares": 512, "cpu_set": "0"}, "HostConfig.CpusetCpus", "0"),
        ({"cpu_quota": 5000, "cpu_period": 10000}, "HostConfig.CpuQuota", 5000),
        ({"memory_swappiness": 0}, "HostConfig.MemorySwappiness", 0),
        ({"oom_score_adj": -5}, "HostConfig.OomScoreAdj", -5),
        ({"oom_kill_disable": True}, "HostConfig.OomKillDisable", True),
        ({"pids_limit": 9, "shm_size": 1024}, "HostConfig.ShmSize", 1024),
        ({"run_init": True}, "HostConfig.Init", True),
        ({"tmpfs": {"/run": "size=1m"}}, "HostConfig.Tmpfs", {"/run": "size=1m"}),
        ({"sysctls": {"net.core.somaxconn": "9"}}, "HostConfig.Sysctls", {"net.core.somaxconn": "9"}),
        (
            {"ulimits": [{"name": "nofile", "soft": 1, "hard": "2"}]},
            "HostConfig.Ulimits",
            [{"Name": "nofile", "Soft": 1, "Hard": 2}],
        ),
        (
            {"log_config": LogConfig("syslog", {"tag": "x"})},
            "HostConfig.LogConfig",
            {"Type": "syslog", "Config": {"tag": "x"}},
        ),
        ({"restart_policy": RestartPolicy("always")}, "HostConfig.RestartPolicy", {"Name": "no"}),
        ({"cgroup_parent": "/x"}, "HostConfig.CgroupParent", "/x"),
    ],
    ids=str,
)
def test_fields(spec: dict[str, Any], where: str, expected: Any) -> None:
    found: Any = made(**spec)
    for step in where.split("."):
        found = found[step]
    assert found == expected


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"image_uuid": ""}, "names no image"),
        ({"data_volumes": ["name"]}, "neither a path"),
        ({"devices": ["fuse"]}, "not of the form"),
        ({"ulimits": [{"soft": 1}]}, "needs a name"),
    ],
)
def test_wishes_that_are_refused(spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(Untranslatable, match=reason):
        made(**spec)


def test_a_shared_network_has_no_hostname_of_its_own() -> None:
    assert "Hostname" not in made(network_mode="container:other", hostname="h")


def resolver(address: str, **spec: Any) -> tuple[list[str], list[str]]:
    assignment = Assignment(
        seq=3, uuid="u", desired="running", name="n", spec=launch(**spec), managed_ip=address, mac="m"
    )
    found = translate(assignment).document["HostConfig"]
    return found.get("Dns", []), found.get("DnsSearch", [])


def test_whom_a_container_asks_for_names() -> None:
    own = {labels.STACK_NAME: "Shop", labels.STACK_SERVICE_NAME: "Shop/web/log"}
    search = ["web.shop.rancher.internal", "shop.rancher.internal", "rancher.internal"]
    us = ["169.254.169.250"]
    user: dict[str, Any] = {"dns": ["1.1.1.1"], "dns_search": ["example.com"]}
    assert resolver("10.42.0.9", labels=own) == (us, search)
    assert resolver("10.42.0.9", labels=own, **user) == (us, [*search, "example.com"])
    assert resolver("10.42.0.9", labels={**own, labels.DNS_PRIORITY: "service_last"}) == (us, [*search[1:], search[0]])
    assert resolver("10.42.0.9") == (us, ["rancher.internal"])
    assert resolver("", network_mode="host", labels=own, **user) == (["1.1.1.1"], ["example.com"])
    asks = {**own, labels.CONTAINER_DNS: "true"}
    assert (
        resolver("", network_mode="host", labels=asks)
        == resolver("", network_mode="bridge", labels=asks)
        == (us, search)
    )
    assert resolver("", network_mode="none", labels=asks) == ([], [])


def test_names_are_readable_and_unique() -> None:
    first = Assignment(seq=1, uuid="aaaa-1", desired="running", name="a b/web_1")
    second = Assignment(seq=2, uuid="bbbb-2", desired="running", name="a b/web_1")
    assert container_name(first) == "a-b-web_1-aaaa1"
    assert container_name(second) != container_name(first)
    assert container_name(Assignment(seq=1, uuid="é", desired="running", name="é")).isascii()


def test_the_hash_ignores_the_order_of_maps() -> None:
    one = launch(environment={"A": "1", "B": "2"})
    two = launch(environment={"B": "2", "A": "1"})
    assert spec_hash(one) == spec_hash(two) != spec_hash(launch())


def test_where_no_network_service_may_run_docker_does_what_it_can() -> None:
    assignment = Assignment(
        seq=3, uuid="u", desired="running", name="n", spec=launch(ports=["8080:80"]), managed_ip="10.42.0.9", mac="m"
    )
    served, alone = (translate(assignment, served=yes).document["HostConfig"] for yes in (True, False))
    assert served["NetworkMode"] == alone["NetworkMode"] == "remuda"
    assert served["PortBindings"] == {}
    assert served["Dns"] == ["169.254.169.250"]
    assert alone["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    assert not alone.get("Dns")

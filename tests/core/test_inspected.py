"""A container as docker inspect shows it becomes the launch configuration that makes it."""

from __future__ import annotations

import pytest

from remuda.core.inspected import launch_config
from remuda.core.spec import LogConfig, RestartPolicy

SHOWN = {
    "Id": "abc", "Name": "/web",
    "Config": {
        "Image": "nginx:1", "Env": ["A=b", "URL=x=y", "EMPTY"], "Cmd": ["nginx", "-g", "daemon off;"], "Labels": {"team": "a"},
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}}, "Volumes": {"/data": {}, "/cache": {}}, "Tty": True, "User": "www",
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 2_000_000_000, "Retries": 3},
    },
    "HostConfig": {
        "Binds": ["/srv:/data:ro"], "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "10.0.0.1"}]},
        "NetworkMode": "default", "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "Memory": 64 << 20,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}, "CapAdd": ["NET_ADMIN"], "Memory_unknown": 7,
        "Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"}],
        "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
    },
}  # fmt: skip


def test_all_that_a_launch_configuration_has_a_word_for_is_taken() -> None:
    found = launch_config(SHOWN)
    assert (found.image_uuid, found.name, found.user, found.tty) == ("docker:nginx:1", "web", "www", True)
    assert found.environment == {"A": "b", "URL": "x=y", "EMPTY": ""}
    assert found.command == ["nginx", "-g", "daemon off;"]
    assert found.ports == ["8080:80/tcp", "10.0.0.1::80/tcp"]
    assert found.expose == ["443/tcp"]
    assert found.data_volumes == ["/srv:/data:ro", "/cache"]
    assert found.restart_policy == RestartPolicy("on-failure", 3)
    assert found.log_config == LogConfig("json-file", {"max-size": "1m"})
    assert (found.memory, found.cap_add, found.devices) == (64 << 20, ["NET_ADMIN"], ["/dev/a:/dev/b:r"])
    assert found.ulimits == [{"name": "nofile", "soft": 1, "hard": 2}]
    assert (found.health_cmd, found.health_interval, found.health_retries) == (["CMD", "true"], 2, 3)


@pytest.mark.parametrize(
    ("mode", "ours"),
    [
        ("", "managed"),
        ("default", "managed"),
        ("bridge", "managed"),
        ("host", "host"),
        ("container:abc", "container:abc"),
    ],
)
def test_dockers_own_networks_become_the_managed_one(mode: str, ours: str) -> None:
    assert launch_config({"Config": {"Image": "a"}, "HostConfig": {"NetworkMode": mode}}).network_mode == ours


@pytest.mark.parametrize(
    "document", [{}, {"Config": "x"}, {"Config": {"Image": "a"}, "HostConfig": "x"}, {"HostConfig": {}}]
)
def test_what_is_no_such_document_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Config"):
        launch_config(document)


def test_disks_and_resolver_options_are_told_in_the_words_of_launch_configurations() -> None:
    host = {
        "DnsOptions": ["ndots:2"], "UsernsMode": "host", "BlkioWeight": 300, "CpusetMems": "0",
        "BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 5}], "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 20}],
    }  # fmt: skip
    found = launch_config({"Config": {"Image": "a"}, "HostConfig": host})
    assert (found.dns_opt, found.userns_mode, found.blkio_weight, found.cpu_set_mems) == (["ndots:2"], "host", 300, "0")
    assert found.blkio_device_options == {"/dev/sda": {"weight": 20, "readBps": 5}}

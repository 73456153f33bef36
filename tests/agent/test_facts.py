"""What an agent tells of its machine, who it says it is, and what it makes of Docker's documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from remuda.adapters.docker.frames import Demultiplexer
from remuda.adapters.docker.link import message_of, negotiate
from remuda.adapters.docker.pulling import PullProgress, reference
from remuda.agent import container as own_container
from remuda.agent import facts as machine_facts
from remuda.agent.facts import CpuSampler, Machine, agent_address, host_labels, material
from remuda.agent.identity import IdentityFile, machine_fingerprint
from remuda.agent.observe import from_inspect, milliseconds, report
from remuda.agent.stats import container_stats
from remuda.core.model import Port
from remuda.core.wire import HostFacts
from remuda.ports.engine import EngineError

# ---- facts ---------------------------------------------------------------------------------------------------------------


def test_labels_of_the_command_line_win_over_the_environment() -> None:
    found = host_labels({"CATTLE_HOST_LABELS": "a=b&rack=1&empty="}, {"rack": "2"}, "6.1.0-13-amd64", "20.10.24+dfsg1")
    assert found == {
        "a": "b",
        "rack": "2",
        "empty": "",
        "io.rancher.host.linux_kernel_version": "6.1",
        "io.rancher.host.docker_version": "20.10",
    }


@pytest.mark.parametrize(
    ("environment", "source", "elsewhere", "detected", "expected"),
    [
        ({"CATTLE_AGENT_IP": "9.9.9.9"}, "10.0.0.5", "10.0.0.6", "1.1.1.1", "9.9.9.9"),
        ({}, "10.0.0.5", "10.0.0.6", "1.1.1.1", "10.0.0.5"),
        ({}, "127.0.0.1", "10.0.0.6", "127.0.0.1", "10.0.0.6"),
        ({"DETECTED_CATTLE_AGENT_IP": "8.8.8.8"}, "127.0.0.1", "", "1.1.1.1", "8.8.8.8"),
        ({}, "127.0.0.1", "", "1.1.1.1", "1.1.1.1"),
    ],
)
def test_the_address_of_the_host(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    source: str,
    elsewhere: str,
    detected: str,
    expected: str,
) -> None:
    monkeypatch.setattr(machine_facts, "source_address", lambda host, port: elsewhere)
    assert agent_address(environment, source, detected) == expected


def test_the_document_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  1 1 1 1 1 1 1 1\ncpu0 10 0 0 90 0 0 0 0\ncpu1 0 0 0 100 0 0 0 0\n")
    (tmp_path / "cpuinfo").write_text("model name\t: Fast\ncpu MHz\t\t: 2500.5\n")
    (tmp_path / "meminfo").write_text("MemTotal: 2048000 kB\nMemFree: 1024000 kB\nMemAvailable: 1536000 kB\n")
    (tmp_path / "loadavg").write_text("0.10 0.20 0.30 1/100 1\n")
    machine = Machine({}, {}, proc=tmp_path)
    (tmp_path / "stat").write_text("cpu0 60 0 0 140 0 0 0 0\ncpu1 0 0 0 200 0 0 0 0\n")
    docker = {"ServerVersion": "20.10.1", "Name": "h1", "Driver": "overlay2", "OperatingSystem": "Debian"}
    found = machine.facts("10.0.0.1", docker, up=True, message="")
    assert found.hostname == "h1"
    assert found.info["cpuInfo"] == {
        "count": 2, "mhz": 2500.5, "modelName": "Fast", "cpuCoresPercentages": [50.0, 0.0], "loadAvg": [0.1, 0.2, 0.3],
    }  # fmt: skip
    assert found.info["memoryInfo"] == {"memTotal": 2000, "memFree": 1000, "memAvailable": 1500}
    assert found.info["diskInfo"]["mountPoints"]["/"]["total"] > 0
    assert found.info["osInfo"]["operatingSystem"] == "Debian"
    assert CpuSampler(tmp_path).percentages() == [0.0, 0.0]


def _facts(available: int = 500, busy: float = 1.0, **rest: Any) -> HostFacts:
    info = {
        "cpuInfo": {"count": 1, "cpuCoresPercentages": [busy]},
        "memoryInfo": {"memTotal": 1000, "memAvailable": available},
        "diskInfo": {"mountPoints": {"/": {"total": 1000, "free": 500}}},
        "osInfo": {},
    }
    return HostFacts(hostname="h", info=info, **rest)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (_facts(), False),
        (_facts(available=450), False),
        (_facts(available=350), True),
        (_facts(busy=5.0), False),
        (_facts(busy=60.0), True),
        (_facts(docker="down"), True),
        (_facts(labels={"a": "b"}), True),
        (_facts(agent_ip="1.2.3.4"), True),
    ],
)
def test_only_noticeable_changes_travel(after: HostFacts, expected: bool) -> None:
    assert material(_facts(), after) is expected
    assert material(None, after)


# ---- identity ------------------------------------------------------------------------------------------------------------


def _machine(folder: Path, identity: str, mac: str) -> str:
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/machine-id").write_text(identity)
    for index, (name, address, kind) in enumerate(
        [
            ("lo", "00:00:00:00:00:00", "772"),
            ("docker0", "02:42:00:00:00:01", "1"),
            ("eth0", mac, "1"),
            ("eth1", "z", "1"),
        ]
    ):
        link = folder / "net" / "class" / "net" / name
        link.mkdir(parents=True)
        (link / "type").write_text(kind)
        (link / "ifindex").write_text(str(index + 1))
        (link / "address").write_text(address)
    return machine_fingerprint(folder, folder / "net")


def test_a_fingerprint_tells_a_machine_from_its_clone(tmp_path: Path) -> None:
    original = _machine(tmp_path / "a", "id-1", "aa:aa")
    assert original == machine_fingerprint(tmp_path / "a", tmp_path / "a/net")
    assert original != _machine(tmp_path / "b", "id-1", "bb:bb")
    assert original != _machine(tmp_path / "c", "id-2", "aa:aa")


def test_one_agent_per_state_folder(tmp_path: Path) -> None:
    first, second = IdentityFile(tmp_path), IdentityFile(tmp_path)
    first.lock()
    with pytest.raises(ValueError, match="Another agent already runs"):
        second.lock()


def test_a_damaged_identity_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text("{")
    with pytest.raises(ValueError, match="Remove it to register this machine anew"):
        IdentityFile(tmp_path).load()


# ---- the agent's own container -------------------------------------------------------------------------------------------


def _own(**host: Any) -> dict[str, Any]:
    return {
        "Id": "me",
        "Image": "sha256:abc",
        "Config": {"Env": ["CATTLE_AGENT_IP=1.2.3.4", "PATH=/bin", "CA_FINGERPRINT=ff"], "Entrypoint": ["entry"]},
        "HostConfig": {"Binds": ["/var/run/docker.sock:/var/run/docker.sock"], **host},
        "Mounts": [{"Destination": "/var/run/docker.sock"}],
    }


def test_the_sibling_is_fit_to_last() -> None:
    wish = own_container.sibling(_own(), ["https://s/v1/scripts/t"])
    assert own_container.permanent({"HostConfig": wish["HostConfig"]})
    assert wish["Image"] == "sha256:abc"
    assert wish["Env"] == ["CATTLE_AGENT_IP=1.2.3.4", "CA_FINGERPRINT=ff"]
    assert "/var/lib/remuda:/var/lib/remuda" in wish["HostConfig"]["Binds"]
    assert wish["HostConfig"]["Binds"].count("/var/run/docker.sock:/var/run/docker.sock") == 1
    assert wish["Labels"] == {"io.rancher.container.system": "true"}


def test_the_state_lies_where_the_host_keeps_it() -> None:
    assert own_container.state_folder(_own()) == "/var/lib/remuda/agent"
    document = {"Mounts": [{"Destination": "/var/lib/rancher"}]}
    assert own_container.state_folder(document) == "/var/lib/rancher/agent"
    document["Mounts"].append({"Destination": "/var/lib/remuda"})
    assert own_container.state_folder(document) == "/var/lib/remuda/agent"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ({}, False),
        ({"RestartPolicy": {"Name": "always"}}, False),
        ({"RestartPolicy": {"Name": "always"}, "NetworkMode": "host", "PidMode": "host"}, True),
        ({"RestartPolicy": {"Name": "no"}, "NetworkMode": "host", "PidMode": "host"}, False),
    ],
)
def test_what_counts_as_permanent(host: dict[str, Any], expected: bool) -> None:
    assert own_container.permanent({"HostConfig": host}) is expected


def test_the_own_container_is_found_in_mounts_and_cgroups(tmp_path: Path) -> None:
    identity = "0123456789abcdef" * 4
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(
        f"1 2 8:1 /var/lib/docker/containers/{identity}/hostname /etc/hostname rw\n"
    )
    assert own_container.own_id(tmp_path) == identity
    (tmp_path / "self/mountinfo").write_text("1 2 8:1 / / rw\n")
    (tmp_path / "self/cgroup").write_text(f"0::/system.slice/docker-{identity}.scope\n")
    assert own_container.own_id(tmp_path) == identity
    (tmp_path / "self/cgroup").write_text("0::/user.slice\n")
    assert own_container.own_id(tmp_path) == ""


# ---- Docker's documents --------------------------------------------------------------------------------------------------


def test_a_container_out_of_inspect() -> None:
    document = {
        "Id": "abc",
        "Name": "/web",
        "Created": "2024-05-01T12:00:00.5Z",
        "State": {"Status": "running", "StartedAt": "2024-05-01T12:00:01.123456789Z", "ExitCode": 0},
        "Config": {"Image": "nginx", "Env": ["PASSWORD=x"], "Labels": {"io.rancher.container.uuid": "u1"}},
        "HostConfig": {},
        "NetworkSettings": {
            "Networks": {"bridge": {"IPAddress": "172.17.0.2"}},
            "Ports": {
                "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
                "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
                "9/tcp": None,
            },
        },
    }
    found = from_inspect(document, "agent")
    assert (found.uuid, found.name, found.address, found.exit_code) == ("u1", "web", "172.17.0.2", None)
    assert found.ports == (Port(private=53, public=53, protocol="udp", bind="127.0.0.1"), Port(private=80, public=8080))
    told = report(found)
    assert (told.observed, told.native, told.started) == ("running", False, 1714564801123)
    assert b"PASSWORD" not in msgspec.json.encode(told)


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        ("nonsense", None),
        ("2024-05-01T12:00:00Z", 1714564800000),
        ("2024-05-01T12:00:00.07Z", 1714564800070),
    ],
)
def test_time_stamps(stamp: str, expected: int | None) -> None:
    assert milliseconds(stamp) == expected


def test_output_is_demultiplexed_however_it_is_cut() -> None:
    stream = b"\x01\0\0\0\0\0\0\x03abc\x02\0\0\0\0\0\0\x02no\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01!"
    for size in range(1, len(stream) + 1):
        demultiplexer = Demultiplexer()
        found = {"out": b"", "err": b""}
        for start in range(0, len(stream), size):
            for channel, piece in demultiplexer.feed(stream[start : start + size]):
                found[channel] += piece
        assert found == {"out": b"abc!", "err": b"no"}


def test_the_progress_of_a_pull_never_goes_back() -> None:
    progress = PullProgress("app")
    shown = []
    for document in [
        {"status": "Pulling from app", "id": "latest"},
        {"status": "Pulling fs layer", "id": "a"},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 50, "total": 100}},
        {"status": "Pulling fs layer", "id": "b"},
        {"status": "Already exists", "id": "b"},
        {"status": "Extracting", "id": "a", "progressDetail": {"current": 1, "total": 2}},
        {"status": "Pull complete", "id": "a"},
    ]:
        progress.feed(document)
        shown.append(progress.percent)
    assert shown == sorted(shown)
    assert shown[-1] == 99
    assert progress.sentence == "Pulling app: 2 of 2 layers"
    progress.feed({"error": "denied"})
    assert progress.error == "denied"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", {"fromImage": "nginx", "tag": "latest"}),
        ("nginx:1.2", {"fromImage": "nginx", "tag": "1.2"}),
        ("reg:5000/a/b", {"fromImage": "reg:5000/a/b", "tag": "latest"}),
        ("reg:5000/a/b:2", {"fromImage": "reg:5000/a/b", "tag": "2"}),
        ("a@sha256:0", {"fromImage": "a@sha256:0"}),
    ],
)
def test_references(image: str, expected: dict[str, str]) -> None:
    assert reference(image) == expected


def test_the_api_version_is_negotiated_within_our_window() -> None:
    assert negotiate("1.41", "1.12") == "1.41"
    assert negotiate("1.50", "1.24") == "1.44"
    assert negotiate("1.24") == "1.24"
    with pytest.raises(EngineError, match="too old"):
        negotiate("1.23")
    with pytest.raises(EngineError, match="upgrade it"):
        negotiate("1.60", "1.50")


def test_errors_keep_dockers_words() -> None:
    assert message_of(b'{"message":"No such container: x"}', "?") == "No such container: x"
    assert message_of(b"page not found\n", "?") == "page not found"
    assert message_of(b"", "Bad Gateway") == "Bad Gateway"


def test_statistics_in_the_form_of_the_api() -> None:
    found = container_stats(
        "1i7",
        {
            "read": "2024",
            "cpu_stats": {"cpu_usage": {"total_usage": 9, "percpu_usage": [4, 5]}},
            "memory_stats": {"usage": 100, "limit": 1000, "stats": {"total_inactive_file": 30}},
            "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 3}, {"op": "read", "value": 4}]},
        },
    )
    assert found["cpu"]["usage"]["per_cpu_usage"] == [4, 5]
    assert found["memory"] == {"usage": 70, "limit": 1000}
    assert found["network"] == {"interfaces": [{"name": "eth0", "rx_bytes": 1, "tx_bytes": 2}]}
    assert found["diskio"] == {"io_service_bytes": [{"stats": {"Read": 7}}]}

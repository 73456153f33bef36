"""The bed does what its commands say: everything else in this ring stands on it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed.bed import Bed, BedError, until
from testbed.outside import pong, query, start_balancer, start_mariadb

pytestmark = [pytest.mark.bed, pytest.mark.timeout(300)]
IMAGE = "local/busybox:1"


@pytest.fixture(scope="module")
def bed(build_host: str) -> Iterator[Bed]:
    with Bed(2, name="tbed", net="10.77.5", images=(IMAGE,)) as bed:
        bed.docker(1, "run", "-d", "--restart", "always", "--name", "web", "-p", "80:80", IMAGE, "sh", "-c",
                   "echo pong > /www/ping; httpd -f -h /www & wait")  # fmt: skip
        until("the web server answers", lambda: pong(bed.ip(1)), 20)
        yield bed


def answers(bed: Bed, host: int | str = 2) -> bool:
    return "pong" in bed.exec(host, "curl", "-s", "-m", "1", "http://h1/ping", check=False)


def test_hosts_reach_each_other_by_name(bed: Bed) -> None:
    for host in (2, "x"):
        until(f"{host} reaches h1", lambda host=host: answers(bed, host), 10)


def test_hosts_have_disks_and_identities_of_their_own(bed: Bed) -> None:
    for host in (1, 2):
        bed.exec(host, "sh", "-c", f"echo {host} > /var/lib/remuda/who; echo {host} > /run/who")
    assert [bed.exec(host, "cat", "/var/lib/remuda/who", "/run/who").split() for host in (1, 2)] == [
        ["1", "1"],
        ["2", "2"],
    ]
    identities = {
        bed.exec(host, "cat", "/etc/machine-id") + bed.docker(host, "info", "-f", "{{.ID}}") for host in (1, 2)
    }
    assert len(identities) == 2
    assert not Path("/var/lib/remuda/who").exists()


def test_a_container_gets_the_hosts_network_privileges_and_socket(bed: Bed) -> None:
    said = bed.docker(2, "run", "--rm", "--net", "host", "--privileged", "-v", "/var/run/docker.sock:/var/run/docker.sock",
                      IMAGE, "sh", "-c", "ip addr; ls -l /var/run/docker.sock")  # fmt: skip
    assert bed.ip(2) in said
    assert "srw" in said


def test_a_cut_cable_and_its_repair(bed: Bed) -> None:
    bed.cut(1)
    assert not answers(bed)
    bed.heal(1)
    until("h1 is reachable", lambda: answers(bed), 10)


def test_packets_lost_between_two_hosts_only(bed: Bed) -> None:
    bed.run("drop", 1, 2)
    assert not answers(bed, 2)
    until("x is reached all the same", lambda: answers(bed, "x"), 10)
    bed.run("undrop", 1)
    until("h1 is reachable", lambda: answers(bed, 2), 10)


def test_a_frozen_host_goes_on_where_it_was(bed: Bed) -> None:
    bed.pause(1)
    assert not answers(bed)
    bed.unpause(1)
    until("h1 is reachable", lambda: answers(bed), 10)


def test_power_off_and_on_keeps_disks_and_restarts_containers(bed: Bed) -> None:
    bed.kill(1)
    assert not answers(bed)
    with pytest.raises(BedError, match="host 1 is down"):
        bed.docker(1, "ps")
    bed.boot(1)
    until("the container with a restart policy is back", lambda: answers(bed), 30)
    assert bed.exec(1, "cat", "/var/lib/remuda/who").strip() == "1"


def test_a_wiped_host_is_another_machine(bed: Bed) -> None:
    before = bed.exec(2, "cat", "/etc/machine-id")
    bed.kill(2)
    bed.wipe(2)
    bed.boot(2)
    assert bed.exec(2, "cat", "/etc/machine-id") != before
    assert "No such file" in bed.exec(2, "sh", "-c", "cat /var/lib/remuda/who 2>&1", check=False)


def test_a_killed_engine_leaves_containers_running_and_comes_back(bed: Bed) -> None:
    bed.docker(2, "run", "-d", "--name", "sleeper", IMAGE, "sleep", "424242")
    bed.run("killdocker", 2)
    with pytest.raises(OSError):
        bed.api(2, "/_ping")
    assert "sleep 424242" in bed.exec(2, "pgrep", "-af", "sleep 424242")
    bed.run("startdocker", 2, timeout=120)
    assert bed.api(2, "/containers/sleeper/json")["Name"] == "/sleeper"


def test_database_and_load_balancer_on_x(bed: Bed) -> None:
    start_mariadb(bed)
    assert query(bed, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'cattle'") == [
        ["cattle"]
    ]
    door = start_balancer(bed, [1, 2])
    until("the load balancer has found h1", lambda: pong(door), 15)
    bed.kill(1)
    began = time.monotonic()
    bed.boot(1)
    until("the load balancer is back with h1", lambda: pong(door), 30)
    assert time.monotonic() - began < 30


def test_nothing_is_left_behind() -> None:
    with Bed(1, name="tgone", net="10.77.6", docker=False) as bed:
        bed.spawn(1, "sleeper", "sleep", "515151")
        until("it runs", lambda: "sleep 515151" in bed.exec(1, "pgrep", "-af", "sleep", check=False), 10)
    assert not bed.dir.exists()
    assert not list(Path("/sys/fs/cgroup").glob("*/tgone")) + list(Path("/sys/fs/cgroup").glob("tgone"))
    spaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert "tgone" not in spaces + links
    assert subprocess.run(["pgrep", "-f", "sleep 515151"], check=False).returncode == 1


def test_two_hosts_too_many_words_and_unknown_commands_are_explained(bed: Bed) -> None:
    with pytest.raises(BedError, match="no command fly"):
        bed.run("fly")
    with pytest.raises(BedError, match="which host"):
        bed.run("kill")

"""What a node reads from its disk is what the script wrote there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.ha.support import DATABASE, generation_on_disk

from remuda.ha.node import NodeError, address, identity, load, write


def test_a_generation_comes_back_as_it_was_made(tmp_path: Path) -> None:
    secrets = generation_on_disk(tmp_path, https_port=8443)
    read = load(tmp_path)
    assert (read.size, read.number, read.ports.https_port, read.host) == (3, 1, 8443, "lb.example.com")
    assert read.database == DATABASE
    assert read.sealed_password.startswith("remuda1:")
    assert read.cluster_ca == secrets.cluster_ca
    assert read.front == secrets.front
    assert read.front_ca == secrets.front_ca
    assert read.anchor == secrets.anchor
    assert (read.redis_password, read.zookeeper_super) == (secrets.redis_password, secrets.zookeeper_super)


def test_without_a_configuration_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"run remuda-ha\.sh on this machine"):
        load(tmp_path)


def test_half_a_configuration_is_refused(tmp_path: Path) -> None:
    generation_on_disk(tmp_path)
    (tmp_path / "current" / "secret.key").write_text("rubbish")
    with pytest.raises(NodeError, match="not complete"):
        load(tmp_path)


def test_a_node_keeps_its_identity(tmp_path: Path) -> None:
    first = identity(tmp_path)
    assert identity(tmp_path) == first
    assert (tmp_path / "node").stat().st_mode & 0o077 == 0


def test_the_address_is_what_was_said_else_the_way_to_the_database() -> None:
    assert address(DATABASE, {"CATTLE_AGENT_IP": "10.9.9.9"}) == "10.9.9.9"
    assert address(DATABASE, {"CATTLE_AGENT_IP": "10.9.9.9", "REMUDA_ADVERTISE_ADDRESS": "10.8.8.8"}) == "10.8.8.8"
    assert address(DATABASE, {"REMUDA_ADVERTISE_ADDRESS": ""}) == "127.0.0.1"


def test_writing_tells_news_from_repetition(tmp_path: Path) -> None:
    assert write(tmp_path / "a" / "b", "x")
    assert not write(tmp_path / "a" / "b", "x")
    assert write(tmp_path / "a" / "b", "y")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]

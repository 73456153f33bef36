"""The start-up script: the same bytes every time, nothing in plain text that should not be, and a shell accepts it."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from remuda.adapters.crypto.keyring import FileKeyring
from remuda.ha.certificates import fingerprint as cert_fingerprint
from remuda.ha.certificates import issue, new_ca
from remuda.ha.config import HaInput, validate
from remuda.ha.script import Database, HaSecrets, fingerprint, new_secrets, render, shell_quote
from remuda.ha.sealing import SealError, seal, unseal

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DATABASE = Database(host="10.0.0.5", port=3307, name="cattle", username="cattle", password="it's a $ecret `word`")
GIVEN = HaInput(host_registration_url="https://lb.example.com:8443/v1")


def made(given: HaInput = GIVEN, previous: HaSecrets | None = None) -> tuple[bytes, HaSecrets]:
    config, problems = validate(given, NOW)
    assert config is not None, problems
    secrets = new_secrets(config, given, now=NOW, previous=previous)
    return render(config, secrets, DATABASE, "remuda/server:0.1", 4), secrets


def test_one_generation_is_always_the_same_bytes() -> None:
    config, _ = validate(GIVEN, NOW)
    assert config is not None
    secrets = new_secrets(config, GIVEN, now=NOW)
    scripts = {render(config, secrets, DATABASE, "remuda/server:0.1", 4) for _ in range(3)}
    assert len(scripts) == 1
    assert fingerprint(config, secrets).encode() in scripts.pop()


def test_it_holds_what_a_node_needs_and_no_password_in_plain_text() -> None:
    script, secrets = made()
    text = script.decode()
    assert text.startswith("#!")
    for wanted in (
        "CATTLE_HA_CLUSTER_SIZE=3", "https://lb.example.com:8443", "PORT_HTTPS=8443", "PORT_PP_HTTPS=444", "PORT_REDIS=6379",
        "PORT_SWARM=2376", "ZK_CLIENT=2181", "ZK_QUORUM=2888", "ZK_LEADER=3888", "PORT_HTTP=80", "PORT_PP_HTTP=81",
        "CATTLE_DB_CATTLE_MYSQL_HOST=10.0.0.5", "CATTLE_DB_CATTLE_MYSQL_PORT=3307",
    ):  # fmt: skip
        assert wanted in text
    assert "ecret `word`" not in text
    sealed = re.search(r"CATTLE_DB_CATTLE_PASSWORD=(\S+)", text)
    assert sealed is not None
    assert unseal(base64.b64decode(secrets.secret_key), sealed[1]) == DATABASE.password


def test_bash_accepts_it(tmp_path: Path) -> None:
    path = tmp_path / "remuda-ha.sh"
    path.write_bytes(made()[0])
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=20)


def test_an_own_certificate_is_in_it_byte_for_byte() -> None:
    ca = new_ca("Example CA", NOW)
    pair = issue(ca, "lb.example.com", ["lb.example.com"], NOW)
    given = HaInput(host_registration_url="https://lb.example.com", cert=pair.cert, key=pair.key, cert_chain=ca.cert)
    script, secrets = made(given)
    for part in (pair.cert, pair.key, ca.cert):
        assert part.encode() in script
    assert secrets.front_ca is None
    assert cert_fingerprint(secrets.anchor) == cert_fingerprint(ca.cert)


def test_a_changed_setting_keeps_the_keys_and_a_rotation_replaces_them() -> None:
    _, first = made()
    _, changed = made(HaInput(host_registration_url="https://other.example.com"), previous=first)
    _, rotated = made()
    assert changed.cluster_ca == first.cluster_ca
    assert changed.secret_key == first.secret_key
    assert changed.front_ca == first.front_ca
    assert rotated.cluster_ca != first.cluster_ca
    assert rotated.redis_password != first.redis_password


def test_sealing_refuses_another_key() -> None:
    with pytest.raises(SealError, match="different generations"):
        unseal(b"b" * 32, seal(b"a" * 32, "word"))
    assert unseal(b"b" * 32, "plain") == "plain"


@pytest.mark.parametrize("word", ["plain", "", "a b", "it's", "$(reboot)", "`x`", 'a"b', "\\", "-n", "ünï"])
def test_words_survive_the_shell(word: str) -> None:
    result = subprocess.run(
        ["bash", "-c", f'export X={shell_quote(word)}; printf %s "$X"'], check=True, capture_output=True, timeout=20
    )
    assert result.stdout.decode() == word


def test_line_breaks_are_refused() -> None:
    with pytest.raises(ValueError, match="line breaks"):
        shell_quote("a\nb")


# ---------------------------------------------------------------- run against a pretended Docker

FAKE_DOCKER = """#!/bin/sh
echo "$@" >>"$FAKE_LOG"
case "$1" in
  version) echo 20.10 ;;
  inspect) echo false ;;
esac
"""


class Machine:
    """A directory that stands for a machine: the script's paths moved below it, a docker that only takes notes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "docker.log"
        (root / "bin").mkdir()
        docker = root / "bin" / "docker"
        docker.write_text(FAKE_DOCKER)
        docker.chmod(0o755)
        fake_id = root / "bin" / "id"
        fake_id.write_text("#!/bin/sh\necho 0\n")
        fake_id.chmod(0o755)

    def run(self, script: bytes, *arguments: str, page: str = "up") -> subprocess.CompletedProcess[str]:
        text = script.decode().replace("/var/lib/remuda", str(self.root / "data"))
        text = re.sub(r"page\(\) \{.*?\n\}", f"page() {{ printf '%s\\\\n' '{page}' 'all is well'; }}", text, flags=re.S)
        path = self.root / "remuda-ha.sh"
        path.write_text(text)
        environment = {**os.environ, "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}", "FAKE_LOG": str(self.log)}
        return subprocess.run(
            ["bash", str(path), *arguments], capture_output=True, text=True, timeout=60, env=environment, check=False
        )

    @property
    def current(self) -> Path:
        return self.root / "data" / "ha" / "current"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_writes_private_files_and_starts_the_node(machine: Machine) -> None:
    script, secrets = made()
    done = machine.run(script)
    assert done.returncode == 0, done.stderr
    assert "this node is up" in done.stdout
    for file in machine.current.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    assert (machine.current / "cluster-ca.key").read_text() == secrets.cluster_ca.key
    assert (machine.current / "server.crt").read_text() == secrets.front.cert
    assert (machine.current / "redis.password").read_text().strip() == secrets.redis_password
    started = [line for line in machine.log.read_text().splitlines() if line.startswith("run ")]
    assert len(started) == 1
    assert "--net host" in started[0]
    assert "--privileged" not in started[0]
    assert started[0].endswith("remuda/server:0.1 ha-node")


def test_it_may_be_run_again_and_with_another_image(machine: Machine) -> None:
    script, _ = made()
    assert machine.run(script).returncode == 0
    assert machine.run(script, "remuda/server:0.2").returncode == 0
    assert len(list(machine.current.parent.joinpath("generations").iterdir())) == 1
    assert machine.log.read_text().strip().endswith("remuda/server:0.2 ha-node")


def test_another_cluster_of_the_same_number_is_refused_until_asked_for(machine: Machine) -> None:
    first, _ = made()
    second, secrets = made()
    assert machine.run(first).returncode == 0
    refused = machine.run(second)
    assert refused.returncode == 1
    assert "belongs to another cluster" in refused.stderr
    assert "--rotate" in refused.stderr
    assert machine.run(second, "--rotate").returncode == 0
    assert (machine.current / "redis.password").read_text().strip() == secrets.redis_password


def test_a_newer_generation_replaces_an_older_one_but_not_the_other_way(machine: Machine) -> None:
    config, _ = validate(GIVEN, NOW)
    assert config is not None
    old = new_secrets(config, GIVEN, now=NOW)
    other, _ = validate(HaInput(host_registration_url="https://b.example.com"), NOW)
    assert other is not None
    new = new_secrets(other, GIVEN, now=NOW, previous=old)
    assert machine.run(render(config, old, DATABASE, "remuda/server", 1)).returncode == 0
    assert machine.run(render(other, new, DATABASE, "remuda/server", 2)).returncode == 0
    back = machine.run(render(config, old, DATABASE, "remuda/server", 1))
    assert back.returncode == 1
    assert "older generation 1" in back.stderr


@pytest.mark.parametrize("argument", ["--nonsense", "a b", "$(reboot)", "x;y"])
def test_odd_arguments_are_refused_before_anything_is_touched(machine: Machine, argument: str) -> None:
    done = machine.run(made()[0], argument)
    assert done.returncode == 1
    assert not machine.current.exists()


def test_a_machine_without_docker_is_told_so(machine: Machine) -> None:
    (machine.root / "bin" / "docker").write_text("#!/bin/sh\necho cannot connect >&2\nexit 1\n")
    done = machine.run(made()[0])
    assert done.returncode == 1
    assert "systemctl start docker" in done.stderr


def test_a_servers_keyring_opens_the_database_password() -> None:
    keyring = FileKeyring(b"k" * 32)
    sealed = seal(b"k" * 32, "word")
    assert sealed == seal(b"k" * 32, "word")
    assert keyring.unseal(sealed, "database") == "word"
    assert unseal(b"k" * 32, keyring.seal("other", "database")) == "other"

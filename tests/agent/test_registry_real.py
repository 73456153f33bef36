"""A registry that asks for a password, a real engine that pulls from it, and secrets as files in real containers."""

from __future__ import annotations

import base64
import json
import sys
import textwrap
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed.bed import Bed
from tests.agent.real import IMAGE, one_host
from tests.support.server import NO_NETWORK, ROOT, RemudaServer, remuda_server, until

pytestmark = [pytest.mark.bed, pytest.mark.timeout(240)]

MACHINE = 254
"""This machine's last octet on the bed's network."""
ADDRESS = "127.0.0.1:5000"
PRIVATE = f"{ADDRESS}/team/app:1"
USER, PASSWORD = "joe", "correct horse"
HASH = "$2b$06$5Hz15msm7LxHw9GugqiKIuXY2PaBsJZ54jmbxPtCkQ1CJ3ueV3iki"
"""bcrypt of the password, as htpasswd writes it."""
CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/images}}}}
http: {{addr: "127.0.0.1:5000"}}
auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}
"""
PLAIN = "swordfish of the deep"


class Agent:
    """The agent as a process of the bed's host, where it sees what the engine sees."""

    def __init__(self, bed: Bed, server: RemudaServer, folder: Path) -> None:
        self.bed, self.server, self.folder = bed, server, folder
        self.url = api(server, "POST", "registrationtokens", {})["registrationUrl"]
        self.log = Path("/dev/null")

    def start(self) -> None:
        self.log = self.bed.spawn(
            1, "agent", "env", f"PYTHONPATH={ROOT}/src", *NO_NETWORK, sys.executable, "-m", "remuda.run.agent", self.url,
            "--state", self.folder, "--docker", "unix:///run/docker.sock",
        )  # fmt: skip
        until(lambda: self.state() == "active", 40, f"the host is active: {self.log.read_text()[-2000:]}")

    def state(self) -> str:
        found = api(self.server, "GET", "hosts?removed_null=true")["data"]
        return str(found[-1]["state"]) if found else ""

    def stop(self) -> None:
        self.bed.stop(1, "agent", "TERM")
        until(lambda: self.state() != "active", 20, "the agent is gone")


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with one_host() as running:
        yield running


@pytest.fixture(scope="module")
def registry(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry on the loopback of the bed's host with one image that nobody gets without the password."""
    folder = tmp_path_factory.mktemp("registry")
    (folder / "htpasswd").write_text(f"{USER}:{HASH}\n")
    (folder / "config.yml").write_text(CONFIG.format(folder=folder))
    bed.spawn(1, "registry", "docker-registry", "serve", folder / "config.yml")
    bed.env["DOCKER_CONFIG"] = str(folder / "docker")
    until(
        lambda: "401" in bed.exec(1, "curl", "-sI", f"http://{ADDRESS}/v2/", check=False),
        20,
        "the registry asks who we are",
    )
    (folder / "docker").mkdir()
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "docker/config.json").write_text(json.dumps({"auths": {ADDRESS: {"auth": pair}}}))
    bed.docker(1, "tag", IMAGE, PRIVATE)
    bed.docker(1, "push", PRIVATE)
    (folder / "docker/config.json").unlink()
    bed.docker(1, "rmi", PRIVATE)
    return ADDRESS


@pytest.fixture(scope="module")
def server(bed: Bed) -> Iterator[RemudaServer]:
    with remuda_server(host=f"{bed.net}.{MACHINE}") as running:
        yield running


@pytest.fixture
def agent(bed: Bed, server: RemudaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    running = Agent(bed, server, tmp_path_factory.mktemp("agent"))
    running.start()
    yield running
    running.stop()
    names = bed.docker(1, "ps", "-aq").split()
    if names:
        bed.docker(1, "rm", "-f", *names)
    if PRIVATE in bed.docker(1, "images", "--format", "{{.Repository}}:{{.Tag}}"):
        bed.docker(1, "rmi", PRIVATE)


def api(server: RemudaServer, method: str, path: str, body: Any = None) -> Any:
    return server.call(method, f"/v1/projects/1a5/{path}", body)


def run(server: RemudaServer, name: str, image: str, command: str = "sleep 100000", **more: Any) -> dict[str, Any]:
    spec = {"name": name, "imageUuid": f"docker:{image}", "networkMode": "none", "command": ["sh", "-c", command]}
    return dict(api(server, "POST", "containers", {**spec, "stopSignal": "SIGKILL", **more}))


def container(server: RemudaServer, made: dict[str, Any]) -> dict[str, Any]:
    return dict(api(server, "GET", f"containers/{made['id']}"))


def running(server: RemudaServer, made: dict[str, Any]) -> bool:
    return bool(container(server, made)["state"] == "running")


def login(server: RemudaServer, registry: str, password: str) -> tuple[str, str]:
    """Ids of a registry and of its credential."""
    known = [r for r in api(server, "GET", "registries")["data"] if r["serverAddress"] == registry]
    row = known[0] if known else api(server, "POST", "registries", {"serverAddress": registry})
    body = {"registryId": row["id"], "publicValue": USER, "secretValue": password, "email": "joe@example.com"}
    return row["id"], api(server, "POST", "registrycredentials", body)["id"]


def traces(*folders: Path, words: tuple[str, ...]) -> list[str]:
    """Files below these folders that hold one of the words, as they are or in base64."""
    wanted = [form for word in words for form in (word.encode(), base64.b64encode(word.encode()).rstrip(b"="))]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(form in path.read_bytes() for form in wanted)]


def test_a_private_image_runs_once_its_password_is_right_and_nobody_writes_it_down(
    agent: Agent, server: RemudaServer, registry: str
) -> None:
    made = run(server, "private", PRIVATE)
    refused = until(lambda: (c := container(server, made))["state"] == "error" and c, 60, "the pull is refused")
    assert "cannot be pulled" in refused["transitioningMessage"]
    row, credential = login(server, registry, "wrong-password")
    until(
        lambda: "unauthorized" in container(server, made)["transitioningMessage"].lower(), 30, "it says what is wrong"
    )
    api(server, "PUT", f"registrycredentials/{credential}", {"secretValue": PASSWORD})
    until(lambda: running(server, made), 60, f"it runs: {agent.log.read_text()[-1500:]}")
    assert traces(agent.folder, server.folder, words=(PASSWORD,)) == []
    assert PASSWORD not in agent.log.read_text() + server.log
    api(server, "DELETE", f"containers/{made['id']}")
    api(server, "DELETE", f"registries/{row}")


def test_a_pull_task_brings_the_image_to_the_host(bed: Bed, agent: Agent, server: RemudaServer, registry: str) -> None:
    def ended(body: dict[str, Any]) -> dict[str, Any]:
        task = api(server, "POST", "pulltasks", {"image": PRIVATE, **body})
        return dict(
            until(lambda: (t := api(server, "GET", f"pulltasks/{task['id']}"))["transitioning"] != "yes" and t, 60)
        )

    without = ended({"mode": "all"})
    assert without["transitioning"] == "error"
    assert "no basic auth credentials" in str(without["status"])
    row, _ = login(server, registry, PASSWORD)
    assert "not cached" in str(ended({"mode": "cached"})["status"])
    assert not bed.docker(1, "images", "-q", PRIVATE)
    assert list(ended({"mode": "all"})["status"].values()) == ["Done"]
    assert bed.docker(1, "images", "-q", PRIVATE)
    api(server, "DELETE", f"registries/{row}")


def test_secrets_are_files_in_memory_with_owner_and_mode_for_as_long_as_the_container_lives(
    bed: Bed, agent: Agent, server: RemudaServer
) -> None:
    secret = api(server, "POST", "secrets", {"name": "db.pass", "value": base64.b64encode(PLAIN.encode()).decode()})
    command = textwrap.dedent("""\
        for f in db.pass own; do stat -c '%n %a %u:%g' /run/secrets/$f; done
        cat /run/secrets/db.pass; echo
        touch /run/secrets/new 2>/dev/null && echo writable
        grep ' /run/secrets ' /proc/mounts | cut -d' ' -f3
        id -u; cat /run/secrets/own 2>/dev/null || echo unreadable
        exec sleep 100000""")
    references = [
        {"secretId": secret["id"]}, {"secretId": secret["id"], "name": "own", "uid": "1000", "gid": "100", "mode": "0400"},
    ]  # fmt: skip
    made = run(server, "secretive", IMAGE, command, secrets=references, user="2000")
    until(lambda: running(server, made), 60, f"it runs: {agent.log.read_text()[-1500:]}")
    external = container(server, made)["externalId"]
    said = until(lambda: (text := bed.docker(1, "logs", external)).endswith("unreadable") and text, 20)
    assert said.splitlines() == [
        "/run/secrets/db.pass 444 0:0", "/run/secrets/own 400 1000:100", PLAIN, "tmpfs", "2000", "unreadable",
    ]  # fmt: skip
    assert PLAIN not in bed.docker(1, "inspect", external)
    assert traces(agent.folder, server.folder, words=(PLAIN,)) == []

    with pytest.raises(urllib.error.HTTPError) as refused:
        api(server, "DELETE", f"secrets/{secret['id']}")
    assert "secretive" in refused.value.read().decode()

    agent.stop()  # the host goes on without: its agent is started anew, and so is the container
    bed.docker(1, "kill", external)
    agent.start()
    until(lambda: running(server, made) and bed.docker(1, "ps", "-q"), 60, "the container runs again")
    assert bed.docker(1, "exec", external, "cat", "/run/secrets/db.pass") == PLAIN

    kept = "find /run/remuda/secrets -type f"
    assert len(bed.exec(1, "sh", "-c", kept).split()) == 2
    api(server, "DELETE", f"containers/{made['id']}")
    until(lambda: not bed.exec(1, "sh", "-c", kept).split(), 30, "the files are gone with the container")
    until(lambda: api(server, "GET", f"containers/{made['id']}")["state"] == "removed", 30)
    api(server, "DELETE", f"secrets/{secret['id']}")

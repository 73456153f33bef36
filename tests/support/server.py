"""A real ``remuda server`` process on a free port with a folder of its own, set up, with an API key; and hosts for it.

::

    with remuda_server() as server:
        server.url, server.access_key, server.secret_key      # an administrator's API key
        server.call("GET", "/v1/projects/1a5/hosts")           # decoded JSON
        with fake_host(server, "h1"):                          # a real agent process; its Docker is in memory
            ...
        server.kill(); server.start()                           # same data, same port

Everything that was started is killed at the end, by its own process id.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.services import free_ports

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 40
USERNAME, PASSWORD = "admin", "correct horse battery"
NO_NETWORK = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
"""Before the command of an agent that is started on this machine itself: it leaves this machine's network alone."""


def clean_environment(**more: str) -> dict[str, str]:
    """Our environment without settings of a developer's own servers."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RANCHER_", "REMUDA_", "CATTLE_", "COMPOSE_"))}
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1,localhost", **more}


def until(condition: Callable[[], Any], seconds: float = 20, what: str = "it") -> Any:
    """Poll until the condition gives something true; fail with ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return found


@dataclass
class RemudaServer:
    """One server process. ``kill`` is a power cut; ``start`` after it uses the same data and port."""

    folder: Path
    port: int
    access_key: str = ""
    secret_key: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "remuda.run.server", "--data", str(self.folder / "data"), "--port", str(self.port),
                 "--host", self.host],
                cwd=ROOT, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self._answers, START_SECONDS, "the server answers")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended:\n{self.log}"
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=2) as answer:
                return bool(answer.read().strip() == b"pong")
        except OSError:
            return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it and wait until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def call(self, method: str, path: str, body: Any = None, *, auth: str | None = None) -> Any:
        """One API request; raises urllib's HTTPError for refusals."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if auth is None and self.access_key:
            auth = "Basic " + base64.b64encode(f"{self.access_key}:{self.secret_key}".encode()).decode()
        if auth:
            headers["Authorization"] = auth
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            content = answer.read()
        return json.loads(content) if content else {}

    def set_up(self) -> None:
        """Create the administrator with the setup secret, and an API key."""
        secret_file = self.folder / "data" / "setup-secret"
        secret = until(lambda: secret_file.exists() and secret_file.read_text().strip(), what="the setup secret")
        wish = {"secret": secret, "username": USERNAME, "password": PASSWORD, "name": "Admin"}
        self.call("POST", "/v1/setup", wish, auth="")
        token = self.call("POST", "/v1/token", {"code": f"{USERNAME}:{PASSWORD}"}, auth="")
        key = self.call("POST", "/v1/apikeys", {"name": "tests"}, auth=f"Bearer {token['jwt']}")
        self.access_key, self.secret_key = key["publicValue"], key["secretValue"]

    def environment(self, **more: str) -> dict[str, str]:
        """Environment for programs that talk to it as the administrator."""
        ours = {
            "RANCHER_URL": self.url,
            "RANCHER_ACCESS_KEY": self.access_key,
            "RANCHER_SECRET_KEY": self.secret_key,
        }
        return clean_environment(**{**ours, **more})


@contextlib.contextmanager
def remuda_server(*, set_up: bool = True, host: str = "127.0.0.1") -> Iterator[RemudaServer]:
    """A server for as long as the block runs; ``host`` is the address of this machine at which it listens."""
    folder = Path(tempfile.mkdtemp(prefix="remuda-server-"))
    server = RemudaServer(folder, free_ports(1)[0], host=host)
    try:
        server.start()
        if set_up:
            server.set_up()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class FakeHost:
    """An agent process whose Docker engine is in memory."""

    name: str
    folder: Path
    url: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fakehost", self.url, str(self.folder), self.name],
                cwd=ROOT, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """A power cut."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text("utf-8", "replace")


@contextlib.contextmanager
def fake_host(server: RemudaServer, name: str) -> Iterator[FakeHost]:
    """A host that is active in the Default environment when the block begins."""
    token = server.call("POST", "/v1/projects/1a5/registrationtokens", {})
    folder = Path(tempfile.mkdtemp(prefix="remuda-host-"))
    host = FakeHost(name, folder, token["registrationUrl"])
    try:
        host.start()

        def active() -> bool:
            hosts = server.call("GET", "/v1/projects/1a5/hosts")["data"]
            return any(name in (h["name"], h["hostname"]) and h["state"] == "active" for h in hosts)

        try:
            until(active, 20, f"host {name} is active")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{host.log}\n{server.log[-3000:]}") from None
        yield host
    finally:
        host.kill()
        shutil.rmtree(folder, ignore_errors=True)

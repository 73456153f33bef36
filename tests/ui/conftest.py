"""A browser, a server, and a watch over both: any console error or failed request of our own fails the test.

What a test is about to provoke (a wrong password, a server that is killed) it announces with ``watch.expect(...)``.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)
from testbed.bed import HERE, Bed
from testbed.outside import DATABASE, PASSWORD, USER, start_mariadb
from tests.support import server as support
from tests.support.server import NO_NETWORK, RemudaServer, clean_environment, remuda_server, until

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "local/busybox:1"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


PATIENCE = 30_000
"""Milliseconds: a slow machine is not a fault of the page."""
expect.set_options(timeout=PATIENCE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder drive the built UI."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.ui)


class Watch:
    """Collects what no page may do; ``expect`` names by a regular expression what the test provokes itself."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self._expected: list[re.Pattern[str]] = []

    def expect(self, *patterns: str) -> None:
        self._expected += [re.compile(pattern) for pattern in patterns]

    def follow(self, page: Page, origin: str) -> None:
        def console(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.wrong.append(f"console: {message.text} {message.location.get('url', '')}")

        def answered(response: Response) -> None:
            if response.status >= 400:
                self.wrong.append(f"http: {response.status} {response.request.method} {response.url}")

        def failed(request: Request) -> None:
            # The page itself gives up questions that nobody waits for any more.
            if "ERR_ABORTED" not in (request.failure or ""):
                self.wrong.append(f"failed: {request.method} {request.url} {request.failure}")

        def asked(request: Request) -> None:
            parts = urlsplit(request.url)
            if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != urlsplit(origin).netloc:
                self.wrong.append(f"another host: {request.url}")

        page.on("console", console)
        page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))
        page.on("response", answered)
        page.on("requestfailed", failed)
        page.on("request", asked)

    def check(self) -> None:
        left = [line for line in self.wrong if not any(pattern.search(line) for pattern in self._expected)]
        assert not left, "the page misbehaved:\n" + "\n".join(left)


OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def built() -> None:
    page = ROOT / "src" / "remuda" / "static" / "index.html"
    assert page.exists(), "the user interface is not built: run scripts/ui-build"


@pytest.fixture(scope="session")
def server(built: None) -> Iterator[RemudaServer]:
    with remuda_server() as running:
        yield running


@pytest.fixture
def watch() -> Watch:
    return Watch()


def sign_in(context: BrowserContext, server: RemudaServer) -> None:
    """Give the context the cookies of the administrator, as the login page would."""
    answer = context.request.post(
        f"{server.url}/v1/token",
        data={"code": f"{support.USERNAME}:{support.PASSWORD}"},
        headers={"User-Agent": "tests"},
    )
    assert answer.ok, answer.text()


@pytest.fixture
def open_page(browser: Browser, watch: Watch, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """``open_page(server, "/hosts")``: a watched page, signed in unless ``user=False``; options go to the context."""
    contexts: list[BrowserContext] = []

    def begin(server: RemudaServer, path: str = "/", *, user: bool = True, **options: object) -> Page:
        context = browser.new_context(base_url=server.url, **{"viewport": {"width": 1280, "height": 800}, **options})  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        if user:
            sign_in(context, server)
        page = context.new_page()
        watch.follow(page, server.url)
        page.goto(path)
        if user:
            page.locator("[data-testid=connection][data-state=live]").wait_for()
        return page

    yield begin
    for context in contexts:
        context.close()
    watch.check()


# -- hosts --


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """One Docker host with a small image, and ``x`` for a database."""
    with Bed(1, name="bdui", net="10.83.0") as running:
        command = [str(HERE / "mkbusybox"), f"unix://{running.socket(1)}", IMAGE]
        subprocess.run(command, check=True, capture_output=True, timeout=90)
        yield running


@contextlib.contextmanager
def agent(server: RemudaServer, url: str, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The real agent as a process of this machine, whose network it has no right to change."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(
            [*NO_NETWORK, sys.executable, "-m", "remuda.run.agent", url, "--state", str(folder), *arguments],
            cwd=ROOT, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def registration_url(server: RemudaServer) -> str:
    return str(server.call("POST", "/v1/projects/1a5/registrationtokens", {})["registrationUrl"])


def rows(server: RemudaServer, kind: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = server.call("GET", f"/v1/projects/1a5/{kind}?limit=500")["data"]
    return found


def deploy(server: RemudaServer, name: str, compose: str, running: int, seconds: float = 60) -> dict[str, object]:
    """A stack whose ``running`` containers run."""
    stack: dict[str, object] = server.call(
        "POST", "/v1/projects/1a5/environments", {"name": name, "dockerCompose": compose, "startOnCreate": True}
    )

    def up() -> bool:
        mine = [row for row in rows(server, "containers") if row["environmentId"] == stack["id"]]
        return sum(row["state"] == "running" for row in mine) >= running

    until(up, seconds, f"{running} containers of {name} run")
    return stack


@pytest.fixture(scope="session")
def docker_server(built: None, bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemudaServer]:
    """A server with one host whose Docker is real."""
    folder = tmp_path_factory.mktemp("agent")
    with (
        remuda_server() as running,
        agent(running, registration_url(running), folder, "--docker", f"unix://{bed.socket(1)}"),
    ):
        until(lambda: any(h["state"] == "active" for h in rows(running, "hosts")), 30, "the host is active")
        yield running


class ServerOnMariaDb(RemudaServer):
    """The same server on an external database."""

    database = ""

    def start(self) -> None:
        environment = clean_environment(
            CATTLE_DB_CATTLE_MYSQL_HOST=self.database,
            CATTLE_DB_CATTLE_MYSQL_PORT="3306",
            CATTLE_DB_CATTLE_MYSQL_NAME=DATABASE,
            CATTLE_DB_CATTLE_USERNAME=USER,
            CATTLE_DB_CATTLE_PASSWORD=PASSWORD,
        )
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "remuda.run.server", "--data", str(self.folder / "data"), "--port", str(self.port),
                 "--host", "127.0.0.1"],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self._answers, 60, "the server answers")


@pytest.fixture(scope="session")
def cluster_server(built: None, bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemudaServer]:
    """A server whose database is fit for a cluster."""
    from tests.support.services import free_ports

    running = ServerOnMariaDb(tmp_path_factory.mktemp("server"), free_ports(1)[0])
    running.database = start_mariadb(bed)
    try:
        running.start()
        running.set_up()
        yield running
    finally:
        running.kill()

"""E.1 to E.5 of the walk: from an empty database to three nodes, two Docker hosts and a running stack.

Each step is a function of a :class:`testbed.walk.Walk` that returns a note for the report, or raises.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import stat
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from websockets.exceptions import ConnectionClosed

from testbed import outside
from testbed.bed import Bed, X, until
from testbed.client import ApiError, Client
from testbed.walk import PARTS, PROJECT, FailedStepError, Walk, must

IMAGES = ("remuda/server:latest", "remuda/agent:latest", "local/busybox:1")
COMPOSE = """\
version: '2'
services:
  web:
    image: local/busybox:1
    command: sh -c "echo ready; exec sleep 1000000"
    stop_signal: SIGKILL
"""


# -- E.1: one server against an empty database ---------------------------------------------------------------------------
def outside_world(walk: Walk) -> str:
    """Database and load balancer on x."""
    bed = walk.bed
    outside.start_mariadb(bed)
    outside.start_balancer(bed, [*walk.nodes, walk.spare])
    return f"MariaDB and load balancer at {bed.ip(X)}"


def generating_server(walk: Walk) -> str:
    """`docker run remuda/server` against the empty MariaDB, twice at once; then the first administrator."""
    bed = walk.bed
    first, second = walk.nodes[0], walk.nodes[min(1, len(walk.nodes) - 1)]

    def run(node: int) -> None:
        settings = {
            "CATTLE_DB_CATTLE_MYSQL_HOST": bed.ip(X), "CATTLE_DB_CATTLE_MYSQL_PORT": "3306",
            "CATTLE_DB_CATTLE_MYSQL_NAME": outside.DATABASE, "CATTLE_DB_CATTLE_USERNAME": outside.USER,
            "CATTLE_DB_CATTLE_PASSWORD": outside.PASSWORD,
        }  # fmt: skip
        flags = [word for name, value in settings.items() for word in ("-e", f"{name}={value}")]
        bed.docker(
            node, "run", "-d", "--name", "remuda", "-p", "8080:8080", *flags,
            "-v", "/var/run/docker.sock:/var/run/docker.sock", "remuda/server",
        )  # fmt: skip

    bed.each(run, [first, second] if first != second else [first])
    began = time.monotonic()
    for node in {first, second}:
        try:
            until(f"h{node}:8080 answers /ping", partial(outside.pong, bed.ip(node), 8080), 60)
        except TimeoutError as error:
            raise FailedStepError(
                f"{error}; its log ends: {bed.docker(node, 'logs', '--tail', '8', 'remuda', check=False)}"
            ) from error
    ready = time.monotonic() - began
    if second != first:
        bed.docker(second, "rm", "-f", "-v", "remuda")
    setup(walk, Client(f"http://{bed.ip(first)}:8080"), first, "remuda")
    return f"two servers at once against the empty database, both answer after {ready:.1f} s; administrator made"


def setup(walk: Walk, server: Client, node: int, container: str) -> None:
    """First run: the administrator with the one-time secret, then an API key."""
    must(server.get("/v1/setup")["required"], "a fresh database must ask for its first administrator")
    with contextlib.suppress(ApiError):
        server.get("/v1/settings")
        raise FailedStepError("settings are readable before there is an administrator")
    secret = walk.bed.docker(node, "exec", container, "cat", "/var/lib/remuda/setup-secret").strip()
    answer = {"username": "admin", "password": "correct horse battery", "name": "Admin"}
    server.post("/v1/setup", {"secret": secret, **answer})
    token = server.post("/v1/token", {"code": f"{answer['username']}:{answer['password']}"})
    server.cookie = token["jwt"]
    made = server.post("/v1/apikeys", {"name": "walk", "accountId": token["accountId"]})
    walk.key = (made["publicValue"], made["secretValue"])


# -- E.2: the script -----------------------------------------------------------------------------------------------------
def download_script(walk: Walk) -> str:
    """The database judged, bad input refused, and the same bytes twice."""
    api = Client(f"http://{walk.bed.ip(walk.nodes[0])}:8080", walk.key)
    shown = api.get("/v1/haconfigs/haconfig")
    bad = [check for check in shown["database"]["checks"] if not check["ok"]]
    must(not bad, f"the database is refused: {bad}")
    wanted = {"clusterSize": len(walk.nodes), "hostRegistrationUrl": f"https://{walk.door}"}
    for change, why in (({"clusterSize": 2}, "cluster size 2"), ({"hostRegistrationUrl": "ftp://h"}, "a bad URL")):
        status, _, _ = api.raw("POST", "/v1/haconfigs/haconfig?action=createscript", {**wanted, **change})
        must(status == 422, f"{why} was not refused with 422 but answered {status}")
    copies = []
    for _ in range(2):
        status, content, headers = api.raw("POST", "/v1/haconfigs/haconfig?action=createscript", wanted, 30)
        must(status == 200, f"createscript answered {status}: {content[:300]!r}")
        must(
            "remuda-ha.sh" in headers.get("Content-Disposition", ""), "the script is no attachment called remuda-ha.sh"
        )
        copies.append(content)
    must(copies[0] == copies[1], "the same generation gave different bytes")
    must(walk.cli("ha", "script", "-o", "-", url=api.url).encode() == copies[0], "`remuda ha script` gave other bytes")
    must(outside.PASSWORD.encode() not in copies[0], "the script holds the database password in clear")
    walk.script = copies[0]
    return f"{len(walk.script)} bytes, twice the same"


# -- E.3: the same script on every node -----------------------------------------------------------------------------------
def run_script(walk: Walk, node: int) -> None:
    """`bash remuda-ha.sh remuda/server` on a node, in the background."""
    # a copy for each node: bash reads as it goes, and would end at once if the file were being written anew for the next
    path = walk.bed.dir / f"remuda-ha-{node}.sh"
    path.write_bytes(walk.script)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    walk.bed.spawn(node, "remuda-ha.sh", "bash", path, "remuda/server")


def ui_answers(address: str, scheme: str = "https") -> bool:
    """Is the UI's page (or, in a build without one, /ping) served here?"""
    status, page, _ = Client(f"{scheme}://{address}", timeout=3).raw("GET", "/", accept="text/html")
    return status == 200 and b"<html" in page.lower()


def start_nodes(walk: Walk) -> str:
    """Stop the generating server, start all scripts, wait for the UI through the load balancer."""
    bed = walk.bed
    bed.docker(walk.nodes[0], "rm", "-f", "-v", "remuda", check=False)
    began = time.monotonic()
    for node in walk.nodes:
        run_script(walk, node)
    try:
        until("UI through the load balancer on 443", lambda: ui_answers(walk.door), 120, 0.2)
        first = time.monotonic() - began
        until("UI through the load balancer on 80", lambda: ui_answers(walk.door, "http"), 30, 0.2)
        until("the first write", lambda: walk.api.post(f"{PROJECT}/environments", {"name": "first-write"}), 60, 0.2)
        writes = time.monotonic() - began
        wait_whole(walk, 120)
    except TimeoutError as error:
        raise FailedStepError(f"{error}; {said(walk)}") from error
    return (
        f"UI after {first:.1f} s, first write after {writes:.1f} s, "
        f"all parts of all nodes after {time.monotonic() - began:.1f} s"
    )


def nodes_shown(walk: Walk, api: Client | None = None) -> dict[str, dict[str, Any]]:
    """Cluster nodes by address, as the API shows them."""
    return {node["address"]: node for node in (api or walk.api).get("/v1/clusternodes")["data"]}


def whole(walk: Walk) -> bool:
    """Is every node of ours live, with every part up, by the API and by its own page?"""
    shown = nodes_shown(walk)
    for node in walk.nodes:
        row = shown.get(walk.bed.ip(node))
        if row is None or not row["live"]:
            raise FailedStepError(f"h{node} is not live ({row and row.get('transitioningMessage')})")
        for name in PARTS:
            part = (row["parts"] or {}).get(name) or {}
            if part.get("state") != "up":
                raise FailedStepError(f"{name} of h{node} is {part.get('state')}: {part.get('message')}")
    status_pages(walk)
    return True


def wait_whole(walk: Walk, timeout: float = 90) -> None:
    """Wait for :func:`whole`."""
    until("all parts of all nodes up", lambda: whole(walk), timeout, 0.3)


def said(walk: Walk) -> str:
    """What the nodes say of themselves, for an error message."""
    words = []
    for node in walk.nodes:
        with contextlib.suppress(Exception):
            log = walk.bed.disk(node) / "log" / "remuda-ha.sh.log"
            words.append(f"h{node}: {log.read_text().strip().splitlines()[-1]}")
    return " | ".join(words)


def status_pages(walk: Walk) -> None:
    """:18080 of every node says that it is up."""
    for node in walk.nodes:
        status, page, _ = Client(f"http://{walk.bed.ip(node)}:18080", timeout=3).raw("GET", "/status.txt")
        must(status == 200 and page.split()[:1] == [b"up"], f"h{node}:18080 says {status} {page[:200]!r}")


# -- E.4: through the load balancer ---------------------------------------------------------------------------------------
def front_doors(walk: Walk) -> str:
    """UI and API on 80 and 443, PROXY on 81 and 444, login, subscribe, the nodes' own pages."""
    for port, scheme in ((80, "http"), (443, "https"), (81, "http"), (444, "https")):
        door = f"{walk.door}:{port}"
        must(ui_answers(door, scheme), f"no UI on {port}")
        Client(f"{scheme}://{door}", walk.key).get("/v1/clusternodes")
    for node in walk.nodes:
        must(_refuses_plain(walk.bed.ip(node), 81), f"h{node}:81 takes a client that speaks no PROXY protocol")
    token = walk.api.post("/v1/token", {"code": "admin:correct horse battery"})
    must(token["jwt"], "login through the load balancer gave no token")
    status_pages(walk)
    _subscribe(walk)
    shown = walk.cli("ha")
    must(all(walk.bed.ip(node) in shown for node in walk.nodes), f"`remuda ha` does not show the nodes: {shown}")
    return "80, 443, 81 and 444 serve UI and API; login, subscribe, the command and :18080 work"


def _refuses_plain(address: str, port: int) -> bool:
    try:
        return not outside.pong(address, port)
    except (OSError, http.client.HTTPException):
        return True


def _subscribe(walk: Walk) -> None:
    access = {"url": f"wss://{walk.door}{PROJECT}/subscribe?eventNames=resource.change", "token": walk.api.post(
        "/v1/token", {"code": "admin:correct horse battery"})["jwt"]}  # fmt: skip
    with contextlib.closing(walk.api.dial(access)) as events:
        made = walk.api.post(f"{PROJECT}/environments", {"name": "subscribed"})
        end = time.monotonic() + 10
        while time.monotonic() < end:
            frame = json.loads(events.recv(timeout=10))
            if frame.get("name") == "resource.change" and frame.get("resourceId") == made["id"]:
                return
    raise FailedStepError("subscribe did not show a new stack within 10 s")


# -- E.5: hosts and a stack -----------------------------------------------------------------------------------------------
def add_hosts(walk: Walk) -> str:
    """The command that the API shows, run on each Docker host."""
    made = walk.api.post(f"{PROJECT}/registrationtokens")
    token = until("the registration token is active", lambda: _active(walk, made), 20) or made
    command = token["command"].removeprefix("sudo ")
    began = time.monotonic()
    walk.bed.each(lambda host: walk.bed.exec(host, "bash", "-c", command, timeout=60), walk.hosts)
    wait_hosts(walk)
    return f"{command.split(' ', 2)[0]} run: {len(walk.hosts)} hosts active after {time.monotonic() - began:.1f} s"


def _active(walk: Walk, token: dict[str, Any]) -> dict[str, Any] | None:
    shown: dict[str, Any] = walk.api.get(f"{PROJECT}/registrationtokens/{token['id']}")
    return shown if shown.get("command") else None


def hosts_shown(walk: Walk, api: Client | None = None) -> list[dict[str, Any]]:
    """Hosts as the API shows them."""
    shown: list[dict[str, Any]] = (api or walk.api).get(f"{PROJECT}/hosts")["data"]
    return shown


def wait_hosts(walk: Walk, timeout: float = 60) -> None:
    """Wait until every Docker host is active and takes part in the network."""

    def active() -> bool:
        # hosts of the bed have no resolvers, which limits them
        states = [(host["state"], host["networkState"]) for host in hosts_shown(walk)]
        if sum(state == "active" and network in ("up", "limited") for state, network in states) < len(walk.hosts):
            raise FailedStepError(f"hosts are {states}")
        return True

    until("all hosts active", active, timeout, 0.2)


def deploy(walk: Walk) -> str:
    """A stack from compose files by `remuda up`; its containers run, spread over the hosts."""
    count = 2 * len(walk.hosts)
    folder = walk.bed.dir / "shop"
    folder.mkdir()
    (folder / "docker-compose.yml").write_text(COMPOSE)
    (folder / "rancher-compose.yml").write_text(f"web:\n  scale: {count}\n")
    began = time.monotonic()
    walk.cli("up", "-f", folder / "docker-compose.yml")
    took = time.monotonic() - began
    must(
        len(user_containers(walk)) == count,
        f"`remuda up` ended, but {len(user_containers(walk))} of {count} containers run",
    )
    places = {place for place, _ in user_containers(walk).values()}
    must(places == set(walk.hosts), f"not spread over the hosts but on {places}")
    until("the service is active", lambda: service(walk)["state"] == "active", 30)
    return f"`remuda up`: {count} containers on {len(places)} hosts after {took:.1f} s"


def service(walk: Walk) -> dict[str, Any]:
    """The stack's service."""
    found: dict[str, Any] = walk.api.get(f"{PROJECT}/services", name="web")["data"][0]
    return found


def user_containers(walk: Walk) -> dict[str, tuple[int, str]]:
    """Engine ids of the stack's running containers: (host, started at)."""
    found = {}
    for host in walk.hosts:
        for container in walk.bed.containers(host, **{"io.rancher.stack.name": "shop"}):
            inspected = walk.bed.api(host, f"/containers/{container['Id']}/json")
            found[container["Id"]] = (host, inspected["State"]["StartedAt"])
    return found


def exec_and_logs(walk: Walk) -> str:
    """Exec and logs of one container on each host, through the load balancer, by API and command."""
    listed = [c for c in walk.api.all(f"{PROJECT}/containers") if c["state"] == "running" and c.get("serviceId")]
    by_host = {container["hostId"]: container for container in listed}
    must(len(by_host) == len(walk.hosts), f"the API shows containers on {len(by_host)} hosts only")
    for container in by_host.values():
        said = execute(walk, container, "echo hello from $(hostname)")
        must("hello from" in said, f"exec on {container['name']} said {said!r}")
        said = walk.cli("exec", container["id"], "sh", "-c", "echo and again")
        must("and again" in said, f"remuda exec on {container['name']} said {said!r}")
        said = walk.cli("logs", container["id"])
        must("ready" in said, f"remuda logs of {container['name']} said {said!r}")
    return f"on {len(by_host)} hosts"


def execute(walk: Walk, container: dict[str, Any], command: str) -> str:
    """What a shell command says in a container, by the API's exec."""
    body = {"command": ["sh", "-c", command], "tty": False, "attachStdin": False, "attachStdout": True}
    access = walk.api.action(container, "execute", body)
    words = ""
    with contextlib.closing(walk.api.dial(access, exit="true")) as stream, contextlib.suppress(ConnectionClosed):
        for frame in stream:
            text = frame if isinstance(frame, str) else frame.decode()
            if text.startswith(":exit:"):
                break
            words += base64.b64decode(text).decode(errors="replace")
    return words


BEGINNING: list[tuple[str, Callable[[Walk], str | None]]] = [
    ("bed: database and load balancer", outside_world),
    ("E.1 generating servers against an empty MariaDB", generating_server),
    ("E.2 remuda-ha.sh: checked, generated, downloaded", download_script),
    ("E.3 the script on every node", start_nodes),
    ("E.4 through the load balancer", front_doors),
    ("E.5 Docker hosts by the command the API shows", add_hosts),
    ("E.5 a stack from compose", deploy),
    ("E.5 exec and logs through the load balancer", exec_and_logs),
]


@contextlib.contextmanager
def cluster(hosts: int = 2, *, nodes: int = 3, name: str = "bed", net: str = "10.77.0") -> Iterator[Walk]:
    """A whole installation (nodes, database, load balancer, hosts with agents), for benchmarks and tests."""
    numbers = list(range(1, nodes + hosts + 1))
    with Bed(len(numbers), name=name, net=net, images=IMAGES) as bed:
        walk = Walk(bed, numbers[:nodes], numbers[nodes:], spare=len(numbers) + 1)
        _all(walk, BEGINNING[: 6 if hosts else 4])
        yield walk


@contextlib.contextmanager
def alone(hosts: int = 3, *, name: str = "bed", net: str = "10.77.0") -> Iterator[Walk]:
    """One server without any cluster (on h1, with the MariaDB of x) and Docker hosts from h2 on, for benchmarks."""
    with Bed(1 + hosts, name=name, net=net, images=IMAGES) as bed:
        walk = Walk(bed, [1], list(range(2, 2 + hosts)), url=f"http://{bed.ip(1)}:8080")
        _all(walk, [*BEGINNING[:2], BEGINNING[5]])
        yield walk


def _all(walk: Walk, steps: list[tuple[str, Callable[[Walk], str | None]]]) -> None:
    for title, do in steps:
        if not walk.step(title, do):
            raise FailedStepError(f"{title}: {walk.results[-1].problem}")

"""``remuda ha``: the start-up script of the management nodes, and how they are."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from remuda.cli.client import Json
from remuda.cli.errors import REFUSED, USAGE, CliError
from remuda.cli.session import current, read_text

app = App(name="ha", group="Installation", help="High availability: status (the default), generate, script.")
CONFIG = "/v1/haconfigs/haconfig"
PORTS = {
    "http_port": "httpPort", "https_port": "httpsPort", "pp_http_port": "ppHttpPort", "pp_https_port": "ppHttpsPort",
    "redis_port": "redisPort", "zookeeper_client_port": "zookeeperClientPort",
    "zookeeper_quorum_port": "zookeeperQuorumPort", "zookeeper_leader_port": "zookeeperLeaderPort",
}  # fmt: skip


@app.default
@app.command
def status() -> None:
    """Show the management nodes and the health of their parts."""
    session = current()
    ha = session.api.request("GET", CONFIG)
    nodes = session.api.fetch_at("/v1/clusternodes")
    if session.output.form == "json":
        session.output.document({"haConfig": ha, "nodes": nodes})
        return
    quorum = ha.get("quorum") or {}
    generation = ha.get("generation") or {}
    database = ha.get("database") or {}
    session.output.line(f"enabled:    {'yes' if ha.get('enabled') else 'no'}")
    if generation:
        session.output.line(f"generation: {generation.get('number')} ({str(generation.get('fingerprint'))[:16]})")
    session.output.line(f"quorum:     {'yes' if quorum.get('ok') else 'no: ' + str(quorum.get('reason') or 'unknown')}")
    for check in database.get("checks") or []:
        if not check.get("ok"):
            said = [str(part).rstrip(".") for part in (check.get("message"), check.get("fix")) if part]
            session.output.line(f"database:   {'. '.join(said)}.")
    if nodes:
        session.output.line()
        show_nodes(nodes)
    elif not ha.get("enabled"):
        session.output.say(
            "this is a single server; `remuda ha generate --registration-url https://...` prepares a cluster"
        )


def show_nodes(nodes: list[Json]) -> None:
    """The table of management nodes."""
    nodes = sorted(nodes, key=lambda n: (n.get("slot") or 99, str(n.get("name"))))
    rows = [
        (
            n.get("slot") or "spare", n.get("name") or n.get("hostname"), n.get("address"), n.get("state"),
            "leader" if n.get("leader") else "", n.get("version"), parts_of(n), _detail(n),
        )
        for n in nodes
    ]  # fmt: skip
    current().output.table(("SLOT", "NAME", "ADDRESS", "STATE", "ROLE", "VERSION", "PARTS", "DETAIL"), rows, nodes)


def parts_of(node: Json) -> str:
    """``zookeeper ok, redis failed``."""
    return ", ".join(
        f"{name} {part.get('state')}" for name, part in (node.get("parts") or {}).items() if isinstance(part, dict)
    )


def _detail(node: Json) -> str:
    said = [
        f"{name}: {part.get('message')}"
        for name, part in (node.get("parts") or {}).items()
        if isinstance(part, dict)
        and part.get("message")
        and part.get("state") not in ("ok", "running", "healthy", "ready")
    ]
    return "; ".join(said) or str(node.get("transitioningMessage") or "")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a generation should be. What is left out stays as in the generation in force, or gets its default.

    Parameters
    ----------
    size
        Number of management nodes: 1, 3 or 5.
    registration_url
        Address under which hosts and people reach the load balancer, such as https://remuda.example.com.
    cert
        Certificate file (PEM). Default: one is made.
    key
        Its private key.
    chain
        Intermediate certificates.
    http_port
        Port of plain HTTP on every node.
    https_port
        Port of HTTPS on every node.
    pp_http_port
        Port of HTTP with PROXY protocol.
    pp_https_port
        Port of HTTPS with PROXY protocol.
    redis_port
        Port of Redis between nodes.
    zookeeper_client_port
        Port of ZooKeeper for its clients.
    zookeeper_quorum_port
        Port of ZooKeeper between nodes.
    zookeeper_leader_port
        Port of ZooKeeper's elections.
    """

    size: Annotated[int | None, Parameter(name=["--size", "-n"])] = None
    registration_url: str = ""
    cert: str = ""
    key: str = ""
    chain: str = ""
    http_port: int | None = None
    https_port: int | None = None
    pp_http_port: int | None = None
    pp_https_port: int | None = None
    redis_port: int | None = None
    zookeeper_client_port: int | None = None
    zookeeper_quorum_port: int | None = None
    zookeeper_leader_port: int | None = None

    def body(self) -> Json:
        """As the API wants it."""
        if bool(self.cert) != bool(self.key):
            raise CliError("--cert and --key belong together", USAGE)
        found: Json = {}
        if self.size is not None:
            found["clusterSize"] = self.size
        if self.registration_url:
            found["hostRegistrationUrl"] = self.registration_url
        for name, path in (("cert", self.cert), ("key", self.key), ("certChain", self.chain)):
            if path:
                found[name] = read_text(path)
        ports = {theirs: getattr(self, ours) for ours, theirs in PORTS.items()}
        return found | {name: port for name, port in ports.items() if port is not None}


NO_WISHES = Wishes()


@app.command
def generate(wishes: Wishes = NO_WISHES, *, rotate: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Judge the wishes and make a configuration generation of them; the same wishes give the same generation.

    Parameters
    ----------
    wishes
        What it should be.
    rotate
        A new generation with new keys, also where nothing else changed. All nodes must run the new script.
    """
    session = current()
    action = "rotate" if rotate else "generate"
    made = session.api.request("POST", CONFIG, wishes.body(), params={"action": action}, repeat=not rotate)
    if session.output.form == "json":
        session.output.document(made)
        return
    generation = made.get("generation") or {}
    session.output.line(f"generation {generation.get('number')} ({str(generation.get('fingerprint'))[:16]})")
    session.output.say("next: `remuda ha script`, and run it on every management node")


@app.command
def script(
    wishes: Wishes = NO_WISHES,
    *,
    output: Annotated[str, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)] = "remuda-ha.sh",
) -> None:
    """Get the script that starts a management node; the same generation gives the same bytes.

    Parameters
    ----------
    wishes
        What it should be. Without any: the generation in force.
    output
        File to write, for its owner only; - for stdout.
    """
    session = current()
    answer = session.api.raw("POST", CONFIG, wishes.body(), params={"action": "createscript"}, repeat=True)
    if output == "-":
        session.output.out.flush()
        sys.stdout.buffer.write(answer.content)
        sys.stdout.buffer.flush()
        return
    write_private(Path(output), answer.content)
    session.output.say(
        f"wrote {output}; it holds keys, so keep it private. Run it on every node: bash {Path(output).name}"
    )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, also when it was there before."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}", REFUSED) from None

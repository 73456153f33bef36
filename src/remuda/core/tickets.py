"""What a ticket for a stream says, in the claims of 1.x, and what a host is asked for because of it. Pure.

A ticket names one thing to do on one host, decided when it was handed out. Nothing that its bearer sends can change that.
"""

from __future__ import annotations

from typing import Any

from remuda.core.spec import LaunchConfig

ISSUER, SUBJECT = "http://cattle.io", "cattle"
SECONDS, PROXY_SECONDS = 300, 57_600
"""How long a ticket is good for: to open a stream, and to look at a container's pages (16 hours)."""

EXEC, LOGS, CONSOLE, DOCKER, PROXY = "exec", "logs", "console", "dockersocket", "container-proxy"
HOST_STATS, CONTAINER_STATS, STATS = "hoststats", "containerstats", "stats"
SOCKETS = (EXEC, LOGS, CONSOLE, DOCKER, HOST_STATS, CONTAINER_STATS, STATS)
"""Paths below /v1/ at which a WebSocket is opened with a ticket."""
TWO_WAY = (EXEC, CONSOLE, DOCKER)
"""Those in which the bearer speaks, too."""

Claims = dict[str, Any]


def seconds(path: str) -> int:
    """How long a ticket for this path is good for."""
    return PROXY_SECONDS if path == PROXY else SECONDS


def url(root: str, path: str) -> str:
    """Where such a ticket is shown; 1.x ends some of these with a slash, and some not."""
    scheme = root if path == PROXY else "ws" + root.removeprefix("http")
    return f"{scheme}/v1/{path}" + ("" if path in (HOST_STATS, CONTAINER_STATS, STATS) else "/")


def execution(container: str, command: list[str], *, tty: bool, stdin: bool, stdout: bool) -> Claims:
    """To run a command."""
    told = {"AttachStdin": stdin, "AttachStdout": stdout, "Tty": tty, "Cmd": command, "Container": container}
    return {"exec": told}


def logs(container: str, spec: LaunchConfig, *, lines: int, follow: bool, timestamps: bool, since: str) -> Claims:
    """To read what a container says."""
    told = {"Container": container, "Lines": lines, "Follow": follow, "Timestamps": timestamps, "Since": since}
    return {"logs": {**told, "Tty": spec.tty}}


def console(container: str) -> Claims:
    """To sit at a container's own terminal."""
    return {"console": {"Container": container}}


def proxy(container: str, scheme: str, port: int) -> Claims:
    """To look at what a port of a container serves."""
    return {"proxy": {"Container": container, "scheme": scheme, "port": port}}


def stats(host: str | None, containers: dict[str, str]) -> Claims:
    """To read the numbers of a host, or of containers: Docker's id -> ours."""
    return {"resourceId": host} if host is not None else {"containerIds": containers}


def wish(path: str, claims: Claims) -> tuple[str, dict[str, Any]]:
    """The kind of stream and the arguments for which a host is asked."""
    match path:
        case "exec":
            told = claims["exec"]
            return "exec", {
                "container": told["Container"],
                "command": told["Cmd"],
                "tty": told["Tty"],
                "stdin": told["AttachStdin"],
            }
        case "logs":
            told = claims["logs"]
            since = str(told["Since"])
            return "logs", {
                "container": told["Container"],
                "follow": told["Follow"],
                "lines": told["Lines"],
                "timestamps": told["Timestamps"],
                "since": int(since) if since.isascii() and since.isdecimal() else 0,
            }
        case "console":
            return "console", {"container": claims["console"]["Container"]}
        case "dockersocket":
            return "docker", {}
        case "container-proxy":
            told = claims["proxy"]
            return "port", {"container": told["Container"], "port": told["port"], "tls": told["scheme"] == "https"}
        case _:
            return "stats", {"containers": claims.get("containerIds") or {}}

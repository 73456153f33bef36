"""What an operator asks of a cluster, checked: sizes, the Host Registration URL, ports, the certificate.

Everything is judged here once and for all, before a script exists: a node must never be the first to find out that a key
does not match or that two ports collide. Pure functions; nothing is resolved, dialled or stored. Refusals carry the field,
a stable code and a sentence with the fix.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from typing import Literal

import msgspec

from remuda.ha.certificates import CertificateInfo, CertificateProblem, inspect_own

SIZES = {1: "no node may fail", 3: "any one node may fail", 5: "any two nodes may fail"}

PORT_FIELDS: dict[str, str] = {
    "http_port": "httpPort",
    "https_port": "httpsPort",
    "pp_http_port": "ppHttpPort",
    "pp_https_port": "ppHttpsPort",
    "redis_port": "redisPort",
    "swarm_port": "swarmPort",
    "zookeeper_client_port": "zookeeperClientPort",
    "zookeeper_quorum_port": "zookeeperQuorumPort",
    "zookeeper_leader_port": "zookeeperLeaderPort",
}
RESERVED_PORTS = {8080: "the server of each node", 18080: "the status page of each node"}
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong (``error``) or worth knowing (``warning``) about a field of the input."""

    field: str
    code: str
    message: str
    severity: Literal["error", "warning"] = "error"


class Ports(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The nine ports of a node."""

    http_port: int = 80
    https_port: int = 443
    pp_http_port: int = 81
    pp_https_port: int = 444
    redis_port: int = 6379
    swarm_port: int = 2376
    zookeeper_client_port: int = 2181
    zookeeper_quorum_port: int = 2888
    zookeeper_leader_port: int = 3888


class HaInput(Ports, frozen=True, kw_only=True, rename="camel"):
    """``haConfigInput`` as it arrives. ``cert`` empty means: make a self-signed one."""

    cluster_size: int = 3
    host_registration_url: str = ""
    http_enabled: bool = True
    swarm_enabled: bool = False
    cert: str | None = None
    cert_chain: str | None = None
    key: str | None = None


class HaConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The public part of a generation: what may be shown to anybody who may see the page."""

    cluster_size: int
    host_registration_url: str
    host: str
    """The host part of the URL: what the certificate must cover."""
    ports: Ports
    http_enabled: bool = True
    swarm_enabled: bool = False
    certificate: CertificateInfo | None = None
    """The operator's own certificate; None: the generation holds a self-signed CA and certificate."""


def validate(given: HaInput, now: datetime) -> tuple[HaConfig | None, list[Problem]]:
    """Judge the input; the configuration is None as soon as one problem is an error. ``now`` must be aware (UTC)."""
    problems: list[Problem] = []
    if given.cluster_size not in SIZES:
        problems.append(Problem("clusterSize", "InvalidClusterSize", _why_not(given.cluster_size)))
    url, host, port = _url(given.host_registration_url, problems)
    ports = _follow_url(given, url, port, problems)
    problems += _port_problems(ports, given)
    certificate = None
    if _text(given.cert) or _text(given.key) or _text(given.cert_chain):
        found, wrong = inspect_own(_text(given.cert), _text(given.cert_chain), _text(given.key), host, now)
        certificate = found
        problems += [_from_certificate(item) for item in wrong]
    if any(item.severity == "error" for item in problems):
        return None, problems
    return HaConfig(
        cluster_size=given.cluster_size,
        host_registration_url=url,
        host=host,
        ports=ports,
        http_enabled=given.http_enabled,
        swarm_enabled=given.swarm_enabled,
        certificate=certificate,
    ), problems


def _text(value: str | None) -> str:
    return (value or "").strip()


def _from_certificate(item: CertificateProblem) -> Problem:
    return Problem(item.field, item.code, item.message, item.severity)


def _why_not(size: int) -> str:
    choices = "Choose 1 (no node may fail), 3 (any one may fail) or 5 (any two may fail)."
    if size > 0 and size % 2 == 0:
        return (
            f"A cluster of {size} survives no more failures than one of {size - 1}, because a majority must stay: "
            f"even sizes only add something that can break. {choices}"
        )
    return f"A cluster of {size} nodes is not supported. {choices}"


class _UrlError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


_EXAMPLE = "for example https://remuda.example.com"


def _url(text: str, problems: list[Problem]) -> tuple[str, str, int | None]:
    """The normalised URL, its host, and the port if one was written; all empty when it was refused."""
    try:
        scheme, authority = _split_url(text.strip())
        host, port = _host_and_port(authority)
    except _UrlError as bad:
        problems.append(Problem("hostRegistrationUrl", bad.code, str(bad)))
        return "", "", None
    _warn_host(host, scheme, problems)
    default = 443 if scheme == "https" else 80
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + (f":{port}" if port not in (None, default) else ""), host, port


def _split_url(text: str) -> tuple[str, str]:
    if not text:
        message = f"Give the address under which hosts reach the load balancer, {_EXAMPLE}."
        raise _UrlError("MissingRequired", message)
    if re.search(r"[\s\x00-\x1f\"'`$\\<>]", text):
        message = "The URL contains spaces or characters that no address has; remove them."
        raise _UrlError("InvalidCharacters", message)
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "https", text
    scheme = scheme.lower()
    if scheme not in ("http", "https"):
        raise _UrlError("InvalidScheme", f"The URL must start with https:// (or http://), not {scheme}://.")
    if "?" in rest or "#" in rest:
        message = "Leave out everything from the '?' or '#' on: hosts only need scheme, name and port."
        raise _UrlError("UrlHasQuery", message)
    authority, _, path = rest.partition("/")
    if "@" in authority:
        message = "Leave out the user and password before the '@': hosts get their own keys."
        raise _UrlError("UrlHasUserinfo", message)
    if path.strip("/").lower() not in ("", "v1", "v2-beta"):
        message = f"Leave out '/{path}': the server must be reached at the root of its address."
        raise _UrlError("UrlHasPath", message)
    return scheme, authority


def _host_and_port(authority: str) -> tuple[str, int | None]:
    host, port_text = _split_authority(authority)
    if not host:
        raise _UrlError("MissingRequired", f"The URL has no host name; write the whole address, {_EXAMPLE}.")
    if not _good_host(host):
        raise _UrlError("InvalidHost", f"'{host}' is neither a host name nor an IP address.")
    if not port_text:
        return host, None
    if not re.fullmatch(r"[0-9]{1,5}", port_text) or not 1 <= int(port_text) <= 65535:
        raise _UrlError("InvalidPort", f"':{port_text}' is not a port; ports are numbers from 1 to 65535.")
    return host, int(port_text)


def _split_authority(authority: str) -> tuple[str, str]:
    if authority.startswith("["):
        host, _, tail = authority[1:].partition("]")
        return host.lower(), tail.removeprefix(":")
    if authority.count(":") > 1:
        return authority.lower(), ""
    host, _, port = authority.partition(":")
    return host.lower().rstrip("."), port


def _good_host(host: str) -> bool:
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True
    return len(host) <= 253 and all(_LABEL.match(label) for label in host.split("."))


def _warn_host(host: str, scheme: str, problems: list[Problem]) -> None:
    field = "hostRegistrationUrl"
    if scheme == "http":
        message = (
            "Hosts and browsers will talk to the cluster unencrypted. Use https:// unless the network is your own."
        )
        problems.append(Problem(field, "UrlNotEncrypted", message, "warning"))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if host == "localhost" or host.endswith(".localhost"):
            message = "localhost is a different machine on every host: only hosts on this very machine could register."
            problems.append(Problem(field, "UrlIsLocalhost", message, "warning"))
        return
    if address.is_loopback or address.is_unspecified:
        message = f"{host} is a different machine on every host: only hosts on this very machine could register."
        problems.append(Problem(field, "UrlIsLocalhost", message, "warning"))
    elif address.is_private:
        message = f"{host} is a private address: hosts outside of that network cannot register."
        problems.append(Problem(field, "UrlIsPrivate", message, "warning"))


def _follow_url(given: HaInput, url: str, port: int | None, problems: list[Problem]) -> Ports:
    """The ports; one written in the URL is also the port of the nodes, unless the operator chose another."""
    ports = Ports(**{name: getattr(given, name) for name in PORT_FIELDS})
    if port is None:
        return ports
    name, default = ("https_port", 443) if url.startswith("https:") else ("http_port", 80)
    if port == getattr(ports, name):
        return ports
    if getattr(ports, name) == default:
        return msgspec.structs.replace(ports, **{name: port})
    message = (
        f"The URL says port {port} and the nodes will listen on {getattr(ports, name)}: "
        "right only if the load balancer translates between the two."
    )
    problems.append(Problem(PORT_FIELDS[name], "PortDiffersFromUrl", message, "warning"))
    return ports


def _port_problems(ports: Ports, given: HaInput) -> list[Problem]:
    problems: list[Problem] = []
    seen: dict[int, str] = {}
    unused = ({"swarm_port"} if not given.swarm_enabled else set()) | (
        {"http_port"} if not given.http_enabled else set()
    )
    for name, field in PORT_FIELDS.items():
        port = getattr(ports, name)
        if not 1 <= port <= 65535:
            problems.append(Problem(field, "InvalidPort", f"{port} is not a port; ports are numbers from 1 to 65535."))
            continue
        if name in unused:
            continue
        if port in seen:
            message = f"Port {port} is already used for {seen[port]}; each purpose needs its own port."
            problems.append(Problem(field, "DuplicatePort", message))
        elif port in RESERVED_PORTS:
            message = f"Port {port} belongs to {RESERVED_PORTS[port]}; choose another."
            problems.append(Problem(field, "ReservedPort", message))
        seen.setdefault(port, field)
    return problems

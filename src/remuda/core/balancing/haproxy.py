"""A load balancer's work as haproxy's configuration. Pure.

The text has two parts in one: the *structure* (listeners, routes, backends, how many slots), which needs a reload when it
changes, and what sits in the slots, which is also told over the runtime socket; the file always holds both, so that a haproxy
that starts without anybody's help serves at once.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence

from remuda.core.balancing.config import HEALTH_PORT
from remuda.core.balancing.slots import DRAIN, MAINT, Slot
from remuda.core.balancing.targets import HTTP, SECURE, Backend, Balance, Listener, Route

FOLDER = "/etc/haproxy"
SOCKET, MASTER, FILE, NEXT, CERTIFICATES = "admin.sock", "master.sock", "haproxy.cfg", "next.cfg", "certs"
_SECTION = re.compile(r"^(global|defaults|frontend|backend|listen)\b[ \t]*(\S*)", re.MULTILINE)

GLOBAL = (
    "maxconn 8192",
    # fewer connections, said in the log, beat a balancer that does not start where file descriptors are short
    "no strict-limits",
    "log stdout format raw local0 notice",
    f"stats socket {FOLDER}/{SOCKET} mode 600 level admin expose-fd listeners",
    "hard-stop-after 1h",
    "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
    "tune.ssl.default-dh-param 2048",
)
DEFAULTS = (
    "mode tcp",
    "log global",
    "option dontlognull",
    "option redispatch 1",
    "retries 3",
    "timeout connect 5s",
    "timeout client 50s",
    "timeout server 50s",
    "timeout tunnel 1h",
    "timeout http-keep-alive 10s",
    # longer than the second after which a lost SYN is sent again: a busy target is no dead one
    "default-server inter 2s fastinter 1500ms downinter 1s fall 3 rise 1 pool-purge-delay 1s",
)
CUT = "on-marked-down shutdown-sessions"
"""Connections to a target that checks count as out end. Not for HTTP, whose answers do come from a target that is merely slow."""


def render(balance: Balance, slots: Mapping[str, Sequence[Slot]]) -> str:
    """The whole file."""
    extra = _users(balance.config)
    head = structure(balance, {name: len(found) for name, found in slots.items()})
    lines = [f"# {head}"]
    lines += _section("global", [*GLOBAL, f"description {head}"], extra)
    lines += _section("defaults", DEFAULTS, extra)
    # the balancer's own health: it answers as long as it serves
    lines += [f"frontend health_{HEALTH_PORT}", f"  bind :{HEALTH_PORT}", "  mode http", "  monitor-uri /"]
    for listener in balance.listeners:
        lines += _section(f"frontend {listener.port}", _frontend(listener, balance), extra)
    for backend in balance.backends:
        body = _backend(backend, balance, slots.get(backend.name, ()))
        lines += _section(f"backend {backend.name}", body, extra)
    lines += [line for name, body in extra.items() for line in (name, *(f"  {one}" for one in body))]
    return "\n".join(lines) + "\n"


def structure(balance: Balance, sizes: Mapping[str, int]) -> str:
    """A name for everything but what sits in the slots: another name needs a reload."""
    bare = balance._replace(backends=tuple(backend._replace(servers=()) for backend in balance.backends))
    return f"remuda-{zlib.crc32(repr((bare, sorted(sizes.items()))).encode()):08x}"


def _section(name: str, body: Sequence[str], extra: dict[str, list[str]]) -> list[str]:
    """A section of ours with what the user adds to it."""
    return [name, *(f"  {line}" for line in (*body, *extra.pop(name, ())))]


def _users(text: str) -> dict[str, list[str]]:
    """The user's own text by section."""
    found: dict[str, list[str]] = {}
    current = ""
    for line in text.splitlines():
        section = _SECTION.match(line)
        if section is not None:
            current = f"{section[1]} {section[2]}".strip()
            found.setdefault(current, [])
        elif line.strip() and current:
            found[current].append(line.strip())
    return found


def _frontend(listener: Listener, balance: Balance) -> list[str]:
    http, secure = listener.protocol in HTTP, listener.protocol in SECURE
    bind = f"bind :{listener.port}" + (" accept-proxy" if listener.proxied else "")
    if secure:
        bind += f" ssl crt {FOLDER}/{CERTIFICATES}/" + (" strict-sni" if balance.strict else "")
        bind += " alpn h2,http/1.1" if http else ""
    lines = [bind, f"mode {'http' if http else 'tcp'}"]
    if http:
        lines += [
            "option forwardfor",
            f"http-request set-header X-Forwarded-Proto {'https' if secure else 'http'}",
            "http-request set-header X-Forwarded-Port %[dst_port]",
        ]
    if listener.protocol == "sni":
        lines += ["tcp-request inspect-delay 5s", "tcp-request content accept if { req.ssl_hello_type 1 }"]
    for route in listener.routes:
        condition = _condition(route, http)
        lines.append(f"use_backend {route.backend} if {condition}" if condition else f"default_backend {route.backend}")
    return lines


def _condition(route: Route, http: bool) -> str:
    parts = []
    if route.host:
        fetch = "req.hdr(host),field(1,:),lower" if http else "req.ssl_sni,lower"
        host = route.host
        if host.startswith("*"):
            parts.append(f"{{ {fetch} -m end {host.lstrip('*')} }}")
        elif host.endswith("*"):
            parts.append(f"{{ {fetch} -m beg {host.rstrip('*')} }}")
        else:
            parts.append(f"{{ {fetch} -m str {host} }}")
    if route.path and http:
        parts.append(f"{{ path_beg -i {route.path} }}")
    return " ".join(parts)


def _backend(backend: Backend, balance: Balance, slots: Sequence[Slot]) -> list[str]:
    lines = [f"mode {'http' if backend.http else 'tcp'}", "balance roundrobin"]
    if backend.http:
        lines += [
            "http-reuse safe",
            # a request that may be repeated is, when the server that it went to has just gone
            "retry-on conn-failure empty-response 0rtt-rejected",
            "http-request disable-l7-retry unless METH_GET or { method HEAD OPTIONS }",
        ]
        lines += _cookie(balance)
    lines += _check(backend)
    lines += [] if backend.http else [f"default-server {CUT}"]
    proxy = {"v1": " send-proxy check-send-proxy", "v2": " send-proxy-v2 check-send-proxy"}.get(balance.send_proxy, "")
    for number, slot in enumerate(slots, 1):
        if slot.state == MAINT or not slot.address:
            lines.append(f"server s{number} 0.0.0.0:80 check{proxy} disabled")
        else:
            weight = 0 if slot.state == DRAIN else slot.weight
            lines.append(
                f"server s{number} {slot.address}:{slot.port} check{proxy}"
                + (f" weight {weight}" if weight != 1 else "")
            )
    return lines


def _cookie(balance: Balance) -> list[str]:
    policy = balance.stickiness
    if policy is None:
        return []
    words = ["cookie", policy.cookie or policy.name or "REMUDA", policy.mode, "dynamic"]
    words += [word for word in ("indirect", "nocache", "postonly") if getattr(policy, word)]
    words += ["domain", policy.domain] if policy.domain else []
    return ["dynamic-cookie-key remuda", " ".join(words)]


def _check(backend: Backend) -> list[str]:
    check = backend.check
    if check is None or not check.request_line:
        return []
    words = check.request_line.split()
    method, path = (words[0], words[1]) if len(words) > 1 else ("GET", words[0])
    lines = ["option httpchk", f"http-check send meth {method} uri {path}", "http-check expect status 200-399"]
    lines.append(
        f"default-server inter {check.interval}ms fastinter {check.interval}ms downinter 1s "
        f"fall {check.unhealthy_threshold} rise {check.healthy_threshold}"
    )
    return lines

"""The front door of a node: haproxy's configuration, as text.

Four listeners: plain and TLS, each also with PROXY protocol for load balancers that speak it. Requests go to the server of
this node; when that is down, to the peers' front doors, over TLS under the cluster's CA and with a mark that keeps the
request from being passed on a second time. Where the client really is, is settled at the first door and told to the server
in ``X-Forwarded-For``, which therefore always holds exactly one address.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import msgspec

from remuda.ha.config import Ports

SERVER_PORT = 8080
NODE_NAME = "remuda-node"
"""The name by which doors know each other in TLS: each node's own certificate covers it."""
HOP = "X-Remuda-Hop"
UNSEALED = "not-in-force"
"""Stands in the text where a digest is put when it comes in force, so that a running haproxy can be asked what it read."""
ADMIN_SOCKET = "admin.sock"
_PRIVATE = "127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 169.254.0.0/16 ::1 fc00::/7 fe80::/10"

UNAVAILABLE = """HTTP/1.0 503 Service Unavailable
Cache-Control: no-cache
Connection: close
Retry-After: 2
Content-Type: text/plain; charset=utf-8

Remuda: no server answers here just now.

This node's front door works, but neither the server of this node nor one of its peers does. They are starting,
or they cannot reach the database. What each part waits for, and why, is shown on port 18080 of each management
node. Running containers are not affected.
"""


class Peer(msgspec.Struct, frozen=True):
    """Another node whose front door may be asked."""

    name: str
    address: str


def hop_mark(secret_key: str) -> str:
    """Proof that a request comes from another door of this cluster: only they know the key."""
    return hmac.new(secret_key.encode(), b"remuda ingress hop", hashlib.sha256).hexdigest()[:32]


def configuration(
    ports: Ports, peers: Sequence[Peer], *, directory: str, mark: str, http: bool = True, server: bool = True,
    server_port: int = SERVER_PORT, bind: str = "", ipv6: bool = True,
) -> str:  # fmt: skip
    """``haproxy.cfg``. ``server``: this node runs one (a spare does not). ``bind``: one address instead of all."""
    where = (bind, "") if bind else ("::", " v4v6") if ipv6 else ("*", "")
    return "\n".join(
        [
            *_global(directory),
            *_front(ports, directory, mark, http, where),
            *_back(ports, peers, directory, mark, server, server_port),
        ]
    )


def _global(directory: str) -> list[str]:
    return f"""global
    description {UNSEALED}
    log stdout format raw local0 notice
    maxconn 8000
    no strict-limits
    hard-stop-after 1h
    stats socket {directory}/{ADMIN_SOCKET} mode 600 level admin expose-fd listeners
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    ssl-default-bind-ciphers ECDHE+AESGCM:ECDHE+CHACHA20
    tune.ssl.default-dh-param 2048

defaults
    mode http
    log global
    option dontlognull
    option dontlog-normal
    option redispatch 1
    retries 3
    timeout connect 2s
    timeout http-request 15s
    timeout http-keep-alive 60s
    timeout client 75s
    timeout server 75s
    timeout queue 5s
    timeout tunnel 1h
    timeout client-fin 10s
    timeout check 2s
    errorfile 503 {directory}/503.http
""".splitlines()


def _front(ports: Ports, directory: str, mark: str, http: bool, where: tuple[str, str]) -> list[str]:
    at, tail = where
    crt = f"ssl crt {directory}/front.pem alpn http/1.1"
    both = f"ssl crt {directory}/front.pem crt {directory}/node.pem alpn http/1.1"
    binds = [f"    bind {at}:{ports.http_port}{tail} id 1"] if http else []
    binds += [
        f"    bind {at}:{ports.pp_http_port}{tail} id 2 accept-proxy",
        f"    bind {at}:{ports.https_port}{tail} id 3 {crt}",
        f"    bind {at}:{ports.pp_https_port}{tail} id 4 accept-proxy {both}",
    ]
    return [
        "frontend door",
        *binds,
        *f"""    acl hop req.hdr({HOP}) -m str {mark}
    acl by_proxy_protocol so_id 2 4
    acl near src {_PRIVATE}
    acl has_for req.hdr(X-Forwarded-For) -m found
    acl has_proto req.hdr(X-Forwarded-Proto) -m found
    acl has_port req.hdr(X-Forwarded-Port) -m found
    acl pp_tls dst_port 443 {ports.https_port}
    # Passed on by another door: everything is settled, and it must not be passed on again.
    http-request set-var(txn.settled) bool(true) if hop
    http-request del-header {HOP}
    # The client: from PROXY protocol if there is; else what a load balancer nearby added last; else who is connected.
    http-request set-var(txn.client) src
    http-request set-var(txn.client) req.hdr(X-Forwarded-For,-1) if near has_for !by_proxy_protocol
    http-request set-header X-Forwarded-For %[var(txn.client)] unless {{ var(txn.settled) -m bool }}
    http-request set-header X-Forwarded-Proto https if !{{ var(txn.settled) -m bool }} {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto https if !{{ var(txn.settled) -m bool }} by_proxy_protocol pp_tls
    http-request set-header X-Forwarded-Proto http if !{{ var(txn.settled) -m bool }} !{{ ssl_fc }} by_proxy_protocol !pp_tls
    http-request set-header X-Forwarded-Proto http if !{{ var(txn.settled) -m bool }} !{{ ssl_fc }} !by_proxy_protocol !has_proto
    http-request set-header X-Forwarded-Proto http if !{{ var(txn.settled) -m bool }} !{{ ssl_fc }} !by_proxy_protocol !near
    http-request set-header X-Forwarded-Port %[dst_port] if !{{ var(txn.settled) -m bool }} by_proxy_protocol
    http-request set-header X-Forwarded-Port %[dst_port] if !{{ var(txn.settled) -m bool }} !by_proxy_protocol !has_port
    http-request set-header X-Forwarded-Port %[dst_port] if !{{ var(txn.settled) -m bool }} !by_proxy_protocol !near
    use_backend here if {{ var(txn.settled) -m bool }}
    default_backend cluster
""".splitlines(),
    ]


def _back(ports: Ports, peers: Sequence[Peer], directory: str, mark: str, server: bool, server_port: int) -> list[str]:
    check = "check inter 500ms fastinter 250ms fall 2 rise 1 on-marked-down shutdown-sessions"
    local = [f"    server local 127.0.0.1:{server_port} {check}"] if server else []
    tls = f"ssl ca-file {directory}/cluster-ca.pem verify required sni str({NODE_NAME}) verifyhost {NODE_NAME}"
    lines = [
        "backend here",
        "    option httpchk",
        "    http-check send meth GET uri /ping ver HTTP/1.1 hdr Host localhost",
        "    http-check expect status 200",
        *local,
        "",
        "backend cluster",
        "    balance roundrobin",
        "    option httpchk",
        f"    http-check send meth GET uri /ping ver HTTP/1.1 hdr Host localhost hdr {HOP} {mark}",
        "    http-check expect status 200",
        "    option allbackups",
        "    default-server init-addr last,libc,none",
        *local,
    ]
    # Whoever gets it, knows that the client is settled; a peer will not pass it on.
    lines.append(f"    http-request set-header {HOP} {mark}")
    for peer in sorted(peers, key=lambda item: item.name):
        host = f"[{peer.address}]" if ":" in peer.address else peer.address
        lines.append(
            f"    server {peer.name} {host}:{ports.pp_https_port} {tls} send-proxy-v2 "
            f"check-ssl check-sni {NODE_NAME} check-send-proxy {check} backup"
        )
    return [*lines, ""]

"""The canonical rule model of a load balancer service (``lbConfig`` of the later 1.x API).

Older ways to say the same (links with ``io.rancher.loadbalancer.target.*`` labels, ``load_balancer_config``) are converted to it
by :mod:`remuda.core.balancing.compose`; nothing else knows them.
"""

from __future__ import annotations

import msgspec

PROTOCOLS = ("http", "https", "tcp", "tls", "sni")
HEAVIEST = 256
"""The greatest weight, which is haproxy's."""
HEALTH_PORT = 42
"""Every balancer answers here while it serves; no rule may listen on it."""


class PortRule(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Requests that arrive at ``source_port`` and match ``hostname`` and ``path`` go to ``target_port`` of a service or of all
    services whose labels match ``selector``. Lower ``priority`` first; 0 = by how exact the rule is."""

    source_port: int
    target_port: int = 0
    """0 = the source port."""
    protocol: str = "http"
    hostname: str = ""
    path: str = ""
    service_id: int | None = None
    container_id: int | None = None
    selector: str = ""
    priority: int = 0
    backend_name: str = ""
    weight: int = 0
    """Share among rules with the same match, 1-256; 0 = all alike."""


class StickinessPolicy(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Keep a client at the backend that it reached first. ``mode``: rewrite, insert or prefix."""

    name: str = ""
    cookie: str = ""
    domain: str = ""
    indirect: bool = False
    nocache: bool = False
    postonly: bool = False
    mode: str = "insert"


class LbConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """All rules of one load balancer service. ``config`` is haproxy text of the user's, merged section by section."""

    port_rules: list[PortRule] = []
    certificate_ids: list[int] = []
    default_certificate_id: int | None = None
    stickiness_policy: StickinessPolicy | None = None
    config: str = ""
    proxy_protocol_ports: list[int] = []
    """Source ports whose clients speak the PROXY protocol to us."""
    send_proxy: str = ""
    """``v1`` or ``v2``: tell targets the client's address by the PROXY protocol."""

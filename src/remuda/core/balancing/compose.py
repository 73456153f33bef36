"""Between compose files and the rule model: ``lb_config``, the older labels and ``load_balancer_config``. Pure.

The older form: each ``ports`` or ``expose`` entry is a listener, each linked service a target on every listener, unless a label
``io.rancher.loadbalancer.target.<service>`` narrows it to ``[host][:source port][/path][=target port]``, of which there may be
several, by commas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from remuda.core.balancing.config import HEALTH_PORT, HEAVIEST, PROTOCOLS, LbConfig, PortRule, StickinessPolicy
from remuda.core.labels import LB_PREFIX
from remuda.core.model import ServiceLink
from remuda.core.placement.values import parse_port
from remuda.core.spec import LaunchConfig

TARGET, SSL, PROXY = f"{LB_PREFIX}target.", f"{LB_PREFIX}ssl.ports", f"{LB_PREFIX}proxy-protocol.ports"
_TARGET = re.compile(r"^(?P<host>[^:/=]*)(?::(?P<source>\d+))?(?P<path>/[^=]*)?(?:=(?P<target>\d+))?$")

Number = Callable[[str], int]


class Listener(NamedTuple):
    """A port of a load balancer of the older form."""

    source: int
    target: int
    protocol: str


class Narrowed(NamedTuple):
    """One part of a target label."""

    host: str
    source: int
    path: str
    target: int


def from_compose(
    config: LaunchConfig, extra: Mapping[str, Any], links: Sequence[ServiceLink], service: Number, certificate: Number
) -> LbConfig:
    """The rules that a compose service says. ``service`` and ``certificate`` look names up.

    Raises ValueError with what is wrong.
    """
    given = extra.get("lb_config") or {}
    if not isinstance(given, Mapping):
        raise ValueError("lb_config must be a mapping")
    rules = [
        _rule(rule, number, service)
        for number, rule in enumerate(given.get("port_rules") or [])
        if isinstance(rule, Mapping)
    ]
    rules = [rule for rule in rules if rule.source_port]
    if not rules:
        rules = legacy(config, links, service)
    older = extra.get("load_balancer_config") or {}
    default = given.get("default_cert") or extra.get("default_cert")
    names = given.get("certs") or extra.get("certs") or []
    found = LbConfig(
        port_rules=rules,
        default_certificate_id=certificate(str(default)) if default else None,
        certificate_ids=[certificate(str(name)) for name in ([names] if isinstance(names, str) else names)],
        stickiness_policy=_stickiness(given.get("stickiness_policy") or older.get("lb_cookie_stickiness_policy")),
        config=str(given.get("config") or "") or _sections(older.get("haproxy_config")),
        proxy_protocol_ports=_ports(config.labels.get(PROXY, "")),
    )
    check(found)
    return found


def check(config: LbConfig) -> None:
    """Refuse rules that could not be served. Raises ValueError."""
    by_port: dict[int, str] = {}
    for number, rule in enumerate(config.port_rules):
        where = f"port rule {number + 1}"
        if rule.protocol not in PROTOCOLS:
            raise ValueError(f"{where}: {rule.protocol!r} is no protocol; use one of {', '.join(PROTOCOLS)}")
        if not 0 < rule.source_port < 65536 or not 0 <= rule.target_port < 65536:
            raise ValueError(f"{where}: ports are numbers from 1 to 65535")
        if rule.source_port == HEALTH_PORT:
            raise ValueError(f"{where}: port {HEALTH_PORT} is the load balancer's own health check; use another one")
        if by_port.setdefault(rule.source_port, rule.protocol) != rule.protocol:
            raise ValueError(f"{where}: port {rule.source_port} is {by_port[rule.source_port]} in another rule")
        if rule.protocol in ("tcp", "tls") and (rule.hostname or rule.path):
            raise ValueError(f"{where}: {rule.protocol} knows neither host names nor paths; use http, https or sni")
        if rule.protocol == "sni" and rule.path:
            raise ValueError(f"{where}: sni sees no paths; use https")
        if not 0 <= rule.weight <= HEAVIEST:
            raise ValueError(
                f"{where}: a weight is a number from 1 to {HEAVIEST}, or 0 for all alike, not {rule.weight}"
            )
        if rule.path and not rule.path.startswith("/"):
            raise ValueError(f"{where}: a path begins with a slash, not {rule.path!r}")
    needed = any(rule.protocol in ("https", "tls") for rule in config.port_rules)
    if needed and config.default_certificate_id is None and not config.certificate_ids:
        raise ValueError("https and tls need a certificate: name one as default_cert")


def legacy(config: LaunchConfig, links: Sequence[ServiceLink], service: Number) -> list[PortRule]:
    """The rules that links, ports and labels of the older form mean."""
    secure = set(_ports(config.labels.get(SSL, "")))
    listeners = [_listener(text, secure) for text in (*config.ports, *config.expose)]
    targets: dict[int, list[Narrowed]] = {}
    for link in links:
        parts = [_narrowed(part.strip(), f"the link to {link.name}") for part in link.ports if part.strip()]
        targets.setdefault(link.service_id, []).extend(parts)
    for key, value in config.labels.items():
        if key.lower().startswith(TARGET):
            number = service(key[len(TARGET) :])
            targets.setdefault(number, []).extend(
                _narrowed(part.strip(), f"label {key}") for part in value.split(",") if part.strip()
            )
    rules = []
    for number, parts in targets.items():
        for part in parts or [Narrowed("", 0, "", 0)]:
            chosen = [one for one in listeners if part.source in (0, one.source)]
            if part.source and not chosen:
                raise ValueError(f"a target names port {part.source}, which is none of the ports of the load balancer")
            rules += [
                PortRule(
                    source_port=one.source,
                    target_port=part.target or one.target,
                    protocol=one.protocol,
                    hostname=part.host if one.protocol in ("http", "https") else "",
                    path=part.path if one.protocol in ("http", "https") else "",
                    service_id=number,
                )
                for one in chosen
            ]
    return rules


def _listener(text: str, secure: set[int]) -> Listener:
    plain, _, word = text.partition("/")
    port = parse_port(plain)
    if port is None:
        raise ValueError(f"port {text!r} is not of the form [public:]private[/tcp]")
    source = port.public or port.private
    tcp = word.lower() == "tcp"
    protocol = ("tls" if tcp else "https") if source in secure else ("tcp" if tcp else "http")
    return Listener(source, port.private, protocol)


def _narrowed(text: str, where: str) -> Narrowed:
    if text.isdecimal():
        return Narrowed("", 0, "", int(text))
    if re.match(r"^\d+/", text):
        text = f":{text}"
    found = _TARGET.match(text)
    if found is None:
        raise ValueError(f"{where}: {text!r} is not of the form host:port/path=target")
    return Narrowed(found["host"] or "", int(found["source"] or 0), found["path"] or "", int(found["target"] or 0))


def _ports(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part.strip().isdecimal()]


def _rule(rule: Mapping[str, Any], number: int, service: Number) -> PortRule:
    name = str(rule.get("service") or "")
    try:
        return PortRule(
            source_port=int(rule.get("source_port") or 0),
            target_port=int(rule.get("target_port") or 0),
            protocol=str(rule.get("protocol") or "http").lower(),
            hostname=str(rule.get("hostname") or ""),
            path=str(rule.get("path") or ""),
            service_id=service(name) if name and rule.get("source_port") else None,
            selector=str(rule.get("selector") or ""),
            priority=int(rule.get("priority") or 0),
            backend_name=str(rule.get("backend_name") or ""),
            weight=int(rule.get("weight") or 0),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"port rule {number + 1}: {error}") from None


def _stickiness(given: Any) -> StickinessPolicy | None:
    if not isinstance(given, Mapping):
        return None
    known = {f.name for f in msgspec.structs.fields(StickinessPolicy)}
    try:
        found = msgspec.convert(
            {k: v for k, v in given.items() if k in known and v is not None}, StickinessPolicy, strict=False
        )
    except msgspec.ValidationError:
        # names of the struct's own attributes are the same in files, but for their case
        raise ValueError("stickiness_policy has a value of a wrong kind") from None
    if found.mode not in ("insert", "rewrite", "prefix"):
        raise ValueError(f"stickiness_policy: mode is insert, rewrite or prefix, not {found.mode!r}")
    return found


def _sections(given: Any) -> str:
    if not isinstance(given, Mapping):
        return ""
    parts = [(name, str(given[name])) for name in ("global", "defaults") if given.get(name)]
    return "\n".join(f"{name}\n" + "\n".join(f"  {line.strip()}" for line in text.splitlines()) for name, text in parts)


def to_compose(
    config: LbConfig, service: Callable[[int], str], certificate: Callable[[int], str | None]
) -> dict[str, Any]:
    """The ``lb_config`` of a compose file that reads back as this."""
    found: dict[str, Any] = {"port_rules": [_told(rule, service) for rule in config.port_rules]}
    if config.default_certificate_id is not None:
        found["default_cert"] = certificate(config.default_certificate_id) or ""
    if config.certificate_ids:
        found["certs"] = [name for number in config.certificate_ids if (name := certificate(number))]
    if config.stickiness_policy is not None:
        found["stickiness_policy"] = _set(msgspec.structs.asdict(config.stickiness_policy).items())
    if config.config:
        found["config"] = config.config
    return {"lb_config": found}


def _told(rule: PortRule, service: Callable[[int], str]) -> dict[str, Any]:
    values = msgspec.structs.asdict(rule)
    number = values.pop("service_id")
    values.pop("container_id")
    told = _set(values.items())
    if number is not None:
        told["service"] = service(number)
    return told


def _set(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value not in (None, "", 0, False)}

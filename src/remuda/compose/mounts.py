"""Ports and volumes: their short and long writings, and ranges."""

from __future__ import annotations

import posixpath
import re

from remuda.compose.nodes import Node, Report
from remuda.compose.values import Values
from remuda.compose.yamlread import canonical

_PORT = re.compile(
    r"(?:(?P<ip>\[[0-9a-fA-F:.%]+\]|[0-9.]*|[a-zA-Z0-9.-]+):)??(?:(?P<public>[\d-]*):)?(?P<private>[\d-]+)(?:/(?P<proto>\w+))?$"
)
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?$")
_PROTOCOLS = ("tcp", "udp", "sctp")
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*$")
_MODES = {
    "ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent", "shared", "slave", "private",
    "rshared", "rslave", "rprivate",
}  # fmt: skip


class Mounts:
    """Readers of ports and volumes. ``base_dir`` makes relative folders absolute; without it they are refused."""

    def __init__(self, report: Report, values: Values, base_dir: str | None) -> None:
        self.report, self.values, self.base_dir = report, values, base_dir
        self.local = False

    def ports(self, node: Node) -> list[str]:
        """Published ports as ``[ip:][public:]private/proto``."""
        found: list[str] = []
        for child in [node] if node.is_scalar and node.value is not None else node.elements():
            for port in self._long_port(child) if child.is_map else self._short_port(child):
                if port in found:
                    self.report.warning(child, f"the port {port} is given twice")
                else:
                    found.append(port)
        if node.is_map:
            self.report.error(node, "ports must be a list")
        return found

    def _short_port(self, node: Node) -> list[str]:
        text = self.values.text(node, "each port")
        if text is None:
            return []
        match = _PORT.match(text.strip())
        if match is None or len(text) > 100:
            self.report.error(node, f"{text!r} is not a port; write it as 8080:80, 127.0.0.1:8080:80/udp or 80")
            return []
        protocol = (match["proto"] or "tcp").lower()
        return self._expand(node, match["ip"] or "", match["public"] or "", match["private"], protocol)

    def _long_port(self, node: Node) -> list[str]:
        known = {"target", "published", "protocol", "host_ip", "mode", "name", "app_protocol"}
        for key, child in node.items():
            if key not in known and not key.startswith("x-"):
                self.report.error(child, f"{key} is not a setting of a port", key=True)
        target = node.get("target")
        if target is None:
            self.report.error(node, "the port has no target; say which port of the container it is")
            return []
        mode = node.get("mode")
        if mode is not None and mode.value == "ingress":
            self.report.warning(mode, "mode: ingress is ignored; the port is published on the container's own host")
        ip, public, protocol = (_scalar(node.get(key)) for key in ("host_ip", "published", "protocol"))
        private = self.values.text(target, "target") or ""
        return self._expand(node, ip, public, private, (protocol or "tcp").lower())

    def _expand(self, node: Node, ip: str, public: str, private: str, protocol: str) -> list[str]:
        if protocol not in _PROTOCOLS:
            self.report.error(node, f"the protocol {protocol} is not known; use tcp, udp or sctp")
            return []
        inner = self.range(node, private)
        outer = self.range(node, public) if public else [0] * len(inner or [])
        if inner is None or outer is None:
            return []
        if len(inner) != len(outer):
            self.report.error(node, f"{public} and {private} are not equally many ports")
            return []
        prefix = f"{ip}:" if ip and ip != "0.0.0.0" else ""  # noqa: S104 (a compose file's own words)
        if prefix and not outer[0]:
            return [f"{prefix}:{i}/{protocol}" for i in inner]
        return [f"{prefix}{o}:{i}/{protocol}" if o else f"{i}/{protocol}" for o, i in zip(outer, inner, strict=True)]

    def range(self, node: Node, text: str) -> list[int] | None:
        """``80`` or ``8000-8010`` as numbers."""
        match = _RANGE.match(text.strip())
        low = int(match.group(1)) if match else 0
        high = int(match.group(2) or low) if match else 0
        if not 1 <= low <= high <= 65535:
            self.report.error(node, f"{text!r} is not a port or a range of ports between 1 and 65535")
            return None
        if high - low >= 1000:
            self.report.error(node, f"{text} is {high - low + 1} ports; at most 1000 can be given at once")
            return None
        return list(range(low, high + 1))

    def expose(self, node: Node) -> list[str]:
        """Ports that other containers use. ``82:81`` is a load balancer's: it listens on 82 for port 81 of its targets."""
        found: list[str] = []
        for text in self.values.texts(node, "expose"):
            numbers, slash, protocol = text.partition("/")
            source, colon, number = numbers.rpartition(":")
            if colon and self.range(node, source) is None:
                continue
            ports = self.range(node, number) or []
            found.extend(f"{source}{colon}{port}{slash}{protocol}" for port in ports)
        return list(dict.fromkeys(found))

    def volumes(self, node: Node) -> tuple[list[str], dict[str, str]]:
        """Binds as ``source:/path[:mode]`` (or ``/path``), and tmpfs mounts."""
        binds: dict[str, str] = {}
        tmpfs: dict[str, str] = {}
        for child in [node] if node.is_scalar and node.value is not None else node.elements():
            entry = self._long_volume(child, tmpfs) if child.is_map else self._short_volume(child)
            if entry is None:
                continue
            target, bind = entry
            if target in binds and binds[target] != bind:
                self.report.warning(child, f"{target} is mounted twice; the last one is used")
            binds[target] = bind
        if node.is_map:
            self.report.error(node, "volumes must be a list")
        return list(binds.values()), tmpfs

    def _short_volume(self, node: Node) -> tuple[str, str] | None:
        text = (self.values.text(node, "each volume") or "").strip()
        if not text:
            return None
        parts = text.split(":")
        if len(parts) == 1:
            return self._mount(node, "", parts[0], "")
        if len(parts) > 3 or (
            len(parts[0]) == 1 and parts[0].isalpha() and parts[1].startswith(("\\", "/")) and len(parts) == 3
        ):
            self.report.error(
                node, f"{text!r} is not a volume of a Linux host; write it as name:/path or /folder:/path:ro"
            )
            return None
        return self._mount(node, parts[0], parts[1], parts[2] if len(parts) == 3 else "")

    def _mount(self, node: Node, source: str, target: str, mode: str) -> tuple[str, str] | None:
        if not target.startswith("/"):
            self.report.error(node, f"{target!r} must be a folder of the container that starts with /")
            return None
        for word in filter(None, mode.split(",")):
            if word not in _MODES:
                self.report.error(node, f"{word!r} is not a way to mount a volume; use ro or rw")
                return None
        if source and not source.startswith("/"):
            resolved = self._source(node, source)
            if resolved is None:
                return None
            source = resolved
        bind = ":".join(part for part in (source, target, mode if source else "") if part)
        return target, bind

    def _source(self, node: Node, source: str) -> str | None:
        if source.startswith(("./", "../", "~")) or source in (".", ".."):
            if self.base_dir is None or source.startswith("~"):
                self.report.error(
                    node,
                    f"{source} is a folder relative to this file, and the hosts do not have it; "
                    "write the full path on the host, or use a named volume",
                )
                return None
            self.local = True
            return posixpath.normpath(posixpath.join(self.base_dir, source))
        if not _VOLUME_NAME.match(source):
            self.report.error(node, f"{source!r} is neither a full path on the host nor a volume's name")
            return None
        return source

    def _long_volume(self, node: Node, tmpfs: dict[str, str]) -> tuple[str, str] | None:
        known = {"type", "source", "target", "read_only", "bind", "volume", "tmpfs", "consistency", "src", "dst"}
        for key, child in node.items():
            if key not in known and not key.startswith("x-"):
                self.report.error(child, f"{key} is not a setting of a volume", key=True)
        get = {key: canonical(child.value) for key, child in node.items() if child.is_scalar}
        kind, target = get.get("type", "volume"), get.get("target") or get.get("dst", "")
        source = get.get("source") or get.get("src", "")
        if kind not in ("volume", "bind", "tmpfs"):
            self.report.error(node, f"a volume of type {kind} is not supported; use volume, bind or tmpfs")
            return None
        if kind == "tmpfs":
            options = node.get("tmpfs")
            size = options.get("size") if options else None
            count = self.values.size(size, "size") if size else None
            tmpfs[target] = f"size={count}" if count else ""
            return None
        if kind == "bind" and not source.startswith(("/", ".", "~")):
            self.report.error(node, "a bind needs a source: the full path of a folder on the host")
            return None
        modes = ["ro"] if get.get("read_only") == "true" else []
        for holder, key, word in (("bind", "propagation", ""), ("bind", "selinux", ""), ("volume", "nocopy", "nocopy")):
            options = node.get(holder)
            chosen = _scalar(options.get(key)) if options is not None else ""
            if chosen and not (word and chosen != "true"):
                modes.append(word or chosen)
        return self._mount(node, source, target, ",".join(modes))


def _scalar(node: Node | None) -> str:
    return canonical(node.value) if node is not None else ""

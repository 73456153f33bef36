"""From nodes to one merged map of services: which layout a file has, what its sections are, and how files combine.

Maps merge, lists append, single values and command lines are replaced by the later file; rancher-compose.yml is merged last.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from remuda.compose.interpolate import Interpolation
from remuda.compose.nodes import Node, Report
from remuda.compose.templated import rendered
from remuda.compose.yamlread import canonical, read

SERVICE_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62})$")
REPLACED_LISTS = {"command", "entrypoint", "test"}
MAPS = {"environment", "labels", "extra_hosts", "sysctls", "depends_on", "log_opt", "driver_opts"}
_NOT_EXTENDED = ("links", "volumes_from", "depends_on", "external_links")
_IGNORED_SECTIONS = {
    "networks": "containers use their host's own bridge, so networks",
    "configs": "configs are not kept by this version, so configs",
    "models": "models are not run by Remuda, so models",
    "dependencies": "dependencies",
    "certs": "certs",
}


@dataclass(slots=True)
class Document:
    """One file taken apart. ``sectioned`` is False for the flat layout of version 1."""

    services: dict[str, Node] = field(default_factory=dict)
    volumes: dict[str, Node] = field(default_factory=dict)
    secrets: dict[str, Node] = field(default_factory=dict)
    sectioned: bool = True


def open_document(text: str, file: str, fill: Interpolation, *, rancher: bool = False) -> Document:
    """Read, take apart and fill in one file; an unreadable one is empty and the report says why."""
    report = fill.report
    template = rendered(text, file, fill)
    root = read(template.text, file, report, template.lines) if template is not None else None
    if root is None or root.value is None:
        return Document()
    if not root.is_map:
        report.error(root, f"the file must be a mapping of services, not {root.kind}")
        return Document()
    document = _sections(root, report, rancher) if _sectioned(root, report) else _flat(root, report)
    document.services = {name: fill.node(_service(name, node, report)) for name, node in document.services.items()}
    document.volumes = {name: fill.node(node) for name, node in document.volumes.items()}
    return document


def _sectioned(root: Node, report: Report) -> bool:
    version = root.get("version")
    services = root.get("services")
    if version is not None and version.is_scalar and version.raw:
        major = version.raw.split(".", 1)[0]
        if major == "1":
            return False
        if major not in ("2", "3"):
            report.warning(version, f"version {version.raw!r} is not known; it is read as the Compose Specification")
        return True
    if services is None:
        names = {"volumes", "networks", "name", "secrets", "configs"}
        return any(key in names and not (child.get("image")) for key, child in root.items())
    return services.is_map and "image" not in dict(services.items()) and "build" not in dict(services.items())


def _flat(root: Node, report: Report) -> Document:
    document = Document(sectioned=False)
    for key, node in root.items():
        if key == "version" or key.startswith((".", "x-")) or key == "catalog":
            continue
        document.services[key] = node
    return document


def _sections(root: Node, report: Report, rancher: bool) -> Document:
    document = Document()
    for key, node in root.items():
        if key in ("version", "name", "catalog") or key.startswith(("x-", ".")):
            continue
        if key == "services":
            document.services = _mapping(node, "services", report)
        elif key == "volumes":
            document.volumes = _mapping(node, "volumes", report)
        elif key == "secrets":
            document.secrets = _mapping(node, "secrets", report)
        elif key == "include":
            report.error(node, "include is not supported; put the included services into this file", key=True)
        elif key in _IGNORED_SECTIONS:
            if node.value:
                report.warning(node, f"{_IGNORED_SECTIONS[key]} is ignored", key=True)
        elif rancher:
            report.warning(node, f"{key} is ignored: it is not a section of a compose file", key=True)
        else:
            known = ["services", "volumes", "networks", "version", "name", "secrets", "configs", "include"]
            report.error(node, f"{key} is not a section of a compose file{did_you_mean(key, known)}", key=True)
    if root.get("services") is None and not rancher:
        report.error(root, "there is no services section, so there is nothing to run")
    return document


def _mapping(node: Node, name: str, report: Report) -> dict[str, Node]:
    if node.value is None:
        return {}
    if not node.is_map:
        report.error(node, f"{name} must be a mapping of names, not {node.kind}")
    return dict(node.items())


def _service(name: str, node: Node, report: Report) -> Node:
    if not SERVICE_NAME.match(name):
        report.error(
            node, f"{name!r} cannot be a service's name: use up to 63 letters, digits, '.', '_' and '-'", key=True
        )
    if node.value is None:
        return node.with_value({})
    if not node.is_map:
        report.error(node, f"the service {name} must be a mapping of settings, not {node.kind}")
        return node.with_value({})
    return node


def did_you_mean(word: str, known: list[str]) -> str:
    """``; did you mean X?`` or nothing."""
    close = difflib.get_close_matches(word, known, 1, 0.7)
    return f"; did you mean {close[0]}?" if close else ""


def as_map(node: Node) -> Node:
    """A list of ``KEY=value`` (or ``host:ip``) as a mapping, so that two writings of the same can be merged."""
    if not node.is_list:
        return node
    found: dict[str, Node] = {}
    for child in node.elements():
        if child.is_map:
            found.update(child.items())
        elif child.is_scalar:
            text = canonical(child.value)
            name, equals, value = text.partition("=")
            found[name] = child.with_value(value if equals else None)
    return node.with_value(found)


def merge(base: Node, over: Node, name: str = "") -> Node:
    """``over`` laid onto ``base``."""
    if name in MAPS and (base.is_list != over.is_list):
        base, over = as_map(base), as_map(over)
    if base.is_map and over.is_map:
        result = dict(base.items())
        for key, node in over.items():
            result[key] = merge(result[key], node, key) if key in result else node
        return replace(base, value=result)
    if base.is_list and over.is_list and name not in REPLACED_LISTS:
        seen = [child.value for child in base.elements()]
        return base.with_value(base.elements() + [c for c in over.elements() if c.value not in seen])
    return over


def merge_services(base: Mapping[str, Node], over: Mapping[str, Node]) -> dict[str, Node]:
    """Every service of both."""
    result = dict(base)
    for name, node in over.items():
        result[name] = merge(result[name], node, "") if name in result else node
    return result


Loader = Callable[[str, Node], Document | None]
"""Opens another file for ``extends``: (file name, who asks) -> its document, None when it cannot."""


def extend(services: dict[str, Node], load: Loader, report: Report) -> dict[str, Node]:
    """Services with their ``extends`` carried out."""
    done: dict[str, Node] = {}

    def resolve(pool: Mapping[str, Node], name: str, trail: tuple[tuple[int, str], ...]) -> Node:
        node = pool[name]
        wish = node.get("extends")
        if wish is None:
            return node
        rest = node.with_value({key: child for key, child in node.items() if key != "extends"})
        target = wish.get("service") if wish.is_map else wish
        file = wish.get("file")
        if target is None or not isinstance(target.value, str):
            report.error(wish, "extends needs the name of a service")
            return rest
        others: Mapping[str, Node] = pool
        if file is not None:
            opened = load(str(file.value), file)
            if opened is None:
                return rest
            others = opened.services
        step = (id(pool) if file is None else hash(str(file.value)), target.value)
        if step in trail or len(trail) > 20:
            report.error(wish, f"{name} extends itself through {target.value}")
            return rest
        if target.value not in others:
            report.error(
                target, f"extends: there is no service {target.value}{did_you_mean(target.value, list(others))}"
            )
            return rest
        base = resolve(others, target.value, (*trail, step))
        kept = {key: child for key, child in base.items() if key not in _NOT_EXTENDED}
        return merge(base.with_value(kept), rest, "")

    for name in services:
        done[name] = resolve(services, name, ((id(services), name),))
    return done

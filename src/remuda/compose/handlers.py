"""How single settings of a service are carried out: one small function each, and makers of functions for the plain ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from remuda.compose.documents import did_you_mean
from remuda.compose.draft import Draft
from remuda.compose.model import UpgradeStrategy
from remuda.compose.nodes import Node, plain
from remuda.core.labels import GLOBAL, PULL_IMAGE
from remuda.core.spec import LogConfig, RestartPolicy

Handler = Callable[[Draft, Node], None]

_ENGINE_KINDS = {
    "rancher/load-balancer-service": "loadBalancerService",
    "rancher/lb-service-haproxy": "loadBalancerService",
    "rancher/dns-service": "dnsService",
    "rancher/external-service": "externalService",
}


def text(target: str, what: str) -> Handler:
    def handle(draft: Draft, node: Node) -> None:
        draft.put(target, draft.values.text(node, what))

    return handle


def switch(target: str, what: str) -> Handler:
    def handle(draft: Draft, node: Node) -> None:
        draft.put(target, draft.values.switch(node, what))

    return handle


def number(target: str, what: str, low: int = 0, high: int | None = None) -> Handler:
    def handle(draft: Draft, node: Node) -> None:
        if node.value not in (None, ""):
            draft.put(target, draft.values.number(node, what, low, high))

    return handle


def size(target: str, what: str, *, unlimited: bool = False) -> Handler:
    def handle(draft: Draft, node: Node) -> None:
        draft.put(target, draft.values.size(node, what, unlimited=unlimited))

    return handle


def texts(target: str, what: str) -> Handler:
    def handle(draft: Draft, node: Node) -> None:
        draft.put(target, draft.values.texts(node, what))

    return handle


def words(target: str, what: str) -> Handler:
    def handle(draft: Draft, node: Node) -> None:
        draft.put(target, draft.values.words(node, what))

    return handle


def kept(name: str) -> Handler:
    """Kept as it is for the rooms that will act on it."""

    def handle(draft: Draft, node: Node) -> None:
        draft.extra[name] = plain(node)

    return handle


def counted(name: str) -> Handler:
    """The same with numbers that were written as text: answers are texts."""

    def handle(draft: Draft, node: Node) -> None:
        draft.extra[name] = _numbers(plain(node))

    return handle


def _numbers(value: object) -> object:
    if isinstance(value, dict):
        return {key: _numbers(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_numbers(child) for child in value]
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16 else value


def done(draft: Draft, node: Node) -> None:
    """Handled elsewhere."""


def image(draft: Draft, node: Node) -> None:
    image = draft.values.image(node)
    if image is None:
        return
    draft.launch["image_uuid"] = f"docker:{image}"
    draft.top["kind"] = _ENGINE_KINDS.get(image.split(":")[0].split("@")[0], "service")


def build(draft: Draft, node: Node) -> None:
    image = draft.node.get("image")
    if image is not None and image.value:
        draft.report.warning(
            node,
            f"build is ignored: the hosts pull {image.value} from its registry, so build and push it there",
            key=True,
        )
    else:
        draft.report.error(
            node, "build is not supported: build the image, push it to a registry, and name it with image", key=True
        )


def labels(draft: Draft, node: Node) -> None:
    draft.labels.update(draft.values.strings(node, "labels"))


def ports(draft: Draft, node: Node) -> None:
    draft.put("ports", draft.mounts.ports(node))


def expose(draft: Draft, node: Node) -> None:
    draft.put("expose", draft.mounts.expose(node))


def volumes(draft: Draft, node: Node) -> None:
    binds, tmpfs = draft.mounts.volumes(node)
    draft.put("data_volumes", [draft.volume_name(bind, node) for bind in binds])
    if tmpfs:
        draft.launch.setdefault("tmpfs", {}).update(tmpfs)


def tmpfs(draft: Draft, node: Node) -> None:
    found = draft.launch.setdefault("tmpfs", {})
    for text in draft.values.texts(node, "tmpfs"):
        path, _, options = text.partition(":")
        found[path] = options


def volumes_from(draft: Draft, node: Node) -> None:
    draft.volumes_from = [(text, node) for text in draft.values.texts(node, "volumes_from")]


def links(name: str) -> Handler:
    def handle(draft: Draft, node: Node) -> None:
        found: list[tuple[str, str, Node]] = []
        if node.is_map:
            for alias, child in node.items():
                target = draft.values.text(child, name)
                if target:
                    found.append((target, alias, child))
        for child in [node] if node.is_scalar and node.value else node.elements():
            text = (draft.values.text(child, f"each entry of {name}") or "").strip()
            target, _, alias = text.partition(":")
            if target.strip():
                found.append((target.strip(), alias.strip() or target.strip().rpartition("/")[2], child))
        setattr(draft, name, found)

    return handle


def depends_on(draft: Draft, node: Node) -> None:
    if not node.is_map:
        for child in node.elements() if node.is_list else [node]:
            draft.depends_on += [(text, child, True) for text in draft.values.texts(child, "depends_on")]
        return
    for name, child in node.items():
        condition = child.get("condition")
        if condition is not None and condition.value == "service_completed_successfully":
            draft.report.warning(condition, f"{name} is started first, but its end is not waited for")
        required = child.get("required")
        draft.depends_on.append((name, child, required is None or required.value is not False))


def restart(draft: Draft, node: Node) -> None:
    if node.value is False or node.value in (None, ""):
        draft.launch["restart_policy"] = RestartPolicy(name="no")
        return
    text = draft.values.text(node, "restart") or ""
    name, _, count = text.partition(":")
    if name == "unless-stopped":
        name = "always"
    if name not in ("no", "always", "on-failure") or (count and not (count.isdecimal() and len(count) < 7)):
        draft.report.error(node, f"restart must be no, always, on-failure[:times] or unless-stopped, not {text!r}")
        return
    draft.launch["restart_policy"] = RestartPolicy(name=name, maximum_retry_count=int(count or 0))


def logging(draft: Draft, node: Node) -> None:
    driver, options = node.get("driver"), node.get("options")
    if not node.is_map and node.value is not None:
        draft.report.error(node, "logging must be a mapping with driver and options")
        return
    draft.log_driver = (driver and draft.values.text(driver, "logging driver")) or draft.log_driver
    draft.log_options.update(draft.values.strings(options, "logging options") if options else {})


def log_driver(draft: Draft, node: Node) -> None:
    draft.log_driver = draft.values.text(node, "log_driver") or ""


def log_opt(draft: Draft, node: Node) -> None:
    draft.log_options.update(draft.values.strings(node, "log_opt"))


def ulimits(draft: Draft, node: Node) -> None:
    found: list[dict[str, Any]] = []
    for name, child in node.items():
        if child.is_map:
            soft, hard = child.get("soft"), child.get("hard")
            if soft is None or hard is None:
                draft.report.error(child, f"the ulimit {name} needs both soft and hard")
                continue
            low, high = draft.values.number(soft, "soft", -1), draft.values.number(hard, "hard", -1)
        else:
            low = high = draft.values.number(child, f"the ulimit {name}", -1)
        if low is not None and high is not None:
            found.append({"name": name, "soft": low, "hard": high})
    if not node.is_map and node.value is not None:
        draft.report.error(node, f"ulimits must be a mapping, not {node.kind}")
    draft.put("ulimits", found)


def sysctls(draft: Draft, node: Node) -> None:
    draft.put("sysctls", draft.values.strings(node, "sysctls"))


def storage_opt(draft: Draft, node: Node) -> None:
    draft.put("storage_opt", draft.values.strings(node, "storage_opt"))


def microseconds(target: str, what: str) -> Handler:
    """A number of microseconds, or a duration such as ``95ms``."""

    def handle(draft: Draft, node: Node) -> None:
        if isinstance(node.value, int) or (isinstance(node.value, str) and node.value.isdecimal()):
            draft.put(target, draft.values.number(node, what))
        else:
            seconds = draft.values.seconds(node, what)
            draft.put(target, None if seconds is None else round(seconds * 1_000_000))

    return handle


def extra_hosts(draft: Draft, node: Node) -> None:
    found: list[str] = []
    if node.is_map:
        for name, child in node.items():
            found += [f"{name}:{address}" for address in draft.values.texts(child, "extra_hosts")]
    else:
        for text in draft.values.texts(node, "extra_hosts"):
            name, sign, address = text.partition("=") if "=" in text else text.partition(":")
            if not sign or not name or not address:
                draft.report.error(node, f"extra_hosts: {text!r} must be name:address")
            else:
                found.append(f"{name}:{address}")
    draft.put("extra_hosts", found)


def network_mode(draft: Draft, node: Node) -> None:
    mode = (draft.values.text(node, "network_mode") or "").strip()
    kind, _, target = mode.partition(":")
    if kind in ("container", "service"):
        if not target:
            draft.report.error(node, f"network_mode: {kind}: needs the name of a service")
        draft.network_from = (target, node)
        draft.launch["network_mode"] = "container"
    elif mode in ("host", "none", "bridge"):
        draft.launch["network_mode"] = mode
    elif mode in ("", "default", "managed"):
        return
    else:
        draft.report.warning(node, f"there is no network {mode}; the container gets its host's bridge")


def stop_grace(draft: Draft, node: Node) -> None:
    seconds = draft.values.seconds(node, "stop_grace_period")
    if seconds is not None:
        draft.launch["stop_timeout"] = max(0, round(seconds))


def pull_policy(draft: Draft, node: Node) -> None:
    policy = draft.values.text(node, "pull_policy")
    if policy == "always":
        draft.labels.setdefault(PULL_IMAGE, "always")
    elif policy not in ("", "missing", "if_not_present", None):
        draft.report.warning(node, f"pull_policy: {policy} is ignored; an image is pulled where it is missing")


def scale(draft: Draft, node: Node) -> None:
    draft.put_top("scale", draft.values.number(node, "scale", 0, 10_000))


def metadata(draft: Draft, node: Node) -> None:
    if node.value is None:
        return
    if node.is_map:
        draft.top["metadata"] = plain(node)
    else:
        draft.report.error(node, f"metadata must be a mapping, not {node.kind}")


def start_on_create(draft: Draft, node: Node) -> None:
    draft.put_top("start_on_create", draft.values.switch(node, "start_on_create"))


def retain_ip(draft: Draft, node: Node) -> None:
    draft.put_top("retain_ip", draft.values.switch(node, "retain_ip"))


def on_host_lost(draft: Draft, node: Node) -> None:
    if node.value in ("never", -1, "-1"):
        draft.top["on_host_lost"] = -1
        return
    seconds = draft.values.seconds(node, "on_host_lost (never, or how long to wait)")
    if seconds is not None:
        draft.top["on_host_lost"] = round(seconds)


def remuda(draft: Draft, node: Node) -> None:
    for key, child in node.items():
        if key == "on_host_lost":
            on_host_lost(draft, child)
        else:
            draft.report.error(child, f"x-remuda has no setting {key}{did_you_mean(key, ['on_host_lost'])}", key=True)


def upgrade_strategy(draft: Draft, node: Node) -> None:
    numbers: dict[str, Any] = {}
    for key, child in node.items():
        if key == "start_first":
            numbers[key] = bool(draft.values.switch(child, key))
        elif key in ("batch_size", "interval_millis"):
            number = draft.values.number(child, key, 1 if key == "batch_size" else 0)
            if number is not None:
                numbers[key] = number
    draft.top["upgrade_strategy"] = UpgradeStrategy(**numbers)


def container_name(draft: Draft, node: Node) -> None:
    draft.container_name = draft.values.text(node, "container_name") or ""
    draft.report.warning(
        node, "container_name is ignored: containers are named stack-service-n so that there can be several", key=True
    )


def finish(draft: Draft) -> None:
    """What several keys decide together."""
    if draft.log_driver or draft.log_options:
        draft.launch["log_config"] = LogConfig(driver=draft.log_driver, config=draft.log_options)
    draft.launch["labels"] = draft.labels
    if draft.labels.get(GLOBAL, "").strip().lower() == "true" and draft.top.get("scale") not in (None, 1):
        draft.report.warning(draft.node.get("scale"), "scale is ignored: a global service runs once on every host")

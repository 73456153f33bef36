"""Settings that are small languages of their own: ``deploy`` of the Compose Specification, and both kinds of health checks."""

from __future__ import annotations

import math
from typing import Any

from remuda.compose.documents import did_you_mean
from remuda.compose.draft import Draft
from remuda.compose.model import UpgradeStrategy
from remuda.compose.nodes import Node
from remuda.core.labels import AFFINITY, GLOBAL
from remuda.core.spec import CHECK_LIMITS, HealthCheck, RestartPolicy

_HEALTH = {name: (low, high) for name, low, high in CHECK_LIMITS}


def health_check(draft: Draft, node: Node) -> None:
    """Rancher's ``health_check``."""
    if not node.is_map:
        if node.value is not None:
            draft.report.error(node, f"health_check must be a mapping, not {node.kind}")
        return
    found: dict[str, Any] = {}
    for key, child in node.items():
        value = _health_field(draft, key, child)
        never = key in ("initializing_timeout", "reinitializing_timeout") and child.value in (None, "")
        if value is not None or never:
            found[key] = value
    if "port" in found or found.get("command"):
        draft.launch["health_check"] = HealthCheck(**found)
    elif node.get("port") is None and node.value:
        draft.report.error(node, "health_check needs a port, or a command")


def _health_field(draft: Draft, key: str, node: Node) -> Any:
    if key in _HEALTH:
        given = node.value not in (None, "")
        return draft.values.number(node, f"health_check {key}", *_HEALTH[key]) if given else None
    if key == "request_line":
        return draft.values.text(node, key)
    if key == "command":
        return draft.values.words(node, key)
    if key == "protocol":
        protocol = (draft.values.text(node, key) or "").lower()
        if protocol not in ("", "tcp", "http", "https"):
            draft.report.error(node, "protocol must be tcp, http or https")
        return protocol
    if key == "strategy":
        strategy = draft.values.text(node, key) or "recreate"
        if strategy not in ("none", "recreate", "recreateOnQuorum"):
            draft.report.error(node, "strategy must be none, recreate or recreateOnQuorum")
        return strategy
    if key == "recreate_on_quorum_strategy_config":
        quorum = node.get("quorum")
        number = draft.values.number(quorum, "quorum", 1) if quorum is not None else None
        return {"quorum": number} if number is not None else None
    known = [*_HEALTH, "request_line", "protocol", "command", "strategy", "recreate_on_quorum_strategy_config"]
    draft.report.error(node, f"health_check has no setting {key}{did_you_mean(key, known)}", key=True)
    return None


def healthcheck(draft: Draft, node: Node) -> None:
    """Docker's own ``healthcheck``, which the engine of the host carries out."""
    if not node.is_map:
        if node.value is not None:
            draft.report.error(node, f"healthcheck must be a mapping, not {node.kind}")
        return
    for key, child in node.items():
        if key == "test":
            draft.put("health_cmd", _test(draft, child))
        elif key == "retries":
            draft.put("health_retries", draft.values.number(child, "retries", 1, 1000))
        elif key in ("interval", "timeout", "start_period"):
            seconds = draft.values.seconds(child, f"healthcheck {key}")
            draft.put(f"health_{key}", math.ceil(seconds) if seconds else None)
        elif key == "disable":
            if draft.values.switch(child, key):
                draft.put("health_cmd", ["NONE"])
        elif key == "start_interval" or key.startswith("x-"):
            draft.report.warning(child, f"healthcheck {key} is ignored", key=True)
        else:
            near = did_you_mean(key, ["test", "interval", "timeout", "retries", "start_period", "disable"])
            draft.report.error(child, f"healthcheck has no setting {key}{near}", key=True)


def _test(draft: Draft, node: Node) -> list[str] | None:
    if not node.is_list:
        text = draft.values.text(node, "healthcheck test")
        return ["CMD-SHELL", text] if text else None
    words = draft.values.words(node, "healthcheck test") or []
    if not words or words[0] not in ("CMD", "CMD-SHELL", "NONE"):
        draft.report.error(node, "healthcheck test must be a text, or a list that begins with CMD, CMD-SHELL or NONE")
        return None
    return words


def cpus(draft: Draft, node: Node) -> None:
    """A number of processors as a quota of time."""
    text = (draft.values.text(node, "cpus") or "").strip()
    try:
        count = float(text) if text else 0.0
    except ValueError:
        count = -1.0
    if not 0 <= count < 10_000:
        draft.report.error(node, f"cpus must be a number of processors such as 0.5, not {text!r}")
    elif count:
        draft.launch["cpu_period"], draft.launch["cpu_quota"] = 100_000, max(1000, round(count * 100_000))


def _deploy_resources(draft: Draft, node: Node) -> None:
    limits, reservations = node.get("limits"), node.get("reservations")
    if limits is not None:
        for key, target in (("memory", "memory"), ("cpus", ""), ("pids", "pids_limit")):
            child = limits.get(key)
            if child is None:
                continue
            if key == "cpus":
                cpus(draft, child)
            elif key == "memory":
                draft.put(target, draft.values.size(child, "memory"))
            else:
                draft.put(target, draft.values.number(child, "pids", -1))
    if reservations is not None:
        if (memory := reservations.get("memory")) is not None:
            draft.put("memory_reservation", draft.values.size(memory, "memory"))
        if (share := reservations.get("cpus")) is not None:
            try:
                draft.launch["milli_cpu_reservation"] = round(float(str(share.value)) * 1000)
            except (ValueError, OverflowError):
                draft.report.error(share, "cpus must be a number such as 0.5")


def _placement(draft: Draft, node: Node) -> None:
    for child in (node.get("constraints") or node.with_value([])).elements():
        text = "".join(str(child.value).split())
        key, sign, value = text.partition("!=") if "!=" in text else text.partition("==")
        name = key.removeprefix("node.labels.").removeprefix("engine.labels.")
        if sign and name != key and name and value:
            label = f"{AFFINITY}host_label" + ("_ne" if sign == "!=" else "")
            rule = f"{name}={value}"
            draft.labels[label] = f"{draft.labels[label]},{rule}" if label in draft.labels else rule
        else:
            draft.report.warning(
                child, f"the constraint {child.value!r} is ignored; only node.labels.<name> is understood"
            )
    for key, child in node.items():
        if key != "constraints":
            draft.report.warning(child, f"placement {key} is ignored", key=True)


def _replicas(draft: Draft, node: Node) -> None:
    if node.value not in (None, ""):
        draft.put_top("scale", draft.values.number(node, "replicas", 0, 10_000))


def _mode(draft: Draft, node: Node) -> None:
    if node.value == "global":
        draft.labels[GLOBAL] = "true"
    elif node.value != "replicated":
        draft.report.warning(node, f"deploy mode {node.value} is ignored")


def _restart_policy(draft: Draft, node: Node) -> None:
    condition, tries = node.get("condition"), node.get("max_attempts")
    names = {"none": "no", "on-failure": "on-failure", "any": "always"}
    name = names.get(str(condition.value) if condition else "any", "always")
    given = tries is not None and tries.value is not None
    count = draft.values.number(tries, "max_attempts", 0) if tries is not None and given else 0
    draft.launch.setdefault("restart_policy", RestartPolicy(name=name, maximum_retry_count=count or 0))


def _update_config(draft: Draft, node: Node) -> None:
    order, parallel, delay = node.get("order"), node.get("parallelism"), node.get("delay")
    wait = draft.values.seconds(delay, "delay") if delay is not None else None
    batch = draft.values.number(parallel, "parallelism", 0) if parallel is not None else None
    draft.top["upgrade_strategy"] = UpgradeStrategy(
        batch_size=batch or 1,
        interval_millis=round(wait * 1000) if wait is not None else 2000,
        start_first=order is not None and order.value == "start-first",
    )


_DEPLOY = {
    "replicas": _replicas,
    "mode": _mode,
    "resources": _deploy_resources,
    "placement": _placement,
    "restart_policy": _restart_policy,
    "update_config": _update_config,
}


def deploy(draft: Draft, node: Node) -> None:
    """``deploy`` of the Compose Specification."""
    if not node.is_map:
        if node.value is not None:
            draft.report.error(node, f"deploy must be a mapping, not {node.kind}")
        return
    for key, child in node.items():
        if key in _DEPLOY:
            _DEPLOY[key](draft, child)
        elif key in ("endpoint_mode", "rollback_config"):
            draft.report.warning(child, f"deploy {key} is ignored", key=True)
        elif key != "labels" and not key.startswith("x-"):
            near = did_you_mean(key, [*_DEPLOY, "labels"])
            draft.report.error(child, f"deploy has no setting {key}{near}", key=True)

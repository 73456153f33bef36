"""The scheduling labels of the 1.x grammar, read into values.

``io.rancher.scheduler.affinity:`` + ``host_label`` | ``container_label`` | ``container`` + ``_soft`` + ``_ne``. A comma joins
(all of them for a positive rule, none of them for ``_ne``); case does not matter. Swarm's environment forms
(``constraint:key==value``, ``affinity:container==name``) mean the same. What cannot be read is no rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from remuda.core.labels import AFFINITY, STACK_SERVICE_NAME
from remuda.core.placement.values import Request
from remuda.core.spec import LaunchConfig

KINDS = ("container_label", "host_label", "container")
_SWARM = re.compile(r"^(constraint|affinity):([^=!]+)(==|!=)(~?)(.*)$")


@dataclass(frozen=True, slots=True)
class Rule:
    """One wish about the neighbourhood. ``terms``: (key, value) pairs; for ``container`` the key is the name."""

    kind: str
    terms: tuple[tuple[str, str], ...]
    negative: bool = False
    soft: bool = False

    def __str__(self) -> str:
        sign = "must not" if self.negative else "must"
        if self.soft:
            sign = "should not" if self.negative else "should"
        terms = ", ".join(f"{key}={value}" if self.kind != "container" else key for key, value in self.terms)
        match self.kind:
            case "host_label":
                return f"{sign} have the host label {terms}"
            case "container_label":
                return f"{sign} run a container with the label {terms}"
            case _:
                return f"{sign} run the container {terms}"


def rules_of(request: Request) -> list[Rule]:
    """All rules of all containers of the request, without repeats, in the order they were written."""
    found: list[Rule] = []
    for spec in request.specs:
        for rule in [*_from_labels(spec.labels, request), *_from_environment(spec, request)]:
            if rule not in found:
                found.append(rule)
    return found


def _from_labels(labels: Mapping[str, str], request: Request) -> list[Rule]:
    rules = []
    for key, value in labels.items():
        lowered = key.lower()
        if lowered.startswith(AFFINITY):
            rule = _rule(lowered.removeprefix(AFFINITY), value, request)
            if rule is not None:
                rules.append(rule)
    return rules


def _rule(suffix: str, value: str, request: Request) -> Rule | None:
    kind = next((kind for kind in KINDS if suffix == kind or suffix.startswith(kind + "_")), None)
    if kind is None:
        return None
    flags = suffix.removeprefix(kind).strip("_").split("_")
    terms = tuple(
        term
        for part in fill(value, request).lower().split(",")
        if (term := _term(kind, part.strip(), request)) is not None
    )
    if not terms:
        return None
    return Rule(kind, terms, negative="ne" in flags, soft="soft" in flags)


def _term(kind: str, text: str, request: Request) -> tuple[str, str] | None:
    if not text:
        return None
    if kind == "container":
        return (text, "")
    key, _, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if key == STACK_SERVICE_NAME and "/" not in value and request.stack:
        value = f"{request.stack.lower()}/{value}"
    return (key, value)


def _from_environment(spec: LaunchConfig, request: Request) -> list[Rule]:
    rules = []
    for key, value in spec.environment.items():
        if not key.lower().startswith(("constraint:", "affinity:")):
            continue
        # The first "=" of "constraint:key==value" ended the variable's name when the file was read.
        match = _SWARM.match(key if "==" in key or "!=" in key else f"{key}={value}")
        if match is None:
            continue
        where, name, sign, soft, wanted = match.groups()
        suffix = "host_label" if where == "constraint" else "container_label"
        text = f"{name}={wanted}"
        if where == "affinity" and name.lower() in {"container", "label"}:
            suffix = "container" if name.lower() == "container" else "container_label"
            text = wanted
        suffix += ("_soft" if soft else "") + ("_ne" if sign == "!=" else "")
        rule = _rule(suffix, text, request)
        if rule is not None:
            rules.append(rule)
    return rules


def fill(text: str, request: Request) -> str:
    """Replace the macros ``${stack_name}``, ``${service_name}`` and ``${project_name}``."""
    for macro, value in (
        ("stack_name", request.stack),
        ("service_name", request.service),
        ("project_name", request.project),
    ):
        text = text.replace("$${" + macro + "}", value).replace("${" + macro + "}", value)
    return text

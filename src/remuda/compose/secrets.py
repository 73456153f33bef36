"""Secrets in compose files: those that a file declares, and those that a service mounts.

A secret is known by its name in the environment. Here its value is never read: who deploys the file makes the secrets that it
takes from files (``remuda up`` does), and the server looks them all up by name.
"""

from __future__ import annotations

import re

import msgspec

from remuda.compose.documents import did_you_mean
from remuda.compose.draft import Draft
from remuda.compose.model import SecretSpec
from remuda.compose.nodes import Node, Report
from remuda.compose.values import Values
from remuda.core.secrets import fault, twice
from remuda.core.spec import SecretReference

_NAME = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,63}")
_DECLARED = ("external", "file", "environment", "name")
_LONG = ("source", "target", "uid", "gid", "mode")


def declared(name: str, node: Node, values: Values, report: Report) -> SecretSpec:
    """One entry of the section ``secrets``."""
    external, given = node.get("external"), node.get("name")
    inner = external.get("name") if external is not None else None
    chosen = next((values.text(one, "name") for one in (inner, given) if one is not None), None) or name
    if not _NAME.fullmatch(chosen):
        report.error(
            node, f"{chosen!r} cannot be a secret's name: use up to 63 letters, digits, '.', '_' and '-'", key=True
        )
    if node.value is not None and not node.is_map:
        report.error(node, f"the secret {name} must be a mapping, not {node.kind}")
    for key, child in node.items():
        if key in ("driver", "labels", "template_driver"):
            report.warning(child, f"{key} of a secret is ignored", key=True)
        elif key not in _DECLARED and not key.startswith("x-"):
            report.error(child, f"{key} is not a setting of a secret{did_you_mean(key, list(_DECLARED))}", key=True)
    file, variable = node.get("file"), node.get("environment")
    spec = SecretSpec(
        name=name,
        secret=chosen,
        file=(file is not None and values.text(file, "file")) or "",
        variable=(variable is not None and values.text(variable, "environment")) or "",
        external=external is not None and (external.is_map or bool(values.switch(external, "external"))),
    )
    if spec.external and (spec.file or spec.variable):
        report.error(node, f"the secret {name} is external, so it has no file: remove one of the two", key=True)
    elif not (spec.external or spec.file or spec.variable):
        report.error(node, f"the secret {name} needs external: true, or the file that holds its value", key=True)
    return spec


def mounted(draft: Draft, node: Node) -> None:
    """``secrets`` of a service. Until the server looks it up, a reference carries the secret's name in place of its id."""
    if node.value is None:
        return
    if not node.is_list:
        draft.report.error(node, f"secrets must be a list, not {node.kind}")
        return
    found = [one for child in node.elements() if (one := _reference(draft, child)) is not None]
    if name := twice(found):
        draft.report.error(node, f"two secrets would be the file /run/secrets/{name}: give one of them another target")
    draft.put("secrets", found)


def _reference(draft: Draft, node: Node) -> SecretReference | None:
    long = node if node.is_map else node.with_value({"source": node})
    for key, child in long.items():
        if key not in _LONG and not key.startswith("x-"):
            draft.report.error(child, f"a secret has no setting {key}{did_you_mean(key, list(_LONG))}", key=True)
    source = long.get("source")
    name = draft.values.text(source, "source") if source is not None else None
    if not name:
        draft.report.error(node, "each secret needs a source: the name of a secret in the section secrets")
        return None
    spec = draft.secrets.get(name)
    if spec is None:
        near = did_you_mean(name, list(draft.secrets)) or "; declare it in the section secrets"
        draft.report.error(node, f"the secret {name} is not declared in the file{near}")
        return None
    reference = SecretReference(
        secret_id=spec.secret, name=_text(draft, long, "target").removeprefix("/run/secrets/") or name
    )
    given = {key: _text(draft, long, key) for key in ("uid", "gid")} | {"mode": _octal(long.get("mode"))}
    reference = msgspec.structs.replace(reference, **{key: text for key, text in given.items() if text})
    wrong = fault(reference)
    if wrong is not None:
        word = {"name": "target"}.get(wrong[0], wrong[0])
        draft.report.error(long.get(word) or node, f"{word} {wrong[1]}")
        return None
    return reference


def _text(draft: Draft, node: Node, key: str) -> str:
    child = node.get(key)
    return (draft.values.text(child, key) or "") if child is not None else ""


def _octal(node: Node | None) -> str:
    """A mode as it was written: its digits are octal, whatever YAML makes of them."""
    if node is None or node.value is None:
        return ""
    return (node.raw or str(node.value)).strip().lower().replace("0o", "0", 1)

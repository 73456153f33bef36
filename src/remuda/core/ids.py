"""Public ids: ``1`` + a short type + the number (``1h7``); settings and singletons go by name.

The letters are for people: parsing does not check them (clients of 1.x rely on that), so whoever looks a row up by a
parsed number must look in the right table.
"""

from __future__ import annotations

import re

SHORT: dict[str, str] = {
    "account": "a",
    "project_member": "pm",
    "credential": "c",
    "setting": "as",
    "agent": "a",
    "host": "h",
    "stack": "e",
    "service": "s",
    "instance": "i",
    "event": "sl",
    "audit_log": "al",
    "ha_generation": "hg",
    "cluster_node": "cn",
    "network": "n",
    "address": "ip",
    "health_observation": "hi",
    "certificate": "c",
    "registry": "sp",
    "registry_credential": "c",
    "secret": "se",
    "pull_task": "pt",
    "volume": "v",
    "volume_template": "vt",
    "mount": "m",
    "instance_host_map": "ihm",
    "service_expose_map": "sem",
    "port": "p",
    "instance_link": "il",
    "label": "l",
    "label_map": "lm",
    "image": "i",
    "physical_host": "ph",
    "nic": "n",
    "subnet": "s",
    "config_item": "ci",
    "config_item_status": "cis",
    "zone": "z",
    "process_definition": "pd",
    "resource_definition": "rd",
    "process_instance": "pi",
    "process_execution": "pe",
    "process_summary": "ps",
    "external_event": "ee",
    "auth_provider": "ap",
    "user_preference": "up",
}
"""Letters by table."""

_PUBLIC = re.compile(r"1[a-z]+!?(\d{1,18})", re.IGNORECASE | re.ASCII)


def public(table: str, number: int | None) -> str | None:
    """The public form of a row's id; None stays None."""
    return None if number is None else f"1{SHORT[table]}{number}"


def number(text: object) -> int | None:
    """The number in a public id, or None when the text is none (then nothing is found under it)."""
    if not isinstance(text, str):
        return None
    match = _PUBLIC.fullmatch(text)
    return int(match.group(1)) if match else None

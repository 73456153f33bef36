"""``blkio_config`` of a service: its share of disks, and limits by device; to and from the API's two fields."""

from __future__ import annotations

from typing import Any

from remuda.compose.documents import did_you_mean
from remuda.compose.draft import Draft
from remuda.compose.nodes import Node
from remuda.core.spec import LaunchConfig

_LIMITS = {
    "device_read_bps": ("readBps", "rate"), "device_write_bps": ("writeBps", "rate"),
    "device_read_iops": ("readIops", "rate"), "device_write_iops": ("writeIops", "rate"),
    "weight_device": ("weight", "weight"),
}  # fmt: skip
"""Key of the file -> word of the API, and the key of the value within an entry."""


def read(draft: Draft, node: Node) -> None:
    """Carry out the key."""
    devices: dict[str, dict[str, int]] = {}
    for key, child in node.items():
        if key == "weight":
            draft.put("blkio_weight", draft.values.number(child, "weight", 10, 1000))
        elif key in _LIMITS:
            for entry in child.elements():
                _limit(draft, entry, key, devices)
        else:
            near = did_you_mean(key, ["weight", *_LIMITS])
            draft.report.error(child, f"{key} is not a setting of blkio_config{near}", key=True)
    if not node.is_map:
        draft.report.error(node, f"blkio_config must be a mapping, not {node.kind}")
    draft.put("blkio_device_options", devices)


def _limit(draft: Draft, entry: Node, key: str, devices: dict[str, dict[str, int]]) -> None:
    word, name = _LIMITS[key]
    path, given = entry.get("path"), entry.get(name)
    device = draft.values.text(path, "path") if path is not None else None
    if not device or not device.startswith("/") or given is None:
        draft.report.error(entry, f"each entry of {key} needs path, a device such as /dev/sda, and {name}")
        return
    amount = (
        draft.values.size(given, name) if word.endswith("Bps") else draft.values.number(given, name, 0)
    )  # rates may have units, counts have none
    if amount is not None:
        devices.setdefault(device, {})[word] = amount


def told(config: LaunchConfig) -> dict[str, Any]:
    """The key for a launch configuration; empty when there is nothing to say."""
    found: dict[str, Any] = {"weight": config.blkio_weight} if config.blkio_weight else {}
    for key, (word, name) in _LIMITS.items():
        entries = [
            {"path": device, name: limits[word]}
            for device, limits in config.blkio_device_options.items()
            if limits.get(word)
        ]
        found |= {key: entries} if entries else {}
    return found

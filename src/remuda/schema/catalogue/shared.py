"""What several rooms of the catalogue say alike: names, states in which something lives, fields derived from structs."""

from __future__ import annotations

import msgspec

from remuda.core.spec import HealthCheck, LogConfig, RestartPolicy, SecretReference
from remuda.schema.fields import BOOL, INT, JSON, LIST, MAP, STRING, Field, reference

LIVE = ("active", "inactive", "activating", "updating-active", "deactivating", "error", "degraded",
        "upgrading", "upgraded", "canceled-upgrade", "rolling-back", "restarting")  # fmt: skip
_PLAIN: dict[object, str] = {bool: BOOL, int: INT, str: STRING}
_EMBEDDED: dict[object, str] = {
    RestartPolicy: "restartPolicy",
    LogConfig: "logConfig",
    HealthCheck: "instanceHealthCheck",
    SecretReference: "secretReference",
}
NAME = Field(
    name="name",
    create=True,
    update=True,
    required=True,
    min_length=1,
    max_length=63,
    valid_chars="a-zA-Z0-9-",
    label=True,
)


_TOLD_OTHERWISE = {
    "registry_credential_id": reference("registryCredential"),
    "blkio_device_options": "map[blkioDeviceOption]",
    "storage_opt": "map[json]",
}
"""Types that say more than those of the struct do."""


def struct_fields(struct: type[msgspec.Struct], *, leave_out: tuple[str, ...] = ()) -> tuple[Field, ...]:
    """The fields of a launch configuration or a part of one, derived from the struct itself."""
    found = []
    for info in msgspec.structs.fields(struct):
        if info.encode_name in leave_out:
            continue
        found.append(
            Field(
                name=info.encode_name,
                type=_TOLD_OTHERWISE.get(info.name) or _wire_type(info.type),
                create=True,
                source=info.name,
                default=info.default if isinstance(info.default, bool) or info.name == "network_mode" else None,
            )
        )
    return tuple(found)


def _wire_type(annotation: object) -> str:
    members = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    origin = getattr(annotation, "__origin__", None)
    if origin is dict:
        return MAP
    if origin is list:
        return LIST if members == [str] else f"array[{_EMBEDDED.get(members[0], JSON)}]"
    if origin is None and members:  # Optional[X]
        return _wire_type(members[0]) if len(members) == 1 else JSON
    if annotation in _EMBEDDED:
        return _EMBEDDED[annotation]
    return _PLAIN.get(annotation, JSON)

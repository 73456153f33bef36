"""Check what a client sends against a type: the documented codes, the field's name, and a sentence on what to do.

Looks at the body only. Whether a referenced row exists and may be seen is asked of the caller's ``lookup``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from remuda.core import ids
from remuda.core.balancing.config import LbConfig, PortRule
from remuda.core.model import PolicyRule, ServiceLink
from remuda.core.secrets import fault, twice
from remuda.core.spec import CHECK_LIMITS, CHECK_WORDS, HealthCheck, LaunchConfig, SecretReference
from remuda.schema import registry
from remuda.schema.fields import Field, ResourceType

Lookup = Callable[[str, int], bool]
"""(type id, number) -> may the caller see such a row?"""

_STRUCTS: dict[str, type[msgspec.Struct]] = {
    "launchConfig": LaunchConfig,
    "secondaryLaunchConfig": LaunchConfig,
    "networkPolicyRule": PolicyRule,
    "instanceHealthCheck": HealthCheck,
    "lbConfig": LbConfig,
    "serviceLink": ServiceLink,
    "loadBalancerServiceLink": ServiceLink,
    "secretReference": SecretReference,
}


class Invalid(Exception):  # noqa: N818 - it describes the input
    """The body cannot be accepted. ``code`` is one of the documented ones, ``field`` the offender's path."""

    def __init__(self, code: str, field: str = "", message: str = "", status: int = 422) -> None:
        super().__init__(message or f"{field}: {code}")
        self.code, self.field, self.message, self.status = code, field, message or f"{field}: {code}", status


def for_create(resource: ResourceType, body: Mapping[str, Any], lookup: Lookup, role: str = "") -> dict[str, Any]:
    """The acceptable values of a new resource by field name: defaults filled in, unknown fields left out, and those that
    ``role`` may not set (nobody in particular, where none is given)."""
    values: dict[str, Any] = {}
    for field in resource.fields:
        if not field.settable("c", role):
            continue
        value = body.get(field.name)
        if (
            value is None and field.default is not None and not (field.kept and role)
        ):  # what is only kept is told anyway
            value = field.default
        if field.required and (value is None or value == "" or value == []):
            raise Invalid("MissingRequired", field.name, f"'{field.name}' is required.")
        if field.name in body or value is not None:
            values[field.name] = check(field, value, lookup)
    return values


def for_update(resource: ResourceType, body: Mapping[str, Any], lookup: Lookup, role: str = "") -> dict[str, Any]:
    """The acceptable values of a change; what may not be changed is left out silently, as 1.x clients expect."""
    return {f.name: check(f, body[f.name], lookup) for f in resource.fields if f.name in body and f.settable("u", role)}


def check(field: Field, value: Any, lookup: Lookup) -> Any:
    """One value, in the form that is stored."""
    if value is None:
        if not field.nullable:
            raise Invalid("NotNullable", field.name, f"'{field.name}' must have a value.")
        return None
    checker = _CHECKS.get(field.type)
    if checker is not None:
        return checker(field, value)
    if field.type.startswith("reference["):
        return _reference(field, value, lookup)
    if field.type.startswith("array["):
        return _array(field, value, lookup)
    if field.type in _STRUCTS:
        return _struct(field.name, _STRUCTS[field.type], value, lookup)
    return _document(field.type, field.name, value) if field.kept else value


def _document(told: str, path: str, value: Any) -> Any:
    """What is only kept is kept in the shape that its type has: it is told again, and whoever reads it relies on that."""
    if value is None or told.startswith("reference["):
        return value
    if told.startswith(("array[", "map[")) and told not in _CHECKS:
        inner = told[told.index("[") + 1 : -1]
        if told.startswith("array["):
            if not isinstance(value, list):
                raise _wrong(Field(name=path), "a list", value)
            return [_document(inner, f"{path}[{n}]", one) for n, one in enumerate(value)]
        if not isinstance(value, dict):
            raise _wrong(Field(name=path), "an object", value)
        return {str(key): _document(inner, f"{path}.{key}", one) for key, one in value.items()}
    if told in _CHECKS and told != "enum":
        return _CHECKS[told](Field(name=path, type=told), value)
    kind = registry.TYPES.get(told)
    if kind is None:
        return value
    if not isinstance(value, dict):
        raise _wrong(Field(name=path), "an object", value)
    return {f.name: _document(f.type, f"{path}.{f.name}", value[f.name]) for f in kind.fields if f.name in value}


def _wrong(field: Field, expected: str, value: Any) -> Invalid:
    return Invalid("InvalidFormat", field.name, f"'{field.name}' must be {expected}, not {type(value).__name__}.")


def _string(field: Field, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong(field, "a string", value)
    text = str(value)
    if field.min_length is not None and len(text) < field.min_length:
        raise Invalid(
            "MinLengthExceeded", field.name, f"'{field.name}' needs at least {field.min_length} character(s)."
        )
    if field.max_length is not None and len(text) > field.max_length:
        raise Invalid(
            "MaxLengthExceeded", field.name, f"'{field.name}' may have at most {field.max_length} characters."
        )
    if "\x00" in text:
        raise Invalid("InvalidCharacters", field.name, f"'{field.name}' may not contain a NUL character.")
    if field.label and text != text.strip("-"):
        raise Invalid(
            "InvalidCharacters",
            field.name,
            f"'{field.name}' begins and ends with a letter or a digit, not with a hyphen.",
        )
    if field.valid_chars and (bad := re.sub(f"[{field.valid_chars}]", "", text)):
        shown = " ".join(sorted({"space" if c == " " else c for c in bad}))
        raise Invalid(
            "InvalidCharacters",
            field.name,
            f"'{field.name}' may only contain {field.valid_chars}; not allowed: {shown}",
        )
    return text


def _int(field: Field, value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(field, "a whole number", value)
    if field.min is not None and value < field.min:
        raise Invalid("MinLimitExceeded", field.name, f"'{field.name}' must be at least {field.min}.")
    if field.max is not None and value > field.max:
        raise Invalid("MaxLimitExceeded", field.name, f"'{field.name}' must be at most {field.max}.")
    if abs(value) >= 2**63:
        raise Invalid("MaxLimitExceeded", field.name, f"'{field.name}' is too large.")
    return value


def _bool(field: Field, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _wrong(field, "true or false", value)
    return value


def _enum(field: Field, value: Any) -> str:
    text = _string(field, value)
    if field.options and text not in field.options:
        raise Invalid("InvalidOption", field.name, f"'{field.name}' must be one of {', '.join(field.options)}.")
    return text


def _map(field: Field, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong(field, "an object", value)
    out = {}
    for key, item in value.items():
        if isinstance(item, dict | list):
            raise Invalid("InvalidFormat", f"{field.name}.{key}", f"'{field.name}.{key}' must be a string.")
        out[str(key)] = "" if item is None else ("true" if item is True else "false" if item is False else str(item))
    return out


def _json(field: Field, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(field, "an object", value)
    return value


def _array(field: Field, value: Any, lookup: Lookup) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(field, "a list", value)
    inner = field.type[len("array[") : -1]
    if inner == "string":
        return [_string(Field(name=f"{field.name}[{n}]"), item) for n, item in enumerate(value)]
    if inner in _STRUCTS:
        found = [_struct(f"{field.name}[{n}]", _STRUCTS[inner], item, lookup) for n, item in enumerate(value)]
        _apart(field.name, found)
        return found
    return list(value)


def _reference(field: Field, value: Any, lookup: Lookup) -> int:
    target = field.type[len("reference[") : -1]
    found = ids.number(value)
    if found is None or not lookup(target, found):
        raise Invalid(
            "InvalidReference", field.name, f"'{field.name}': there is no {target} {value!r} that you can see."
        )
    return found


@cache
def _names(struct: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(struct))


def _struct(path: str, struct: type[msgspec.Struct], value: Any, lookup: Lookup) -> msgspec.Struct:
    if not isinstance(value, dict):
        raise Invalid("InvalidFormat", path, f"'{path}' must be an object.")
    known = _names(struct)
    cleaned = {k: v for k, v in value.items() if k in known and (v is not None or k in _NULL_IS_NEVER)}
    for key in ("environment", "labels", "tmpfs", "sysctls", "instanceLinks"):
        if key in cleaned:
            cleaned[key] = _map(Field(name=f"{path}.{key}"), cleaned[key])
    for key in ("command", "entryPoint"):
        if isinstance(cleaned.get(key), str):
            cleaned[key] = [cleaned[key]]
    if cleaned.get("requestedHostId") is not None and struct is LaunchConfig:
        _reference(Field(name=f"{path}.requestedHostId", type="reference[host]"), cleaned["requestedHostId"], lookup)
    if struct is LaunchConfig and isinstance(cleaned.get("secrets"), list):
        cleaned["secrets"] = _secrets(f"{path}.secrets", cleaned["secrets"], lookup)
    if struct is SecretReference:
        _reference(Field(name=f"{path}.secretId", type="reference[secret]"), cleaned.get("secretId"), lookup)
    cleaned = _numbered(path, struct, cleaned, lookup)
    try:
        found = msgspec.convert(cleaned, struct, strict=False)
        _sound_checks(path, found)
        return found
    except msgspec.ValidationError as problem:
        text, _, where = str(problem).partition(" - at `$")
        place = path + where.rstrip("`")
        raise Invalid("InvalidFormat", place, f"'{place}': {text}.") from None


def _secrets(path: str, values: list[Any], lookup: Lookup) -> list[Any]:
    """References to secrets, each of which can be mounted, under names that differ."""
    found = [_struct(f"{path}[{n}]", SecretReference, one, lookup) for n, one in enumerate(values)]
    return [msgspec.to_builtins(one) for one in found]


def _apart(path: str, values: Sequence[Any]) -> None:
    """Two secrets cannot be one file."""
    if name := twice(one for one in values if isinstance(one, SecretReference) and one.name):
        raise Invalid("NotUnique", path, f"'{path}': two of them have the file name '{name}'.")


def _sound_secret(path: str, found: SecretReference) -> None:
    wrong = fault(found)
    if wrong is not None:
        raise Invalid("InvalidFormat", f"{path}.{wrong[0]}", f"'{path}.{wrong[0]}' {wrong[1]}.")


def _sound_checks(path: str, found: msgspec.Struct) -> None:
    """Health checks that could never be carried out are refused where they are said."""
    if isinstance(found, SecretReference):
        _sound_secret(path, found)
    if isinstance(found, LaunchConfig):
        _apart(f"{path}.secrets", found.secrets)
    if isinstance(found, LaunchConfig) and found.health_check is not None:
        path, found = f"{path}.healthCheck", found.health_check
    if not isinstance(found, HealthCheck):
        return
    if not found.port and not found.command:
        raise Invalid(
            "MissingRequired", f"{path}.port", f"'{path}.port' is required: it is what is asked (or 'command')."
        )
    for name, low, high in CHECK_LIMITS:
        value = getattr(found, name)
        if value is None or (name == "port" and found.command):
            continue
        field = Field(name=f"{path}.{_camel(name)}", min=low, max=high)
        _int(field, value)
    for name, options in CHECK_WORDS:
        _enum(Field(name=f"{path}.{_camel(name)}", options=options), getattr(found, name))
    quorum = found.recreate_on_quorum_strategy_config or {}
    if "quorum" in quorum:
        _int(Field(name=f"{path}.recreateOnQuorumStrategyConfig.quorum", min=1), quorum["quorum"])


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_NULL_IS_NEVER = frozenset({"initializingTimeout", "reinitializingTimeout"})
_REFERENCES: dict[type[msgspec.Struct], dict[str, str]] = {
    LaunchConfig: {"registryCredentialId": "registryCredential"},
    ServiceLink: {"serviceId": "service"},
    PortRule: {"serviceId": "service", "containerId": "container"},
    LbConfig: {"defaultCertificateId": "certificate", "certificateIds": "certificate"},
}
"""Fields of embedded structs that are public ids on the wire and numbers in the record."""


def _numbered(path: str, struct: type[msgspec.Struct], values: dict[str, Any], lookup: Lookup) -> dict[str, Any]:
    """Public ids within an embedded struct as numbers, each looked up."""
    found = dict(values)
    for key, target in _REFERENCES.get(struct, {}).items():
        given = found.get(key)
        if given in (None, ""):
            found.pop(key, None)
        elif isinstance(given, list):
            found[key] = [
                _reference(Field(name=f"{path}.{key}[{n}]", type=f"reference[{target}]"), one, lookup)
                for n, one in enumerate(given)
            ]
        else:
            found[key] = _reference(Field(name=f"{path}.{key}", type=f"reference[{target}]"), given, lookup)
    if struct is LbConfig and isinstance(found.get("portRules"), list):
        found["portRules"] = [
            _struct(f"{path}.portRules[{n}]", PortRule, rule, lookup) for n, rule in enumerate(found["portRules"])
        ]
        found["portRules"] = [msgspec.to_builtins(rule) for rule in found["portRules"]]
    return found


_TABLES = {"container": "instance", "registryCredential": "registry_credential"}
"""Where a type's numbers are not counted under its own name."""


def published(value: Any) -> Any:
    """An embedded struct as clients see it: :func:`_numbered` the other way."""
    if isinstance(value, list):
        return [published(one) for one in value]
    if not isinstance(value, msgspec.Struct):
        return value
    found = msgspec.to_builtins(value)
    for key, target in _REFERENCES.get(type(value), {}).items():
        given = found.get(key)
        table = _TABLES.get(target, target)
        if isinstance(given, list):
            found[key] = [ids.public(table, one) for one in given]
        elif given is not None:
            found[key] = ids.public(table, given)
    if isinstance(value, LbConfig):
        found["portRules"] = published(value.port_rules)
    return found


_CHECKS: dict[str, Callable[[Field, Any], Any]] = {
    "string": _string,
    "password": _string,
    "int": _int,
    "boolean": _bool,
    "enum": _enum,
    "map[string]": _map,
    "json": _json,
    "map[json]": _json,
}

"""From what people type to resources: an id, a name, ``stack/service``, ``stack/service/n``, a container's name or Docker id."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence

from remuda.cli.client import Api, Json
from remuda.cli.errors import NOT_FOUND, REFUSED, CliError

_ID = re.compile(r"1(e|st|s|i|h)(\d+)$")
_KINDS = {"e": "environment", "st": "environment", "s": "service", "i": "container", "h": "host"}
WORDS = {"environment": "stack", "service": "service", "container": "container", "host": "host"}
EVERYTHING = ("environment", "service", "container", "host")


class Inventory:
    """What there is in an environment; each kind is fetched when first asked for."""

    def __init__(self, fetch: Callable[[str], list[Json]]) -> None:
        self._fetch = fetch
        self._kept: dict[str, list[Json]] = {}

    @classmethod
    def of(cls, api: Api) -> Inventory:
        """The inventory of the environment in use."""
        return cls(api.fetch)

    def all(self, kind: str) -> list[Json]:
        """Everything of a kind that is not gone."""
        if kind not in self._kept:
            self._kept[kind] = [r for r in self._fetch(kind) if r.get("state") not in ("removed", "purged")]
        return self._kept[kind]

    def forget(self) -> None:
        """Fetch again from now on."""
        self._kept.clear()

    def stack_name(self, resource: Json) -> str:
        """The name of the stack that a service or container belongs to."""
        wanted = resource.get("environmentId")
        return next((str(s["name"]) for s in self.all("environment") if s["id"] == wanted), "") if wanted else ""

    def service_name(self, service: Json) -> str:
        """``stack/service``."""
        stack = self.stack_name(service)
        return f"{stack}/{service['name']}" if stack else str(service["name"])

    def containers_of(self, resource: Json) -> list[Json]:
        """The containers of a stack, a service, a host, or the container itself."""
        if resource["type"] == "container":
            return [resource]
        field = {"environment": "environmentId", "service": "serviceId", "host": "hostId"}[resource["type"]]
        return sorted(
            (c for c in self.all("container") if c.get(field) == resource["id"]),
            key=lambda c: (c.get("serviceId") or "", c.get("createIndex") or 0, c["id"]),
        )

    def services_of(self, stack: Json) -> list[Json]:
        """The services of a stack."""
        return [s for s in self.all("service") if s.get("environmentId") == stack["id"]]

    def find(self, name: str, kinds: Sequence[str] = EVERYTHING) -> Json:
        """The one thing of these kinds that the name means; a sentence when there is none or several."""
        match = _ID.match(name)
        if match and (kind := _KINDS[match.group(1)]) in kinds:
            found = [r for r in self.all(kind) if r["id"] == name]
            if found:
                return found[0]
        for kind in kinds:
            found = self._matches(name, kind)
            if len(found) == 1:
                return found[0]
            if found:
                told = ", ".join(f"{self._full(r)} ({r['id']})" for r in found[:5])
                raise CliError(f"{name!r} could be any of {told}: write more of the name, or the id", REFUSED)
        words = " or ".join(WORDS[k] for k in kinds)
        raise CliError(f"there is no {words} {name!r}{self._near(name, kinds)}", NOT_FOUND)

    def _matches(self, name: str, kind: str) -> list[Json]:
        if kind in ("environment", "host"):
            return [r for r in self.all(kind) if name in (r.get("name"), r.get("uuid"), r.get("hostname"))]
        if kind == "service":
            return self._services(name)
        return self._containers(name)

    def _services(self, name: str) -> list[Json]:
        stack, slash, service = name.partition("/")
        if slash:
            if "/" in service:
                return []
            return [s for s in self.all("service") if s["name"] == service and self.stack_name(s) == stack]
        return [s for s in self.all("service") if name in (s["name"], s.get("uuid"))]

    def _containers(self, name: str) -> list[Json]:
        containers = self.all("container")
        parts = name.split("/")
        if len(parts) == 3 and parts[2].isdecimal():
            services = self._services(f"{parts[0]}/{parts[1]}")
            numbered = [c for s in services for c in self.containers_of(s) if ordinal(c) == int(parts[2])]
            own = [c for c in numbered if c.get("name") in ("-".join(parts), "_".join(parts))]
            return own or numbered
        exact = [c for c in containers if name in (c.get("name"), c.get("uuid"), c.get("externalId"))]
        if exact:
            return exact
        if len(name) >= 6 and all(ch in "0123456789abcdef" for ch in name):
            return [c for c in containers if str(c.get("externalId") or "").startswith(name)]
        return []

    def _full(self, resource: Json) -> str:
        if resource["type"] == "service":
            return self.service_name(resource)
        return str(resource.get("name") or resource["id"])

    def _near(self, name: str, kinds: Sequence[str]) -> str:
        known: list[str] = []
        for kind in kinds:
            for resource in self.all(kind):
                known += [self._full(resource), str(resource.get("name") or "")]
        close = difflib.get_close_matches(name, [k for k in known if k], 1, 0.6)
        return f"; did you mean {close[0]}?" if close else ""


def ordinal(container: Json) -> int:
    """The n of ``stack-service-n``; 0 when its name has none."""
    match = re.search(r"[-_](\d+)$", str(container.get("name") or ""))
    return int(match.group(1)) if match else 0

"""Services: scale, start, stop, restart, change."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.lookup import lookup
from remuda.api.render import Extra
from remuda.api.resources import handovers
from remuda.api.resources.containers import endpoints
from remuda.control.agents.certificates import certificate_ids, tell_again
from remuda.control.network import network_of
from remuda.core import handover, ids, restarts, upgrades
from remuda.core.labels import SELECTOR_CONTAINER, SELECTOR_LINK
from remuda.core.model import (
    ACTIVE,
    INACTIVE,
    REMOVED,
    Host,
    Instance,
    Record,
    Service,
    ServiceLink,
    Stack,
)
from remuda.core.network.addressing import choices_of, never
from remuda.core.network.relations import parse
from remuda.core.network.scene import is_managed
from remuda.core.spec import LaunchConfig
from remuda.ports.store import ALIVE, Tx, Where, eq
from remuda.schema.fields import ResourceType
from remuda.schema.registry import TYPES
from remuda.schema.validate import Invalid, Lookup, for_create

WITH_CONTAINERS = frozenset({"service", "loadBalancerService"})
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")


class Services(Behaviour):
    """What is to run, and how often. The service controller does the rest."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.actions |= {
            "restart": self.restart,
            "setservicelinks": self.set_links,
            "addservicelink": self.add_link,
            "removeservicelink": self.remove_link,
            "upgrade": self.upgrade,
            "finishupgrade": lambda tx, ctx, record, values: tx.update(record, **upgrades.finish(record)),
            "cancelupgrade": lambda tx, ctx, record, values: tx.update(record, **upgrades.cancel(record)),
            "rollback": self.rollback,
        }

    def of(self, ctx: Context, record: Any) -> Behaviour:
        return ctx.api.behaviour(TYPES[record.kind]) if record.kind in TYPES else self

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        stack = tx.hold(Stack, values["environmentId"])
        assert stack is not None  # the reference was checked
        if stack.desired == REMOVED:
            raise ApiError(422, "InvalidState", f"The stack '{stack.name}' is being removed.", field="environmentId")
        unique_name(tx, stack.id, values["name"])
        self.check(values)
        row = self.fill(tx, ctx, values)
        _selected(row)
        requested_addresses(tx, stack.account_id, row)
        row["account_id"] = stack.account_id
        row["desired"] = ACTIVE if values.get("startOnCreate") else INACTIVE
        return tx.insert(Service(**row))

    def check(self, values: Values) -> None:
        """Refuse a new service that could never be anything."""
        config = values.get("launchConfig")
        if (config is None or not config.image) and not values.get("selectorContainer"):
            raise ApiError(
                422, "MissingRequired", "'launchConfig.imageUuid' is required, e.g. docker:nginx.",
                field="launchConfig.imageUuid",
            )  # fmt: skip
        sidekicks_named(values.get("secondaryLaunchConfigs"))

    def set_links(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """These links and no others."""
        links = [link_of(tx, record, link, n) for n, link in enumerate(values.get("serviceLinks") or [])]
        names = [link.name for link in links]
        twice = next((name for name in names if name and names.count(name) > 1), None)
        if twice is not None:
            raise ApiError(422, "NotUnique", f"Two links have the name '{twice}'.", field="serviceLinks")
        return tx.update(record, links=links)  # type: ignore[no-any-return]

    def add_link(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """One more link; one to the same service under the same name is replaced."""
        link = link_of(tx, record, values["serviceLink"], 0)
        kept = [one for one in record.links if one != link and not (link.name and one.name == link.name)]
        return tx.update(record, links=[*kept, link])  # type: ignore[no-any-return]

    def remove_link(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Without the links to this service (or without the one of this name)."""
        gone = values["serviceLink"]
        kept = [
            one for one in record.links if one.service_id != gone.service_id or (gone.name and one.name != gone.name)
        ]
        return tx.update(record, links=kept)  # type: ignore[no-any-return]

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        if "name" in values and values["name"] != record.name:
            tx.hold(Stack, record.stack_id)
            unique_name(tx, record.stack_id, values["name"] or "")
        changes = self.attributes(values)
        _selected(changes)
        requested_addresses(tx, record.account_id, changes)
        if record.kind == "externalService":
            outside({**msgspec.structs.asdict(record), **changes})
        return change_service(tx, record, **changes)

    def activate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return tx.update(record, desired=ACTIVE, data={**record.data, "settled": False})  # type: ignore[no-any-return]

    def deactivate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return tx.update(record, desired=INACTIVE, data={**record.data, "settled": False})  # type: ignore[no-any-return]

    def upgrade(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Other launch configurations, replaced batch by batch; to be finished or rolled back afterwards."""
        given, other = values.get("inServiceStrategy"), values.get("toServiceStrategy")
        if isinstance(other, dict) and not given:
            kind = TYPES["toServiceUpgradeStrategy"]
            return handovers.begin(tx, record, _within("toServiceStrategy", kind, other, lookup(tx, ctx)))
        if not isinstance(given, dict):
            raise ApiError(
                422, "MissingRequired", "Send 'inServiceStrategy' with 'launchConfig' or 'toServiceStrategy' with 'toServiceId'.",
                field="inServiceStrategy",
            )  # fmt: skip
        wish = _within("inServiceStrategy", TYPES["inServiceUpgradeStrategy"], given, lookup(tx, ctx))
        launch, sidekicks = wish.get("launchConfig"), wish.get("secondaryLaunchConfigs")
        if launch is None and sidekicks is None:
            raise ApiError(
                422, "MissingRequired", "'inServiceStrategy.launchConfig' is required: what the service is to become.",
                field="inServiceStrategy.launchConfig",
            )  # fmt: skip
        sidekicks_named(sidekicks)
        changes = upgrades.begin(record, launch, sidekicks, wish["batchSize"])
        requested_addresses(tx, record.account_id, changes)
        return tx.update(record, **changes, desired=ACTIVE)  # type: ignore[no-any-return]

    def rollback(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """What it was before the upgrade."""
        if handover.wish(record) is not None:
            return handovers.back(tx, record)
        return tx.update(record, **upgrades.back(record))  # type: ignore[no-any-return]

    def restart(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Restart all its containers, a batch at a time."""
        given = values.get("rollingRestartStrategy")
        kind = TYPES["rollingRestartStrategy"]
        strategy = _within("rollingRestartStrategy", kind, given if isinstance(given, dict) else {}, lookup(tx, ctx))
        instances = tx.find(Instance, eq("service_id", record.id), ALIVE)
        return tx.update(record, **restarts.begin(record, instances, strategy["batchSize"]))  # type: ignore[no-any-return]

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return tx.update(record, desired=REMOVED, data={**record.data, "settled": False})  # type: ignore[no-any-return]

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        by_service: dict[int, list[Instance]] = {r.id: [] for r in records}
        for instance in tx.find(Instance, Where("service_id", "in", list(by_service)), ALIVE):
            by_service[instance.service_id or 0].append(instance)
        wanted = sorted(
            {i.host_id for group in by_service.values() for i in group if i.host_id and (i.published or i.bound)}
        )
        hosts = {h.id: h for h in tx.find(Host, Where("id", "in", wanted))} if wanted else {}
        return {
            r.id: {
                "linkedServices": {link.name or str(link.service_id): _service_id(link) for link in r.links},
                "instanceIds": [ids.public("instance", i.id) for i in by_service[r.id]],
                **({"upgrade": upgrades.shown(r)} if r.kind in WITH_CONTAINERS else {}),
                "publicEndpoints": [e for i in by_service[r.id] for e in endpoints(i, hosts.get(i.host_id or 0))],
            }
            for r in records
        }


class Aliases(Services):
    """Names for other services."""

    def check(self, values: Values) -> None:
        """It needs nothing: what it is a name for is said by its links."""


class Externals(Services):
    """What is outside."""

    def check(self, values: Values) -> None:
        """Addresses or a name, and sound ones."""
        outside(self.attributes(values))


def _within(name: str, kind: ResourceType, given: Values, sees: Lookup) -> Values:
    """The values of something embedded in a field; what is wrong in it is named by its whole path."""
    try:
        return for_create(kind, given, sees)
    except Invalid as problem:
        field = f"{name}.{problem.field}"
        message = problem.message.replace(problem.field, field)
        raise ApiError(problem.status, problem.code, message, field=field) from None


def outside(row: Values) -> None:
    """Refuse what is no sound description of something outside."""
    addresses, hostname = row.get("external_ips") or [], row.get("hostname") or ""
    if bool(addresses) == bool(hostname):
        raise ApiError(
            422, "MissingRequired", "Give either 'externalIpAddresses' or 'hostname'.", field="externalIpAddresses"
        )
    for number, address in enumerate(addresses):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            field = f"externalIpAddresses[{number}]"
            raise ApiError(422, "InvalidFormat", f"'{field}': {address!r} is no IP address.", field=field) from None
    if hostname and not _HOSTNAME.fullmatch(hostname):
        raise ApiError(422, "InvalidFormat", f"'hostname': {hostname!r} is no host name.", field="hostname")


def _selected(row: Values) -> None:
    """Selectors may also stand in labels; either way they must make sense."""
    config = row.get("launch_config")
    for field, attribute, label in (
        ("selectorLink", "selector_link", SELECTOR_LINK), ("selectorContainer", "selector_container", SELECTOR_CONTAINER),
    ):  # fmt: skip
        if config is not None and not row.get(attribute) and config.labels.get(label):
            row[attribute] = config.labels[label]
        try:
            parse(row.get(attribute) or "")
        except ValueError as error:
            raise ApiError(422, "InvalidFormat", f"'{field}': {error}.", field=field) from None


def requested_addresses(tx: Tx, account_id: int, row: Values) -> None:
    """Refuse addresses that could never be given. One that another container has is given up for the next free one, as in 1.x."""
    main, more = row.get("launch_config"), row.get("secondary_launch_configs") or []
    configs = [("launchConfig", main), *((f"secondaryLaunchConfigs[{n}]", one) for n, one in enumerate(more))]
    for path, config in configs:
        if config is None or not choices_of(config):
            continue
        sentence = never(config, network_of(tx, account_id).subnet)
        if sentence:
            field = f"{path}.requestedIpAddress"
            raise ApiError(422, "InvalidFormat", f"'{field}': {sentence}.", field=field)


def link_of(tx: Tx, service: Service, link: ServiceLink, number: int) -> ServiceLink:
    """A link with its name; refused when it leads nowhere."""
    field = f"serviceLinks[{number}].serviceId"
    target = tx.get(Service, link.service_id)
    if target is None or target.account_id != service.account_id or target.removed is not None:
        raise ApiError(422, "InvalidReference", f"'{field}': there is no such service here.", field=field)
    if target.id == service.id:
        raise ApiError(422, "InvalidReference", f"'{field}': a service cannot be linked to itself.", field=field)
    return link if link.name else msgspec.structs.replace(link, name=target.name)


def _service_id(link: ServiceLink) -> str:
    return ids.public("service", link.service_id) or ""


def change_service(tx: Tx, service: Service, **changes: Any) -> Service:
    """Change a service; a changed launch configuration raises its revision, so that containers are replaced in turn."""
    configs = ("launch_config", "secondary_launch_configs")
    changes = {k: v for k, v in changes.items() if not (k == "launch_config" and v is None)}
    sidekicks_named(changes.get("secondary_launch_configs"))
    if any(name in changes and _bare(changes[name]) != _bare(getattr(service, name)) for name in configs):
        changes["revision"] = service.revision + 1
    if not any(getattr(service, name) != value for name, value in changes.items()):
        return service
    changed = tx.update(service, **changes, data={**service.data, "settled": False})
    if certificate_ids(changed) != certificate_ids(service):
        tell_again(tx, changed)
    return changed


def upgrade_service(tx: Tx, service: Service, **changes: Any) -> Service:
    """:func:`change_service`, but containers are replaced by an upgrade."""
    launch, sidekicks = changes.pop("launch_config", None), changes.pop("secondary_launch_configs", None)
    service = change_service(tx, service, **changes)
    same = launch is None or _bare(launch) == _bare(service.launch_config)
    if same and (sidekicks is None or _bare(sidekicks) == _bare(service.secondary_launch_configs)):
        return change_service(tx, service, launch_config=launch)
    sidekicks_named(sidekicks)
    begun = upgrades.begin(service, launch, sidekicks, upgrades.batch_size(service))
    return tx.update(service, **begun, desired=ACTIVE)


def _bare(config: Any) -> Any:
    """A launch configuration without what can change while its containers run: the ports that it publishes."""
    if isinstance(config, list):
        return [_bare(one) for one in config]
    if config is None or not is_managed(config):
        return config  # here the engine publishes, when it makes the container
    return msgspec.structs.replace(config, ports=[], expose=[])


def unique_name(tx: Tx, stack_id: int, name: str) -> None:
    """Refuse a second service of this name in the stack."""
    if tx.first(Service, eq("stack_id", stack_id), eq("name", name), ALIVE) is not None:
        raise ApiError(422, "NotUnique", f"The stack already has a service '{name}'.", field="name")


def sidekicks_named(configs: list[LaunchConfig] | None) -> None:
    """Refuse sidekicks without names of their own."""
    names = [c.name for c in configs or []]
    if "" in names:
        raise ApiError(422, "MissingRequired", "Every sidekick needs a name.", field="secondaryLaunchConfigs.name")
    if len(set(names)) != len(names):
        raise ApiError(422, "NotUnique", "Two sidekicks have the same name.", field="secondaryLaunchConfigs.name")

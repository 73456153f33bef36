"""The managed network of an environment, and its addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.control.agents.scenes import read_scene
from remuda.core import ids
from remuda.core.model import Address, Host, Instance, Record
from remuda.core.network.addressing import text
from remuda.core.network.explain import explain, sentence
from remuda.core.network.relations import Relations
from remuda.ports.store import ALIVE, Tx, Where, eq

SMALLEST_MTU = 576
_PRIVATE = tuple(ipaddress.IPv4Network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))


class Networks(Behaviour):
    """Its row is made with the environment's first host."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self.actions["rotatekey"] = self.rotate
        self.actions["explain"] = self.explain  # type: ignore[assignment]

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        changes = self.attributes(values)
        if "subnet" in changes and changes["subnet"] != record.subnet:
            changes["subnet"] = _subnet(changes["subnet"])
            _unused(tx, record.account_id, record.id)
            changes["cursor"] = 0
        if changes.get("mtu") and changes["mtu"] < SMALLEST_MTU:
            raise ApiError(422, "MinLimitExceeded", f"'mtu' is 0 or at least {SMALLEST_MTU}.", field="mtu")
        first, last = changes.get("port_first", record.port_first), changes.get("port_last", record.port_last)
        if first > last:
            raise ApiError(422, "InvalidOption", "'portFirst' must not be above 'portLast'.", field="portFirst")
        return tx.update(record, **changes)  # type: ignore[no-any-return]

    def rotate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        """Ask for a new key."""
        return tx.update(record, rotate=record.rotate + 1)  # type: ignore[no-any-return]

    def explain(self, tx: Tx, ctx: Context, record: Any, values: Values) -> dict[str, Any]:
        """Step by step from one container to the other."""
        scene = read_scene(tx, record.account_id)
        ends = []
        for field in ("source", "target"):
            wanted = str(values[field])
            number = ids.number(wanted)
            found = scene.containers.get(number or 0) or Relations(scene).named(wanted)
            if found is None:
                raise ApiError(
                    422,
                    "InvalidReference",
                    f"'{field}': there is no container {wanted!r} in this environment.",
                    field=field,
                )
            ends.append(found)
        hosts = tx.find(Host, eq("account_id", record.account_id), eq("network", "error"), ALIVE)
        troubles = {host.id: host.network_message or "its agent does not say why" for host in hosts}
        steps = explain(scene, ends[0], ends[1], port=values.get("port") or 0, troubles=troubles)
        return {
            "type": "networkExplanation",
            "links": {},
            "actions": {},
            "passes": all(step.good for step in steps),
            "because": sentence(steps),
            "steps": [step._asdict() for step in steps],
        }


class Addresses(Behaviour):
    """Addresses that have an owner; what is given back is gone."""

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        return {r.id: {"address": text(r.number)} for r in records}


def _subnet(given: str) -> str:
    try:
        network = ipaddress.IPv4Network(given)
    except ValueError as error:
        raise ApiError(
            422, "InvalidFormat", f"'subnet' is a network such as 10.42.0.0/16: {error}.", field="subnet"
        ) from None
    if not any(network.subnet_of(private) for private in _PRIVATE):
        raise ApiError(422, "InvalidOption", "'subnet' must be a private network, e.g. 10.42.0.0/16.", field="subnet")
    if not 8 <= network.prefixlen <= 24:
        raise ApiError(
            422, "InvalidOption", "'subnet' must have between 8 and 24 bits, e.g. 10.42.0.0/16.", field="subnet"
        )
    return str(network)


def _unused(tx: Tx, account_id: int, network_id: int) -> None:
    """Refuse to change addresses under the feet of those that have them."""
    holders = tx.count(Address, eq("pool", f"net/{network_id}"))
    if not holders:
        return
    hosts = tx.find(Host, eq("account_id", account_id), Where("network_ip", "ne", ""), ALIVE, limit=3)
    containers = tx.find(Instance, eq("account_id", account_id), Where("managed_ip", "ne", ""), ALIVE, limit=3)
    shown = ", ".join([*(f"host {h.name}" for h in hosts), *(c.name for c in containers)][:4]) or "retained addresses"
    raise ApiError(
        422,
        "InvalidState",
        f"{holders} addresses of the present subnet are in use ({shown}...). Remove the containers and hosts first, or "
        f"choose the subnet before the first host joins.",
        field="subnet",
    )

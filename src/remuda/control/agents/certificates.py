"""The certificates of load balancers: opened on the way to the hosts that run them, and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from remuda.control.agents.assignments import Assigner
from remuda.core.labels import BALANCER, truthy
from remuda.core.model import REMOVED, Certificate, Instance, Service
from remuda.core.wire import Assignment
from remuda.ports.keyring import Keyring
from remuda.ports.store import ALIVE, Store, Tx, Where, eq

log = logging.getLogger(__name__)

PURPOSE = "certificate"


def is_balancer(instance: Instance) -> bool:
    """Is this the haproxy of a load balancer service?"""
    return truthy(instance.spec.labels.get(BALANCER, "")) and instance.desired != REMOVED


def with_certificates(wish: Assignment, pems: dict[str, str]) -> Assignment:
    """The assignment with its certificates."""
    return msgspec.structs.replace(wish, certificates=pems) if pems else wish


async def certificates_of(
    store: Store, keyring: Keyring | None, instances: Sequence[Instance]
) -> dict[int, dict[str, str]]:
    """File name -> PEM, by instance. The default certificate comes first in the order in which haproxy reads them."""
    if not instances or keyring is None:
        return {}
    found = await store.read(lambda tx: _read(tx, instances))
    out: dict[int, dict[str, str]] = {}
    for instance_id, rows in found.items():
        files = {}
        for number, row in enumerate(rows):
            try:
                key = keyring.unseal(row.sealed_key, PURPOSE)
            except ValueError as error:
                log.error("the key of certificate %s cannot be opened: %s", row.name, error)
                continue
            files[f"{number:02d}-{row.id}.pem"] = (
                "\n".join(part.strip() for part in (row.cert, row.chain, key) if part) + "\n"
            )
        out[instance_id] = files
    return out


def _read(tx: Tx, instances: Sequence[Instance]) -> dict[int, list[Certificate]]:
    services = {s.id: s for s in tx.find(Service, Where("id", "in", sorted({i.service_id or 0 for i in instances})))}
    found: dict[int, list[Certificate]] = {}
    for instance in instances:
        ids = certificate_ids(services.get(instance.service_id or 0))
        rows = {row.id: row for row in tx.find(Certificate, Where("id", "in", ids), ALIVE)} if ids else {}
        found[instance.id] = [rows[number] for number in ids if number in rows]
    return found


def certificate_ids(service: Service | None) -> list[int]:
    """The certificates that a load balancer uses, its default first."""
    if service is None or service.lb_config is None:
        return []
    config = service.lb_config
    first = [config.default_certificate_id] if config.default_certificate_id is not None else []
    return list(dict.fromkeys([*first, *config.certificate_ids]))


def users_of(tx: Tx, account_id: int, certificate_id: int) -> list[Service]:
    """The services that use a certificate."""
    services = tx.find(Service, eq("account_id", account_id), Where("kind", "eq", "loadBalancerService"), ALIVE)
    return [service for service in services if certificate_id in certificate_ids(service)]


def tell_again(tx: Tx, service: Service) -> None:
    """A load balancer's certificates changed: its hosts are told."""
    assigner = Assigner(tx)
    for instance in tx.find(Instance, eq("service_id", service.id), ALIVE):
        if is_balancer(instance):
            assigner.tell(instance)
    assigner.close()

"""Types whose rows need more than the general behaviour, one module per family."""

from __future__ import annotations

from remuda.api.behaviour import Behaviour
from remuda.api.resources.accounts import Accounts, Members, Projects
from remuda.api.resources.cluster import ClusterNodes, HaConfigs
from remuda.api.resources.containers import Containers
from remuda.api.resources.hosts import Hosts
from remuda.api.resources.keys import ApiKeys, RegistrationTokens
from remuda.api.resources.logs import AuditLogs, Events
from remuda.api.resources.services import Services
from remuda.api.resources.settings import Settings
from remuda.api.resources.stacks import Stacks
from remuda.schema.registry import TYPES

_SPECIAL: dict[str, type[Behaviour]] = {
    "account": Accounts,
    "project": Projects,
    "projectMember": Members,
    "apiKey": ApiKeys,
    "registrationToken": RegistrationTokens,
    "setting": Settings,
    "host": Hosts,
    "environment": Stacks,
    "service": Services,
    "container": Containers,
    "auditLog": AuditLogs,
    "serviceLog": Events,
    "haConfig": HaConfigs,
    "clusterNode": ClusterNodes,
}


def behaviours() -> dict[str, Behaviour]:
    """One behaviour for each type that has rows."""
    return {t.id: _SPECIAL.get(t.id, Behaviour)(t) for t in TYPES.values() if t.record is not None}

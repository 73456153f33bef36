"""Types whose rows need more than the general behaviour, one module per family."""

from __future__ import annotations

from collections.abc import Callable

from remuda.api.behaviour import Behaviour
from remuda.api.resources.accounts import Accounts, Members, Projects
from remuda.api.resources.agents import Agents
from remuda.api.resources.balancers import Balancers
from remuda.api.resources.certificates import Certificates
from remuda.api.resources.cluster import ClusterNodes, HaConfigs
from remuda.api.resources.containers import Containers
from remuda.api.resources.events import EVENTS, Told
from remuda.api.resources.hosts import Hosts
from remuda.api.resources.joined import JOINED
from remuda.api.resources.keys import ApiKeys, RegistrationTokens
from remuda.api.resources.logs import AuditLogs, Events
from remuda.api.resources.networks import Addresses, Networks
from remuda.api.resources.preferences import Passwords, Preferences
from remuda.api.resources.processes import PROCESSES
from remuda.api.resources.pulls import PullTasks
from remuda.api.resources.registries import Registries, RegistryCredentials
from remuda.api.resources.secrets import Secrets
from remuda.api.resources.services import Aliases, Externals, Services
from remuda.api.resources.settings import Settings
from remuda.api.resources.stacks import Stacks
from remuda.api.resources.views import Views
from remuda.api.resources.volumes import StoragePools, Volumes, VolumeTemplates
from remuda.schema.fields import ResourceType
from remuda.schema.registry import TYPES

_SPECIAL: dict[str, type[Behaviour]] = {
    "account": Accounts,
    "project": Projects,
    "projectMember": Members,
    "apiKey": ApiKeys,
    "registrationToken": RegistrationTokens,
    "setting": Settings,
    "host": Hosts,
    "agent": Agents,
    "environment": Stacks,
    "service": Services,
    "loadBalancerService": Balancers,
    "dnsService": Aliases,
    "externalService": Externals,
    "container": Containers,
    "auditLog": AuditLogs,
    "serviceLog": Events,
    "haConfig": HaConfigs,
    "clusterNode": ClusterNodes,
    "network": Networks,
    "ipAddress": Addresses,
    "certificate": Certificates,
    "registry": Registries,
    "registryCredential": RegistryCredentials,
    "secret": Secrets,
    "pullTask": PullTasks,
    "volume": Volumes,
    "volumeTemplate": VolumeTemplates,
    "storagePool": StoragePools,
    "password": Passwords,
    "userPreference": Preferences,
}


def behaviours() -> dict[str, Behaviour]:
    """One behaviour for each type that has rows."""
    special: dict[str, Callable[[ResourceType], Behaviour]] = {
        **_SPECIAL,
        **JOINED,
        **PROCESSES,
        **dict.fromkeys(EVENTS, Told),
    }
    return {t.id: special.get(t.id, Views if t.view else Behaviour)(t) for t in TYPES.values() if t.record is not None}

"""Types of services: containers of one kind, load balancers, aliases, what is outside; and what is asked of them."""

from __future__ import annotations

import msgspec

from remuda.core.balancing.config import PROTOCOLS
from remuda.core.model import Service
from remuda.schema.catalogue.shared import LIVE, NAME
from remuda.schema.fields import (
    BOOL,
    ENUM,
    INT,
    JSON,
    LIST,
    LOOK,
    MAP,
    Action,
    Field,
    Link,
    ResourceType,
    common,
    reference,
)

_SERVICE = (
    *common(name=NAME),
    Field(name="environmentId", type=reference("environment"), create=True, required=True, source="stack_id"),
    Field(name="metadata", type="map[json]", create=True, update=True),
    Field(name="startOnCreate", type=BOOL, create=True, default=False),
    Field(name="system", type=BOOL),
    Field(name="linkedServices", type=MAP, computed=True, description="Alias -> id of the services it is linked to"),
    Field(name="selectorLink", create=True, update=True, description="Links to every service whose labels match"),
    Field(name="createIndex", type=INT),
    Field(name="healthState", type=ENUM),
    Field(name="fqdn"),
    Field(name="because", description="What it waits for or did last, in one sentence"),
    Field(name="blocked", type=BOOL),
)
_CONTAINERS = (
    Field(name="scale", type=INT, create=True, update=True, default=1, min=0, max=10000, nullable=False),
    Field(name="launchConfig", type="launchConfig", create=True, update=True),
    Field(name="secondaryLaunchConfigs", type="array[secondaryLaunchConfig]", create=True, update=True),
    Field(
        name="upgrade",
        type="serviceUpgrade",
        computed=True,
        description="The upgrade that is under way or to be finished",
    ),
    Field(
        name="onHostLost",
        type=INT,
        create=True,
        update=True,
        default=10,
        min=-1,
        max=86400,
        nullable=False,
        description="Seconds after a host counts as lost until its containers are placed elsewhere; -1 = never",
    ),
    Field(
        name="retainIp",
        type=BOOL,
        create=True,
        update=True,
        default=False,
        description="A container that replaces another one gets its address",
    ),
    Field(name="selectorContainer", create=True, update=True, description="Adopts stand-alone containers that match"),
    Field(name="dependsOn", type=LIST, create=True, update=True),
    Field(name="currentScale", type=INT),
    Field(name="revision", type=INT),
    Field(name="publicEndpoints", type="array[publicEndpoint]", computed=True),
    Field(name="instanceIds", type="array[reference[instance]]", computed=True),
)
_BALANCING = (Field(name="lbConfig", type="lbConfig", create=True, update=True),)
_OUTSIDE = (
    Field(name="externalIpAddresses", type=LIST, create=True, update=True, source="external_ips"),
    Field(
        name="hostname", create=True, update=True, max_length=253, description="A name outside, instead of addresses"
    ),
    Field(name="healthCheck", type="instanceHealthCheck", create=True, update=True),
)
_BALANCED_INPUTS = {
    "setservicelinks": "setLoadBalancerServiceLinksInput",
    "addservicelink": "addRemoveLoadBalancerServiceLinkInput",
    "removeservicelink": "addRemoveLoadBalancerServiceLinkInput",
}
"""Links of load balancers may be narrowed to ports, hosts and paths."""
_SWITCH = (
    Action(name="activate", states=("inactive", "deactivating"), output="service"),
    Action(name="deactivate", states=("active", "activating", "updating-active"), output="service"),
    Action(name="setservicelinks", input="setServiceLinksInput", output="service", states=LIVE),
    Action(name="addservicelink", input="addRemoveServiceLinkInput", output="service", states=LIVE),
    Action(name="removeservicelink", input="addRemoveServiceLinkInput", output="service", states=LIVE),
    Action(name="remove"),
)
_SWITCH_BALANCED = tuple(
    msgspec.structs.replace(action, input=_BALANCED_INPUTS.get(action.name, action.input)) for action in _SWITCH
)
_UPGRADE = (
    Action(
        name="upgrade",
        input="serviceUpgrade",
        states=("active", "activating", "inactive", "updating-active"),
        output="service",
    ),
    Action(name="finishupgrade", states=("upgraded", "canceled-upgrade"), output="service"),
    Action(name="rollback", states=("upgrading", "upgraded", "canceled-upgrade"), output="service"),
    Action(name="cancelupgrade", states=("upgrading",), output="service"),
)
_RESTART = Action(
    name="restart",
    input="serviceRestart",
    states=("active", "updating-active", "restarting"),
    output="service",
    description="Restart its containers, a batch at a time.",
)
_INSTANCES = (
    Link(name="instances", type="container", field="serviceId"),
    Link(name="serviceExposeMaps", type="serviceExposeMap", field="serviceId"),
)


def _service(
    type_id: str, *fields: Field, actions: tuple[Action, ...], description: str, **more: object
) -> ResourceType:
    return ResourceType(
        id=type_id,
        record=Service,
        base="service",
        fields=(*_SERVICE, *fields),
        actions=actions,
        links=_INSTANCES,
        description=description,
        **more,  # type: ignore[arg-type]
    )


TYPES: tuple[ResourceType, ...] = (
    _service(
        "service",
        *_CONTAINERS,
        *_BALANCING,
        *_OUTSIDE,
        actions=(*_SWITCH, *_UPGRADE, _RESTART),
        description="Containers of one kind, as many as its scale says; or one of the further kinds, each also a type.",
    ),
    _service(
        "loadBalancerService",
        *_CONTAINERS,
        *_BALANCING,
        kinds=("loadBalancerService",),
        actions=(*_SWITCH_BALANCED, *_UPGRADE, _RESTART),
        description="Spreads requests over the containers of other services.",
    ),
    _service(
        "dnsService",
        kinds=("dnsService",),
        actions=_SWITCH,
        description="An alias: one more name for the services that it is linked to.",
    ),
    _service(
        "externalService",
        *_OUTSIDE,
        kinds=("externalService",),
        actions=_SWITCH,
        description="Addresses, or a name, outside of the environment.",
    ),
    ResourceType(
        id="serviceUpgrade",
        fields=(
            Field(name="inServiceStrategy", type="inServiceUpgradeStrategy", create=True),
            Field(
                name="toServiceStrategy",
                type=JSON,
                create=True,
                description="Not offered: link to a new service instead",
            ),
        ),
    ),
    ResourceType(
        id="inServiceUpgradeStrategy",
        fields=(
            Field(name="launchConfig", type="launchConfig", create=True),
            Field(name="secondaryLaunchConfigs", type="array[secondaryLaunchConfig]", create=True),
            Field(name="batchSize", type=INT, create=True, default=1, min=1, description="Units replaced at once"),
            Field(name="intervalMillis", type=INT, create=True, default=2000, min=100),
            Field(name="startFirst", type=BOOL, create=True, default=False),
            Field(name="previousLaunchConfig", type="launchConfig"),
            Field(name="previousSecondaryLaunchConfigs", type="array[secondaryLaunchConfig]"),
        ),
    ),
    ResourceType(
        id="serviceLink",
        fields=(
            Field(name="serviceId", type=reference("service"), create=True, required=True),
            Field(name="name", create=True, max_length=63),
        ),
    ),
    ResourceType(
        id="setServiceLinksInput",
        fields=(Field(name="serviceLinks", type="array[serviceLink]", create=True, default=[]),),
    ),
    ResourceType(
        id="addRemoveServiceLinkInput",
        fields=(Field(name="serviceLink", type="serviceLink", create=True, required=True),),
    ),
    ResourceType(
        id="lbConfig",
        methods=(),
        rights=LOOK,
        fields=(
            Field(name="portRules", type="array[portRule]", create=True, update=True),
            Field(name="certificateIds", type="array[reference[certificate]]", create=True, update=True),
            Field(name="defaultCertificateId", type=reference("certificate"), create=True, update=True),
            Field(name="stickinessPolicy", type=JSON, create=True, update=True),
            Field(name="config", create=True, update=True, description="haproxy text, merged section by section"),
        ),
    ),
    ResourceType(
        id="portRule",
        methods=(),
        rights=LOOK,
        fields=(
            Field(name="sourcePort", type=INT, create=True, update=True, required=True, min=1, max=65535),
            Field(name="targetPort", type=INT, create=True, update=True, min=1, max=65535),
            Field(name="protocol", type=ENUM, options=PROTOCOLS, create=True, update=True),
            Field(name="hostname", create=True, update=True),
            Field(name="path", create=True, update=True),
            Field(name="serviceId", type=reference("service"), create=True, update=True),
            Field(name="containerId", type=reference("container"), create=True, update=True),
            Field(name="selector", create=True, update=True),
            Field(name="priority", type=INT, create=True, update=True),
            Field(name="backendName", create=True, update=True),
            Field(
                name="weight",
                type=INT,
                create=True,
                update=True,
                description="Share among rules of one match; 0 = all alike",
            ),
        ),
    ),
)

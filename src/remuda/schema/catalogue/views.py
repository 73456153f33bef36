"""Types whose rows are worked out from others, as 1.x had them in tables of their own. ``core.joins`` says how.

Some were shown to programs of the installation only (``superadmin``); they are shown to no one else here either.
"""

from __future__ import annotations

from remuda.core import joins
from remuda.schema.fields import BOOL, INT, LOOK, SERVICE, SUPERADMIN, Field, ResourceType, Rights, common, reference

PROGRAMS: Rights = {SUPERADMIN: "rl", SERVICE: "rl"}
_INSTANCE = Field(name="instanceId", type=reference("container"))
_NETWORK = Field(name="networkId", type=reference("network"))
_LABEL = Field(name="labelId", type=reference("label"))

TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        id="instanceHostMap",
        record=joins.PlaceRow,
        rights=LOOK,
        methods=("GET",),
        fields=(*common(), _INSTANCE, Field(name="hostId", type=reference("host"))),
        description="Which host a container is on.",
    ),
    ResourceType(
        id="serviceExposeMap",
        record=joins.ExposeRow,
        fields=(
            *common(),
            Field(name="serviceId", type=reference("service")),
            _INSTANCE,
            Field(name="ipAddress"),
            Field(name="managed", type=BOOL, description="Always true: the service makes and ends it"),
        ),
        description="Which service a container belongs to.",
    ),
    ResourceType(
        id="port",
        record=joins.PortRow,
        fields=(
            *common(),
            _INSTANCE,
            Field(name="privatePort", type=INT),
            Field(name="publicPort", type=INT),
            Field(name="protocol"),
            Field(name="bindAddress"),
        ),
        description="A port of a container that can be reached from outside.",
    ),
    ResourceType(
        id="instanceLink",
        record=joins.LinkRow,
        fields=(
            *common(),
            _INSTANCE,
            Field(name="linkName"),
            Field(name="targetInstanceId", type=reference("container")),
        ),
        description="A link that a container was made with.",
    ),
    ResourceType(
        id="label",
        record=joins.LabelRow,
        fields=(*common(), Field(name="key"), Field(name="value")),
        description="A label that a host or a container has.",
    ),
    ResourceType(
        id="hostLabelMap",
        record=joins.LabelMapRow,
        rights=PROGRAMS,
        methods=("GET",),
        fields=(*common(), Field(name="hostId", type=reference("host")), _LABEL),
        description="Which host has which label.",
    ),
    ResourceType(
        id="instanceLabelMap",
        record=joins.LabelMapRow,
        rights=PROGRAMS,
        methods=("GET",),
        fields=(*common(), _INSTANCE, _LABEL),
        description="Which container has which label.",
    ),
    ResourceType(
        id="image",
        record=joins.ImageRow,
        fields=common(),
        description="An image that a container is made of.",
    ),
    ResourceType(
        id="physicalHost",
        record=joins.MachineRow,
        fields=common(),
        description="The machine that a host is: it has its number.",
    ),
    ResourceType(
        id="nic",
        record=joins.NicRow,
        rights=PROGRAMS,
        methods=("GET",),
        fields=(
            *common(),
            _INSTANCE,
            _NETWORK,
            Field(name="subnetId", type=reference("subnet")),
            Field(name="macAddress"),
            Field(name="deviceNumber", type=INT),
        ),
        description="A container's place on the managed network.",
    ),
    ResourceType(
        id="subnet",
        record=joins.SubnetRow,
        rights=PROGRAMS,
        methods=("GET",),
        fields=(
            *common(),
            _NETWORK,
            Field(name="networkAddress"),
            Field(name="cidrSize", type=INT),
            Field(name="startAddress"),
            Field(name="endAddress"),
        ),
        description="The addresses of a managed network.",
    ),
    ResourceType(
        id="zone",
        record=joins.ZoneRow,
        scope="installation",
        rights=PROGRAMS,
        methods=("GET",),
        fields=common(),
        description="There is one: 1.x kept hosts of several clouds apart by it.",
    ),
    ResourceType(
        id="configItem",
        record=joins.ItemRow,
        scope="installation",
        fields=(Field(name="id", computed=True), Field(name="name"), Field(name="sourceVersion", computed=True)),
        description="What agents are told in numbered steps.",
    ),
    ResourceType(
        id="configItemStatus",
        plural="configItemStatuses",
        record=joins.ConfigRow,
        fields=(
            Field(name="id", computed=True),
            Field(name="name"),
            Field(name="accountId", type=reference("account")),
            Field(name="agentId", type=reference("agent")),
            Field(name="requestedVersion", type=INT),
            Field(name="appliedVersion", type=INT),
        ),
        description="How far a host's agent is with what it was told: done when both versions are equal.",
    ),
)

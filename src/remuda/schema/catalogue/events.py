"""Types by which programs beside hosts tell what happened: containers, health, names in a public zone, machines of a cloud.

Who may tell what is said in the published table; agents may set what nobody else may.
"""

from __future__ import annotations

from remuda.core.model import ExternalEvent
from remuda.schema.fields import AGENT, BOOL, INT, JSON, LIST, STRING, Field, ResourceType, common, reference

_KEPT = ("id", "uuid", "kind", "state", "accountId", "created", "data", "transitioning", "transitioningMessage",
         "transitioningProgress")  # fmt: skip
_COMMON = tuple(f for f in common() if f.name in _KEPT)
_EXTERNAL = (
    Field(name="reportedAccountId", type=reference("account"), source="reported_by"),
    Field(name="externalId", max_length=255, grants={AGENT: "c"}),
)
_EVENT_TYPE = Field(name="eventType", max_length=255, grants={AGENT: "c"})


def told(name: str, kind: str = STRING, *, create: bool = False, required: bool = False, **limits: int) -> Field:
    """Something that is told with an event: by agents, or by everybody who may make one."""
    return Field(
        name=name,
        type=kind,
        create=create,
        required=required,
        computed=True,
        grants={} if create else {AGENT: "c"},
        max_length=limits.get("max_length"),
    )


def _external(type_id: str, *fields: Field, description: str, event_type: Field = _EVENT_TYPE) -> ResourceType:
    return ResourceType(
        id=type_id,
        record=ExternalEvent,
        kinds=(type_id,),
        base="externalEvent",
        fields=(*_COMMON, *_EXTERNAL, event_type, *fields),
        description=description,
    )


_CHILDREN = (
    _external(
        "externalDnsEvent",
        told("fqdn", max_length=253),
        told("serviceName", required=True, max_length=63),
        told("stackName", required=True, max_length=63),
        description="A service has this name in a public zone: it becomes its fqdn.",
    ),
    _external(
        "externalHostEvent",
        Field(name="hostId", type=reference("host"), create=True),
        told("hostLabel", create=True, max_length=1024),
        Field(name="deleteHost", type=BOOL, create=True, nullable=False, default=False, computed=True),
        event_type=Field(name="eventType", create=True, max_length=255),
        description="A machine is to be left: its host gets nothing new and its services' containers move; or it is removed.",
    ),
    _external(
        "externalServiceEvent",
        told("service", JSON, required=True),
        told("environment", JSON),
        description="Another orchestrator made a service. Remuda runs beside none: the event is kept, nothing follows from it.",
    ),
    _external(
        "externalStoragePoolEvent",
        told("storagePool", JSON, required=True),
        told("hostUuids", LIST),
        description="A storage driver has a pool. What drivers have is learned from the hosts: nothing follows from the event.",
    ),
    _external(
        "externalVolumeEvent",
        told("volume", JSON, required=True),
        description="A storage driver has a volume. What drivers have is learned from the hosts: nothing follows from the event.",
    ),
)
TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        id="externalEvent",
        record=ExternalEvent,
        kinds=tuple(child.id for child in _CHILDREN),
        fields=(*_COMMON, *_EXTERNAL, Field(name="eventType")),
        description="What something outside told.",
    ),
    *_CHILDREN,
    ResourceType(
        id="containerEvent",
        record=ExternalEvent,
        kinds=("containerEvent",),
        fields=(
            *_COMMON,
            Field(name="externalId", max_length=255, grants={AGENT: "c"}),
            Field(name="hostId", type=reference("host")),
            told("externalStatus", max_length=255),
            told("externalFrom", max_length=255),
            told("externalTimestamp", INT),
            told("reportedHostUuid", max_length=255),
            told("dockerInspect", JSON),
        ),
        description="Docker did something on a host. Our agents tell it in their reports; from this nothing follows.",
    ),
    ResourceType(
        id="serviceEvent",
        record=ExternalEvent,
        kinds=("serviceEvent",),
        fields=(
            *common(),
            Field(name="hostId", type=reference("host")),
            Field(name="instanceId", type=reference("container")),
            told("healthcheckUuid", max_length=255),
            told("reportedHealth", max_length=255),
            told("externalTimestamp", INT, required=True),
        ),
        description="A host saw how a container is: as good as a report of its agent.",
    ),
)

"""Types of everyday work: hosts, stacks, services, containers and what is asked of them."""

from __future__ import annotations

import msgspec

from remuda.core.model import Host, Instance, Service, Stack
from remuda.core.spec import HealthCheck, LaunchConfig, LogConfig, RestartPolicy
from remuda.schema.fields import (
    BOOL,
    DATE,
    ENUM,
    GROUND,
    INT,
    JSON,
    LIST,
    LOOK,
    MAP,
    STRING,
    WORK,
    Action,
    Field,
    Link,
    ResourceType,
    common,
    reference,
)

_PLAIN: dict[object, str] = {bool: BOOL, int: INT, str: STRING}
_EMBEDDED: dict[object, str] = {
    RestartPolicy: "restartPolicy",
    LogConfig: "logConfig",
    HealthCheck: "instanceHealthCheck",
}
MAX_FILE = 512 * 1024
"""Characters of a compose file: what can be read within a second."""
NAME = Field(
    name="name", create=True, update=True, required=True, min_length=1, max_length=63, valid_chars="a-zA-Z0-9-"
)


def struct_fields(
    struct: type[msgspec.Struct], *, update: bool = False, leave_out: tuple[str, ...] = ()
) -> tuple[Field, ...]:
    """The fields of a launch configuration or a part of one, derived from the struct itself."""
    found = []
    for info in msgspec.structs.fields(struct):
        if info.encode_name in leave_out:
            continue
        found.append(
            Field(name=info.encode_name, type=_wire_type(info.type), create=True, update=update, source=info.name)
        )
    return tuple(found)


def _wire_type(annotation: object) -> str:
    members = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    origin = getattr(annotation, "__origin__", None)
    if origin is dict:
        return MAP
    if origin is list:
        return LIST if members == [str] else "array[json]"
    if origin is None and members:  # Optional[X]
        return _wire_type(members[0]) if len(members) == 1 else JSON
    if annotation in _EMBEDDED:
        return _EMBEDDED[annotation]
    return _PLAIN.get(annotation, JSON)


LIVE = ("active", "inactive", "activating", "updating-active", "deactivating", "error", "degraded")
TERMINAL = (
    Field(name="tty", type=BOOL, create=True, default=True),
    Field(name="command", type=LIST, create=True, required=True),
)

TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        id="host",
        record=Host,
        rights=GROUND,
        methods=("GET", "PUT", "DELETE"),
        fields=(
            *common(),
            Field(name="hostname"),
            Field(name="labels", type=MAP, update=True),
            Field(name="observedLabels", type=MAP),
            Field(name="info", type=JSON, computed=True),
            Field(name="agentId", type=reference("agent")),
            Field(name="agentIpAddress", source="agent_ip"),
            Field(name="agentState", computed=True),
            Field(name="agentVersion"),
            Field(name="connection", type=ENUM, options=("connected", "reconnecting", "lost")),
            Field(name="docker", type=ENUM, options=("up", "down")),
            Field(name="dockerMessage"),
            Field(name="publicEndpoints", type="array[publicEndpoint]", computed=True),
            Field(name="instanceIds", type="array[reference[instance]]", computed=True),
        ),
        actions=(
            Action(name="activate", states=("inactive",), description="Allow new containers here."),
            Action(
                name="deactivate",
                states=("active", "reconnecting", "disconnected", "error"),
                description="No new containers; those here stay.",
            ),
            Action(name="remove", description="Forget the host. Its containers are left running."),
        ),
        links=(
            Link(name="instances", type="container", field="hostId"),
            Link(name="containers", type="container", field="hostId"),
        ),
        description="A machine with a Docker engine and an agent.",
    ),
    ResourceType(
        id="environment",
        record=Stack,
        rights=WORK,
        fields=(
            *common(name=NAME),
            Field(name="dockerCompose", create=True, max_length=MAX_FILE),
            Field(name="rancherCompose", create=True, max_length=MAX_FILE),
            Field(name="environment", type=MAP, create=True),
            Field(name="externalId", create=True, update=True, max_length=128),
            Field(name="startOnCreate", type=BOOL, create=True, default=True),
            Field(name="group", create=True, update=True),
            Field(name="system", type=BOOL),
            Field(name="healthState", type=ENUM),
            Field(name="serviceIds", type="array[reference[service]]", computed=True),
        ),
        actions=(
            Action(
                name="apply",
                input="composeInput",
                output="environment",
                states=LIVE,
                description="Create what the files add and update what they change; nothing is deleted.",
            ),
            Action(name="activateservices", output="environment", states=LIVE),
            Action(name="deactivateservices", output="environment", states=LIVE),
            Action(name="exportconfig", input="composeConfigInput", output="composeConfig", states=LIVE, reads=True),
            Action(name="remove", description="Remove the stack with its services and containers."),
        ),
        links=(
            Link(name="services", type="service", field="environmentId"),
            Link(name="instances", type="container", field="environmentId"),
        ),
        description="A stack: services that belong together. (Called environment in v1, stack elsewhere.)",
    ),
    ResourceType(
        id="composeInput",
        methods=(),
        rights=WORK,
        fields=(
            Field(name="dockerCompose", create=True, max_length=MAX_FILE),
            Field(name="rancherCompose", create=True, max_length=MAX_FILE),
            Field(name="environment", type=MAP, create=True),
        ),
    ),
    ResourceType(
        id="composeConfigInput", methods=(), rights=LOOK, fields=(Field(name="serviceIds", type=LIST, create=True),)
    ),
    ResourceType(
        id="composeConfig",
        methods=(),
        rights=LOOK,
        fields=(Field(name="dockerComposeConfig"), Field(name="rancherComposeConfig")),
    ),
    ResourceType(
        id="composePlan",
        rights=WORK,
        methods=("POST",),
        fields=(
            Field(name="name", create=True),
            Field(name="dockerCompose", create=True, max_length=MAX_FILE),
            Field(name="rancherCompose", create=True, max_length=MAX_FILE),
            Field(name="environment", type=MAP, create=True),
            Field(name="environmentId", type=reference("environment"), create=True),
            Field(name="valid", type=BOOL),
            Field(name="problems", type="array[json]"),
            Field(name="services", type="array[json]"),
            Field(name="volumes", type=LIST),
            Field(name="portConflicts", type=LIST),
        ),
        description="What deploying these files would do. Nothing is stored.",
    ),
    ResourceType(
        id="service",
        record=Service,
        kinds=("service",),
        rights=WORK,
        fields=(
            *common(name=NAME),
            Field(name="environmentId", type=reference("environment"), create=True, required=True, source="stack_id"),
            Field(name="scale", type=INT, create=True, update=True, default=1, min=0, max=10000, nullable=False),
            Field(name="launchConfig", type="launchConfig", create=True, update=True),
            Field(name="secondaryLaunchConfigs", type="array[secondaryLaunchConfig]", create=True, update=True),
            Field(name="metadata", type=JSON, create=True, update=True),
            Field(name="startOnCreate", type=BOOL, create=True, default=True),
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
            Field(name="dependsOn", type=LIST, create=True, update=True),
            Field(name="system", type=BOOL),
            Field(name="currentScale", type=INT),
            Field(name="createIndex", type=INT),
            Field(name="revision", type=INT),
            Field(name="healthState", type=ENUM),
            Field(name="because", description="What it waits for or did last, in one sentence"),
            Field(name="blocked", type=BOOL),
            Field(name="publicEndpoints", type="array[publicEndpoint]", computed=True),
            Field(name="instanceIds", type="array[reference[instance]]", computed=True),
        ),
        actions=(
            Action(name="activate", states=("inactive", "deactivating"), output="service"),
            Action(name="deactivate", states=("active", "activating", "updating-active"), output="service"),
            Action(name="restart", states=("active", "updating-active"), output="service"),
            Action(name="remove"),
        ),
        links=(Link(name="instances", type="container", field="serviceId"),),
        description="Containers of one kind, as many as its scale says.",
    ),
    ResourceType(
        id="container",
        record=Instance,
        base="instance",
        rights=WORK,
        fields=(
            *common(name=Field(name="name", create=True, update=True, min_length=1, max_length=255)),
            Field(name="environmentId", type=reference("environment"), source="stack_id"),
            Field(name="serviceId", type=reference("service")),
            Field(name="hostId", type=reference("host")),
            Field(name="requestedHostId", type=reference("host"), create=True),
            *struct_fields(LaunchConfig, leave_out=("name", "requestedHostId")),
            Field(name="desired", type=ENUM, options=("running", "stopped", "removed")),
            Field(name="externalId"),
            Field(name="exitCode", type=INT),
            Field(name="firstRunning", type=DATE, source="started"),
            Field(name="restarts", type=INT),
            Field(name="primaryIpAddress", source="address"),
            Field(name="nativeContainer", type=BOOL, source="native"),
            Field(name="systemContainer", type=BOOL, source="system"),
            Field(name="deploymentUnitUuid", source="unit"),
            Field(name="createIndex", type=INT),
            Field(name="revision", type=INT),
            Field(name="healthState", type=ENUM),
            Field(name="because"),
            Field(name="engine", type=JSON, description="Facts from Docker's inspect"),
            Field(name="publicEndpoints", type="array[publicEndpoint]", computed=True),
        ),
        actions=(
            Action(name="start", states=("stopped",), output="instance"),
            Action(
                name="stop",
                input="instanceStop",
                states=("running", "starting", "restarting", "creating", "error"),
                output="instance",
            ),
            Action(name="restart", states=("running",), output="instance"),
            Action(name="remove"),
            Action(name="execute", input="containerExec", output="hostAccess", states=("running",)),
            Action(
                name="logs",
                input="containerLogs",
                output="hostAccess",
                reads=True,
                states=("running", "stopped", "starting", "stopping", "restarting", "error"),
            ),
        ),
        description="One container on one host.",
    ),
    ResourceType(
        id="instanceStop",
        methods=(),
        rights=WORK,
        fields=(
            Field(name="remove", type=BOOL, create=True, default=False),
            Field(name="timeout", type=INT, create=True, default=10, min=0, max=3600),
        ),
    ),
    ResourceType(
        id="containerExec",
        methods=(),
        rights=WORK,
        fields=(
            *TERMINAL,
            Field(name="attachStdin", type=BOOL, create=True, default=True),
            Field(name="attachStdout", type=BOOL, create=True, default=True),
        ),
    ),
    ResourceType(
        id="containerLogs",
        methods=(),
        rights=LOOK,
        fields=(
            Field(name="follow", type=BOOL, create=True, default=True),
            Field(name="lines", type=INT, create=True, default=100, min=-1, max=1_000_000),
            Field(name="timestamps", type=BOOL, create=True, default=True),
            Field(name="since", create=True),
        ),
    ),
    ResourceType(id="hostAccess", methods=(), rights=LOOK, fields=(Field(name="url"), Field(name="token"))),
    ResourceType(id="statsAccess", methods=(), rights=LOOK, fields=(Field(name="url"), Field(name="token"))),
    ResourceType(
        id="publicEndpoint",
        methods=(),
        rights=LOOK,
        fields=(
            Field(name="ipAddress"),
            Field(name="port", type=INT),
            Field(name="protocol"),
            Field(name="privatePort", type=INT),
            Field(name="hostId", type=reference("host")),
            Field(name="instanceId", type=reference("instance")),
            Field(name="serviceId", type=reference("service")),
        ),
    ),
    ResourceType(
        id="launchConfig", methods=(), rights=LOOK, fields=struct_fields(LaunchConfig, update=True, leave_out=("name",))
    ),
    ResourceType(id="secondaryLaunchConfig", methods=(), rights=LOOK, fields=struct_fields(LaunchConfig, update=True)),
    ResourceType(id="restartPolicy", methods=(), rights=LOOK, fields=struct_fields(RestartPolicy)),
    ResourceType(id="logConfig", methods=(), rights=LOOK, fields=struct_fields(LogConfig)),
    ResourceType(id="instanceHealthCheck", methods=(), rights=LOOK, fields=struct_fields(HealthCheck)),
    ResourceType(
        id="subscribe",
        plural="subscribe",
        methods=("GET",),
        rights=LOOK,
        scope="installation",
        fields=(Field(name="eventNames", type=LIST, create=True),),
    ),
)

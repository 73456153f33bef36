"""Types of what must stay secret: registries with their credentials, secrets of containers; and images to be pulled by them."""

from __future__ import annotations

from remuda.core.model import PullTask, Registry, RegistryCredential, Secret
from remuda.core.pulls import ALL, CACHED
from remuda.schema.fields import (
    ENUM,
    LIST,
    MAP,
    PASSWORD,
    Action,
    Field,
    Link,
    ResourceType,
    common,
    reference,
)

_SWITCH = (
    Action(name="activate", states=("inactive",), description="Use it again."),
    Action(name="deactivate", states=("active",), description="Do not use it for pulls."),
    Action(name="remove", description="Remove it for good."),
)

TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        id="registry",
        plural="registries",
        record=Registry,
        base="storagePool",
        fields=(
            *common(),
            Field(
                name="serverAddress",
                create=True,
                required=True,
                min_length=1,
                max_length=500,
                description="Host and port, such as registry.example.com:5000; index.docker.io for Docker Hub",
            ),
            Field(name="blockDevicePath", computed=True),
            Field(name="driverName", computed=True),
            Field(name="externalId", computed=True),
            Field(name="volumeAccessMode", computed=True),
            Field(name="volumeCapabilities", type=LIST, computed=True),
        ),
        actions=_SWITCH,
        links=(Link(name="credentials", type="registryCredential", field="registryId"),),
        description="Where images come from, when somebody has to log in there.",
    ),
    ResourceType(
        id="registryCredential",
        record=RegistryCredential,
        base="credential",
        fields=(
            *common(),
            Field(name="registryId", type=reference("registry"), create=True, required=True, nullable=False),
            Field(name="publicValue", create=True, update=True, max_length=4096, source="username", description="User"),
            Field(
                name="secretValue",
                type=PASSWORD,
                create=True,
                update=True,
                max_length=4096,
                read_on_create_only=True,
                computed=True,
                description="Password; never shown again. Left out of a change, it stays",
            ),
            Field(name="email", create=True, update=True, max_length=255),
        ),
        actions=_SWITCH,
        description="Who hosts are to a registry. The newest active one of a registry counts.",
    ),
    ResourceType(
        id="secret",
        record=Secret,
        fields=(
            *common(
                name=Field(
                    name="name",
                    create=True,
                    required=True,
                    min_length=1,
                    max_length=63,
                    valid_chars="a-zA-Z0-9._-",
                ),
                description=Field(name="description", create=True, max_length=1024),
            ),
            Field(
                name="value",
                type=PASSWORD,
                create=True,
                required=True,
                computed=True,
                max_length=700_000,
                description="Base64; never shown again, and never changed: make a new secret",
            ),
        ),
        actions=(Action(name="remove", description="Remove it for good. Refused while something uses it."),),
        description="A value that containers find as the file /run/secrets/NAME.",
    ),
    ResourceType(
        id="secretReference",
        fields=(
            Field(name="secretId", type=reference("secret"), create=True, update=True, required=True),
            Field(name="name", create=True, update=True, description="Name of the file; default: the secret's"),
            Field(name="uid", create=True, update=True, default="0"),
            Field(name="gid", create=True, update=True, default="0"),
            Field(name="mode", create=True, update=True, default="0444", description="Octal"),
        ),
        description="A secret among those that a container gets.",
    ),
    ResourceType(
        id="pullTask",
        record=PullTask,
        base="genericObject",
        fields=(
            *common(),
            Field(name="mode", type=ENUM, options=(ALL, CACHED), create=True, required=True, default=ALL),
            Field(name="image", create=True, required=True, min_length=1, max_length=1024),
            Field(name="labels", type=MAP, create=True, description="Only hosts that have all of these"),
            Field(name="status", type=MAP, computed=True, description="How far it is, by host"),
        ),
        description="Hosts pull an image before anything needs it. cached: only those that have one of this name.",
    ),
)

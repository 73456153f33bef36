"""Types of storage: volumes, where they lie, and who mounts them."""

from __future__ import annotations

from remuda.core.model import Host, Mount, Volume, VolumeTemplate
from remuda.schema.fields import (
    BOOL,
    ENUM,
    LIST,
    MAP,
    Action,
    Field,
    Link,
    ResourceType,
    common,
    reference,
)

NO_SNAPSHOTS = (
    "Docker's volume drivers take no snapshots, and Remuda adds none of its own. Copy the data with a container that mounts the "
    "volume, or use the snapshots of the storage behind the driver."
)
BY_ITSELF = "It follows from what its containers do: an unused volume is inactive or detached, a used one active."
GONE = "A removed volume is gone with its data."
ACCESS = ("singleHostRW", "multiHostRW")
TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        id="volume",
        record=Volume,
        fields=(
            *common(name=Field(name="name", create=True, required=True, nullable=False, min_length=2, max_length=255)),
            Field(name="driver", create=True, required=True, nullable=False, max_length=255),
            Field(name="driverOpts", type=MAP, create=True),
            Field(name="hostId", type=reference("host"), create=True, description="Where it lies; local volumes only"),
            Field(name="environmentId", type=reference("environment"), source="stack_id"),
            Field(name="volumeTemplateId", type=reference("volumeTemplate")),
            Field(name="externalId", max_length=128, description="What the engine calls it"),
            Field(name="accessMode", computed=True, description=" or ".join(ACCESS)),
            Field(name="isHostPath", type=BOOL, computed=True),
            Field(name="uri", computed=True, max_length=512),
            Field(name="mounts", type="array[mountEntry]", computed=True),
            Field(name="instanceId", type=reference("container"), computed=True),
            Field(name="imageId", computed=True),
        ),
        actions=(
            Action(name="activate", why_not=BY_ITSELF),
            Action(name="allocate", why_not=BY_ITSELF),
            Action(name="deallocate", why_not=BY_ITSELF),
            Action(name="purge", why_not=GONE),
            Action(name="restore", why_not=GONE),
            Action(name="snapshot", input="volumeSnapshotInput", output="snapshot", why_not=NO_SNAPSHOTS),
            Action(name="restorefrombackup", input="restoreFromBackupInput", why_not=NO_SNAPSHOTS),
            Action(name="reverttosnapshot", input="revertToSnapshotInput", why_not=NO_SNAPSHOTS),
            Action(name="remove", description="Delete it with its data; refused while a container uses it."),
        ),
        links=(
            Link(name="mounts", type="mount", field="volumeId"),
            Link(name="storagePools", type="storagePool", field="id", own="host_id"),
        ),
        description="A named Docker volume: made here, or seen on a host.",
    ),
    ResourceType(
        id="mount",
        record=Mount,
        fields=(
            *common(),
            Field(name="instanceId", type=reference("container")),
            Field(name="volumeId", type=reference("volume")),
            Field(name="path"),
            Field(name="permissions", max_length=128),
        ),
        description="A volume within a container.",
    ),
    ResourceType(
        id="storagePool",
        record=Host,
        view="sp",
        joins="id",
        fields=(
            *common(),
            Field(name="externalId", computed=True),
            Field(name="driverName", computed=True),
            Field(name="volumeAccessMode", computed=True),
            Field(name="volumeCapabilities", type=LIST, computed=True),
            Field(name="blockDevicePath", computed=True),
            Field(name="storageDriverId", computed=True),
            Field(name="hostIds", type="array[reference[host]]", computed=True),
            Field(name="volumeIds", type="array[reference[volume]]", computed=True),
        ),
        links=(
            Link(name="hosts", type="host", field="id"),
            Link(name="volumes", type="volume", field="hostId"),
        ),
        description="The disk of a host, where its local volumes lie.",
    ),
    ResourceType(
        id="volumeTemplate",
        record=VolumeTemplate,
        fields=(
            *common(name=Field(name="name", create=True, required=True, min_length=1, max_length=128)),
            Field(name="environmentId", type=reference("environment"), create=True, required=True, source="stack_id"),
            Field(name="driver", create=True, update=True, max_length=255),
            Field(name="driverOpts", type=MAP, create=True, update=True),
            Field(name="external", type=BOOL, create=True, update=True, default=False, nullable=False),
            Field(name="perContainer", type=BOOL, create=True, update=True, default=False, nullable=False),
        ),
        actions=(Action(name="remove"),),
        description="A volume that a stack declares; it is made when a container of the stack first uses it.",
    ),
    ResourceType(
        id="storageDriver",
        fields=(
            *common(),
            Field(name="scope", type=ENUM, options=("local", "environment", "custom")),
            Field(name="volumeAccessMode"),
            Field(name="volumeCapabilities", type=LIST),
            Field(name="blockDevicePath"),
            Field(name="serviceId", type=reference("service")),
        ),
        description="A volume driver that volumes of the environment use.",
    ),
)

"""The label names that carry meaning on containers, services and hosts, in one place (names are those of Rancher 1.x)."""

from __future__ import annotations

CONTAINER_UUID = "io.rancher.container.uuid"
CONTAINER_NAME = "io.rancher.container.name"
CONTAINER_SYSTEM = "io.rancher.container.system"
HOSTNAME_OVERRIDE = "io.rancher.container.hostname_override"
PULL_IMAGE = "io.rancher.container.pull_image"
START_ONCE = "io.rancher.container.start_once"

STACK_NAME = "io.rancher.stack.name"
STACK_SERVICE_NAME = "io.rancher.stack_service.name"
PROJECT_NAME = "io.rancher.project.name"
PROJECT_SERVICE_NAME = "io.rancher.project_service.name"
DEPLOYMENT_UNIT = "io.rancher.service.deployment.unit"
LAUNCH_CONFIG = "io.rancher.service.launch.config"
REQUESTED_HOST = "io.rancher.service.requested.host.id"
SIDEKICKS = "io.rancher.sidekicks"

GLOBAL = "io.rancher.scheduler.global"
AFFINITY = "io.rancher.scheduler.affinity:"

HOST_DOCKER_VERSION = "io.rancher.host.docker_version"
HOST_KERNEL_VERSION = "io.rancher.host.linux_kernel_version"

ASSIGNED_SEQ = "io.remuda.assignment.seq"
"""The number of the assignment that this container was made for; our own, so an agent without state can tell."""
ASSIGNED_HASH = "io.remuda.assignment.hash"
"""Digest of the launch configuration the container was created from."""


def truthy(value: str) -> bool:
    """Read a label as a switch, as the original did: only ``true`` in any case counts."""
    return value.strip().lower() == "true"

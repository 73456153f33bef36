"""The label names that carry meaning on containers, services and hosts, in one place (names are those of Rancher 1.x)."""

from __future__ import annotations

CONTAINER_UUID = "io.rancher.container.uuid"
CONTAINER_NAME = "io.rancher.container.name"
CONTAINER_SYSTEM = "io.rancher.container.system"
HOSTNAME_OVERRIDE = "io.rancher.container.hostname_override"
PULL_IMAGE = "io.rancher.container.pull_image"
START_ONCE = "io.rancher.container.start_once"
VOLUME_CLEANUP = "io.rancher.container.volume_cleanup_strategy"
"""``unnamed`` (the default): nameless volumes go with the container; ``none``: they stay; ``all``: named ones that nobody else
uses go too."""

CONTAINER_NETWORK = "io.rancher.container.network"
"""``true`` on a container started by hand: it joins the managed network."""
CONTAINER_DNS = "io.rancher.container.dns"
DNS_PRIORITY = "io.rancher.container.dns.priority"
REQUESTED_IP = "io.rancher.container.requested_ip"
SELECTOR_LINK = "io.rancher.service.selector.link"
SELECTOR_CONTAINER = "io.rancher.service.selector.container"
SCHEDULER_IPS = "io.rancher.scheduler.ips"
"""On a host: the addresses that ports may be published on, comma separated."""
LB_TARGET = "io.rancher.lb_service.target"
LB_PREFIX = "io.rancher.loadbalancer."

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

BALANCER = "io.remuda.balancer"
"""``true`` on the containers of a load balancer service."""
ASSIGNED_SEQ = "io.remuda.assignment.seq"
"""The number of the assignment that this container was made for; our own, so an agent without state can tell."""
ASSIGNED_HASH = "io.remuda.assignment.hash"
"""Digest of the launch configuration the container was created from."""


def truthy(value: str) -> bool:
    """Read a label as a switch, as the original did: only ``true`` in any case counts."""
    return value.strip().lower() == "true"

"""What a user may ask of one container: the launch configuration.

Attribute names are ours; on the wire and in compose results they are the camelCase names of the 1.x API
(``imageUuid``, ``dataVolumes``, ...), which :mod:`msgspec` derives. Only values live here: no defaults are looked up,
nothing is validated against a host. Docker's words are translated in ``agent.translate``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from remuda.core.labels import START_ONCE, truthy

PRIMARY = "io.rancher.service.primary.launch.config"
"""Name of a service's own launch configuration beside those of its sidekicks."""


class RestartPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """When a stopped container is started again by its host: ``always``, ``no`` or ``on-failure``."""

    name: str = "always"
    maximum_retry_count: int = 0


class LogConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Docker's log driver and its options."""

    driver: str = ""
    config: dict[str, str] = {}


class HealthCheck(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How to ask a container whether it serves. Times in milliseconds; an empty ``request_line`` means a TCP probe.

    ``protocol`` ``https`` puts the request into TLS. ``command`` is run in the container instead of asking a port.
    """

    port: int = 0
    request_line: str = ""
    protocol: str = ""
    command: list[str] = []
    interval: int = 2000
    response_timeout: int = 2000
    healthy_threshold: int = 2
    unhealthy_threshold: int = 3
    initializing_timeout: int | None = 60000
    reinitializing_timeout: int | None = 60000
    strategy: str = "recreate"
    recreate_on_quorum_strategy_config: dict[str, int] | None = None


class SecretReference(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A secret that a container finds as the file ``/run/secrets/NAME``. ``secret_id`` is the public id; ``mode`` is octal."""

    secret_id: str = ""
    name: str = ""
    uid: str = "0"
    gid: str = "0"
    mode: str = "0444"


CHECK_LIMITS: tuple[tuple[str, int, int | None], ...] = (
    ("port", 1, 65535), ("interval", 1, 3_600_000), ("response_timeout", 1, 600_000), ("healthy_threshold", 1, 1000),
    ("unhealthy_threshold", 1, 1000), ("initializing_timeout", 0, None), ("reinitializing_timeout", 0, None),
)  # fmt: skip
"""Field, least and greatest value."""
CHECK_WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("protocol", ("", "tcp", "http", "https")),
    ("strategy", ("recreate", "none", "recreateOnQuorum")),
)


class LaunchConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One container's wishes. Every field may be left out; an empty one means "as Docker has it".

    ``ports`` are ``[ip:][public:]private[/proto]``; ``data_volumes`` are Docker binds (``name:/path[:mode]``);
    ``memory`` and its kin are bytes; ``labels`` carry scheduling rules as in the 1.x grammar.
    """

    image_uuid: str = ""
    name: str = ""
    command: list[str] | None = None
    entry_point: list[str] | None = None
    environment: dict[str, str] = {}
    ports: list[str] = []
    expose: list[str] = []
    publish_all_ports: bool = False
    data_volumes: list[str] = []
    data_volumes_from_launch_configs: list[str] = []
    data_volumes_from: list[str] = []
    volume_driver: str = ""
    labels: dict[str, str] = {}
    restart_policy: RestartPolicy | None = None
    health_check: HealthCheck | None = None
    hostname: str = ""
    domain_name: str = ""
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    stdin_open: bool = False
    privileged: bool = False
    read_only: bool = False
    cap_add: list[str] = []
    cap_drop: list[str] = []
    devices: list[str] = []
    dns: list[str] = []
    dns_search: list[str] = []
    dns_opt: list[str] = []
    extra_hosts: list[str] = []
    instance_links: dict[str, str] = {}
    """Of a container without a service: alias -> name of another container."""
    security_opt: list[str] = []
    cpu_shares: int | None = None
    cpu_set: str = ""
    cpu_period: int | None = None
    cpu_quota: int | None = None
    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    memory_swappiness: int | None = None
    milli_cpu_reservation: int | None = None
    kernel_memory: int | None = None
    cpu_set_mems: str = ""
    cpu_realtime_period: int | None = None
    cpu_realtime_runtime: int | None = None
    """Microseconds, both; the kernel and the engine must have been set up for them."""
    blkio_weight: int | None = None
    blkio_device_options: dict[str, dict[str, int]] = {}
    """By device: ``weight``, ``readBps``, ``writeBps``, ``readIops``, ``writeIops``."""
    oom_kill_disable: bool = False
    oom_score_adj: int | None = None
    pids_limit: int | None = None
    shm_size: int | None = None
    network_mode: str = "managed"
    network_launch_config: str = ""
    pid_mode: str = ""
    ipc_mode: str = ""
    uts: str = ""
    userns_mode: str = ""
    storage_opt: dict[str, str] = {}
    cgroup_parent: str = ""
    group_add: list[str] = []
    log_config: LogConfig | None = None
    tmpfs: dict[str, str] = {}
    ulimits: list[dict[str, Any]] = []
    sysctls: dict[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int | None = None
    drain_timeout_ms: int | None = None
    """Milliseconds that a load balancer's target is given for its open connections before it is stopped."""
    health_cmd: list[str] | None = None
    """The engine's own health check, in Docker's form (``CMD ...``, ``CMD-SHELL text``, ``NONE``); times in seconds."""
    health_interval: int | None = None
    health_timeout: int | None = None
    health_retries: int | None = None
    health_start_period: int | None = None
    run_init: bool = False
    secrets: list[SecretReference] = []
    registry_credential_id: int | None = None
    """The only credential with which the image is pulled; otherwise any of its registry's will do."""
    requested_host_id: str | None = None
    requested_ip_address: str | None = None
    start_on_create: bool = True

    @property
    def image(self) -> str:
        """The image reference as Docker knows it (``docker:`` stripped)."""
        return self.image_uuid.removeprefix("docker:")

    @property
    def start_once(self) -> bool:
        """True when the container is to run to its end once and then be left alone."""
        return truthy(self.labels.get(START_ONCE, ""))

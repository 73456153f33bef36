"""The records: what is true about accounts, hosts, stacks, services and containers.

Each record is a frozen value with a ``version``; a change is a new value, written by the store only if the version is
still the one that was read. Who may write which field is a rule, kept in ``docs/model.md`` and marked here:
*desired* fields are written by the API, *decided* ones by a controller, *observed* ones come from a host. ``state``,
``transitioning`` and ``transitioning_message`` are derived by :mod:`remuda.core.states` whenever a record is written.

The store derives one table per record class: scalars become columns, everything else JSON.
Times are milliseconds since 1970 UTC and are for people and for retention only: nothing is decided by them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from remuda.core.spec import LaunchConfig

ACTIVE, INACTIVE, REMOVED = "active", "inactive", "removed"
RUNNING, STOPPED = "running", "stopped"

Json = dict[str, Any]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What all records share. ``id`` and ``version`` are given by the store (0 = not stored yet)."""

    TABLE: ClassVar[str] = ""
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = ()
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = ()

    id: int = 0
    version: int = 0
    uuid: str = ""
    account_id: int = 0
    """The environment (or account) that owns the row; 0 for what belongs to the installation."""
    name: str = ""
    description: str = ""
    kind: str = ""
    desired: str = ACTIVE
    state: str = ""
    transitioning: str = "no"
    transitioning_message: str = ""
    created: int = 0
    removed: int | None = None
    data: Json = {}


class Account(Record, frozen=True, kw_only=True):
    """A person, a machine, or an environment (``kind`` = ``project``): all own things, so all are accounts."""

    TABLE: ClassVar[str] = "account"
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("uuid",),)
    external_id: str = ""
    external_id_type: str = ""


class Member(Record, frozen=True, kw_only=True):
    """Who may do what in an environment: ``account_id`` is the environment, ``role`` owner|member|restricted|readonly."""

    TABLE: ClassVar[str] = "project_member"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",), ("external_id",))
    external_id: str = ""
    external_id_type: str = "rancher_id"
    role: str = "member"


class Credential(Record, frozen=True, kw_only=True):
    """A way to prove who one is. ``kind``: apiKey, agentApiKey, registrationToken, usernamePassword.

    ``secret_hash`` is argon2id for passwords and SHA-256 for machine-made secrets of 200 bits or more;
    ``sealed`` is set only where the secret must be shown again (registration tokens) and is encrypted.
    """

    TABLE: ClassVar[str] = "credential"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",),)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("public_value",),)
    public_value: str = ""
    secret_hash: str = ""
    sealed: str = ""


class Setting(Record, frozen=True, kw_only=True):
    """One named value of the installation that an operator changed; defaults live in ``schema.settings``."""

    TABLE: ClassVar[str] = "setting"
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("name",),)
    value: str = ""


class Agent(Record, frozen=True, kw_only=True):
    """The identity under which one machine talks to us. ``uuid`` is the key it registered with."""

    TABLE: ClassVar[str] = "agent"
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("uuid",),)
    key_account_id: int = 0
    """The account (``kind`` = ``agent``) that its API key belongs to."""
    host_id: int | None = None


class Host(Record, frozen=True, kw_only=True):
    """A machine with a Docker engine and our agent.

    ``connection`` (decided): ``connected``; ``reconnecting`` (session gone, deadline running); ``lost`` (deadline passed).
    ``docker`` (observed by the agent): ``up`` or ``down``: a dead engine is not a dead host.
    ``session_id`` and ``session_server`` (decided by the hub): which server holds the agent's socket, empty when none.
    ``assign_seq`` is the number of the newest assignment; ``applied_seq`` the newest that the agent has carried out.
    """

    TABLE: ClassVar[str] = "host"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",), ("session_server",))
    agent_id: int = 0
    hostname: str = ""
    labels: dict[str, str] = {}
    observed_labels: dict[str, str] = {}
    info: Json = {}
    agent_ip: str = ""
    agent_version: str = ""
    docker: str = ""
    docker_message: str = ""
    connection: str = "reconnecting"
    session_id: str = ""
    session_server: str = ""
    assign_seq: int = 0
    applied_seq: int = 0

    @property
    def all_labels(self) -> dict[str, str]:
        """User labels over the observed ones (kernel, Docker version, those given at registration)."""
        return {**self.observed_labels, **self.labels}

    @property
    def schedulable(self) -> bool:
        """May new containers be put here now?"""
        return self.desired == ACTIVE and self.connection == "connected" and self.docker == "up"


class Stack(Record, frozen=True, kw_only=True):
    """Services that belong together, with the files they came from."""

    TABLE: ClassVar[str] = "stack"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",),)
    docker_compose: str = ""
    rancher_compose: str = ""
    environment: dict[str, str] = {}
    external_id: str = ""
    start_on_create: bool = True
    group: str = ""
    system: bool = False
    health_state: str = "healthy"


class ServiceLink(msgspec.Struct, frozen=True, rename="camel"):
    """One service knows another (``service_id``) by the name ``name``."""

    service_id: int
    name: str = ""


class Service(Record, frozen=True, kw_only=True):
    """What is to run, how often, and where it may.

    *desired*: scale, launch configurations, links, ``on_host_lost`` (seconds after a host is declared lost until its
    containers are placed elsewhere; -1 = never), ``revision``. *decided*: ``current_scale``, ``health_state``, ``because`` (one
    sentence on what it waits for or what it did last), ``blocked`` (True when that sentence is a refusal), and in
    ``data``: ``settled`` (nothing left to do) and ``was_active`` (it had settled before).
    """

    TABLE: ClassVar[str] = "service"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",), ("stack_id",))
    stack_id: int = 0
    scale: int = 1
    launch_config: LaunchConfig | None = None
    secondary_launch_configs: list[LaunchConfig] = []
    links: list[ServiceLink] = []
    depends_on: list[str] = []
    metadata: Json = {}
    start_on_create: bool = True
    on_host_lost: int = 10
    system: bool = False
    current_scale: int = 0
    revision: int = 1
    """Raised by the API whenever a launch configuration changes; containers of an older one are replaced in turn."""
    create_index: int = 0
    health_state: str = "healthy"
    because: str = ""
    blocked: bool = False


class Port(msgspec.Struct, frozen=True, rename="camel"):
    """A published port: who may reach which container port where. ``public`` 0 = the engine picks one."""

    private: int
    public: int = 0
    protocol: str = "tcp"
    bind: str = ""


class Instance(Record, frozen=True, kw_only=True):
    """One container: of a service, stand-alone, or (``native``) started by hand and only watched.

    *desired*: ``desired`` (running|stopped|removed), ``spec``, ``restart_token`` (raised to ask for a restart).
    *decided*: ``host_id``, ``assign_seq``, ``because``, ``blocked``.
    *observed*: ``external_id`` (Docker's), ``observed`` (one of :data:`OBSERVED`), ``exit_code``, ``started``,
    ``restarts``, ``address``, ``bound`` (the published ports as they are), ``engine`` (facts from Docker's inspect),
    ``message`` and ``progress`` (0-100, of a pull), ``applied_seq``: the assignment that the observation answers.
    """

    TABLE: ClassVar[str] = "instance"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("account_id",),
        ("service_id",),
        ("host_id", "assign_seq"),
        ("stack_id",),
    )
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("uuid",),)
    desired: str = RUNNING
    service_id: int | None = None
    stack_id: int | None = None
    spec: LaunchConfig = msgspec.field(default_factory=LaunchConfig)
    launch_config: str = ""
    unit: str = ""
    """The deployment unit: containers that live and move together (a service's primary and its sidekicks)."""
    ordinal: int = 0
    """The n of ``stack_service_n``: the lowest free one, used again after a replacement."""
    create_index: int = 0
    revision: int = 1
    restart_token: int = 0
    requested_host_id: int | None = None
    native: bool = False
    system: bool = False
    host_id: int | None = None
    assign_seq: int = 0
    because: str = ""
    blocked: bool = False
    external_id: str = ""
    observed: str = "absent"
    exit_code: int | None = None
    started: int | None = None
    restarts: int = 0
    address: str = ""
    bound: list[Port] = []
    engine: Json = {}
    message: str = ""
    progress: int | None = None
    applied_seq: int = 0
    health_state: str = ""


OBSERVED = ("absent", "pulling", "creating", "created", "running", "exited", "error")
"""What an agent may say of a container. ``absent``: not there (never made, or gone). ``error``: could not be made."""


class Event(Record, frozen=True, kw_only=True):
    """One line of an object's history ("why"): what happened, when, to what. ``level`` info|warning|error."""

    TABLE: ClassVar[str] = "event"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",), ("resource_type", "resource_id"))
    resource_type: str = ""
    resource_id: int = 0
    level: str = "info"


class AuditLog(Record, frozen=True, kw_only=True):
    """Who changed what through the API. Never holds a secret: bodies are masked before they get here."""

    TABLE: ClassVar[str] = "audit_log"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",), ("created",))
    event_type: str = ""
    resource_type: str = ""
    resource_id: int = 0
    authenticated_as: int = 0
    auth_type: str = ""
    client_ip: str = ""
    response_code: int = 0
    request: Json = {}


class HaGeneration(Record, frozen=True, kw_only=True):
    """One generated cluster configuration. Immutable; ``number`` 1, 2, ...; the newest is the one in force.

    ``config`` is public (size, URL, ports, certificate subject); ``sealed`` holds keys and passwords, encrypted.
    """

    TABLE: ClassVar[str] = "ha_generation"
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("number",),)
    number: int = 0
    fingerprint: str = ""
    config: Json = {}
    sealed: str = ""


class ClusterNode(Record, frozen=True, kw_only=True):
    """A management node, known by its persistent ``uuid``. ``slot`` 1..N is its place in the ensemble, None = spare.

    ``parts`` (observed by the node's supervisor): ``{part: {state, message, since}}`` for zookeeper, redis, server, ingress.
    ``beat`` counts up while the node lives; others judge by whether it moved, never by its clock.
    """

    TABLE: ClassVar[str] = "cluster_node"
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("uuid",), ("slot",))
    slot: int | None = None
    address: str = ""
    hostname: str = ""
    node_version: str = ""
    generation: int = 0
    fingerprint: str = ""
    beat: int = 0
    parts: Json = {}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the change log: record ``record_id`` of table ``kind`` became ``version``. ``seq`` has no gaps."""

    seq: int
    kind: str
    record_id: int
    account_id: int
    version: int


RECORDS: tuple[type[Record], ...] = (
    Account, Member, Credential, Setting, Agent, Host, Stack, Service, Instance, Event, AuditLog, HaGeneration, ClusterNode,
)  # fmt: skip

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

from remuda.core.balancing.config import LbConfig
from remuda.core.pulls import Pull
from remuda.core.spec import HealthCheck, LaunchConfig

ACTIVE, INACTIVE, REMOVED = "active", "inactive", "removed"
RUNNING, STOPPED = "running", "stopped"

Json = dict[str, Any]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What all records share. ``id`` and ``version`` are given by the store (0 = not stored yet)."""

    TABLE: ClassVar[str] = ""
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = ()
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = ()
    SEALED: ClassVar[dict[str, str]] = {}
    """Attributes that hold what the keyring sealed, and for which purpose: whoever changes the root key seals them anew."""

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

    def purpose(self, attribute: str) -> str:
        """For which purpose this row's attribute is sealed."""
        return self.SEALED[attribute]


class Account(Record, frozen=True, kw_only=True):
    """A person, a machine, or an environment (``kind`` = ``project``): all own things, so all are accounts."""

    TABLE: ClassVar[str] = "account"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("external_id",),)
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
    """A way to prove who one is. ``kind``: apiKey, agentApiKey, registrationToken, usernamePassword; streamKey is the
    installation's own, with which tickets are signed.

    ``secret_hash`` is argon2id for passwords and SHA-256 for machine-made secrets of 200 bits or more;
    ``sealed`` is set only where the secret is needed again (registration tokens, stream keys) and is encrypted.
    """

    TABLE: ClassVar[str] = "credential"
    SEALED: ClassVar[dict[str, str]] = {"sealed": "registration"}
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",),)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("public_value",),)
    public_value: str = ""
    secret_hash: str = ""
    sealed: str = ""

    def purpose(self, attribute: str) -> str:
        """The installation's own keys have purposes of their own."""
        return {"streamKey": "stream key", "digestKey": "digest key"}.get(self.kind) or self.SEALED[attribute]


class Setting(Record, frozen=True, kw_only=True):
    """One named value of the installation that an operator changed; defaults live in ``schema.settings``."""

    TABLE: ClassVar[str] = "setting"
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("name",),)
    value: str = ""


class Agent(Record, frozen=True, kw_only=True):
    """The identity under which one machine talks to us. ``uuid`` is the key it registered with.

    ``uri`` is empty, or ``sim://...``: nobody connects under it, a server plays the machine itself.
    """

    TABLE: ClassVar[str] = "agent"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("uri",),)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("uuid",),)
    key_account_id: int = 0
    """The account (``kind`` = ``agent``) that its API key belongs to."""
    uri: str = ""
    host_id: int | None = None


class Host(Record, frozen=True, kw_only=True):
    """A machine with a Docker engine and our agent.

    ``connection`` (decided): ``connected``; ``reconnecting`` (session gone, deadline running); ``lost`` (deadline passed).
    ``docker`` (observed by the agent): ``up`` or ``down``: a dead engine is not a dead host.
    ``session_id`` and ``session_server`` (decided by the hub): which server holds the agent's socket, empty when none.
    ``assign_seq`` is the number of the newest assignment; ``applied_seq`` the newest that the agent has carried out.
    ``network_ip`` and ``tunnel_ip`` (decided): its addresses on the managed network and within IPsec. ``network``
    (observed): ``up``, ``limited`` (works, but not all of it) or ``error`` with ``network_message``; ``link_mtu`` of its card.
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
    network_ip: str = ""
    tunnel_ip: str = ""
    network: str = ""
    network_message: str = ""
    link_mtu: int = 0

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
    """One service knows another (``service_id``) by the name ``name``. ``ports`` narrow it where the first is a load balancer
    of the older form: ``[host][:source port][/path][=target port]`` each."""

    service_id: int
    name: str = ""
    ports: list[str] = []


class Service(Record, frozen=True, kw_only=True):
    """What is to run, how often, and where it may. ``kind``: service, loadBalancerService, dnsService (an alias: other services'
    addresses under one more name), externalService (addresses or a name outside).

    *desired*: ``retain_ip``, selectors, ``external_ips``, ``hostname``, ``health_check`` (of an external service),
    ``lb_config``, scale, launch configurations, links, ``on_host_lost`` (seconds after a host is declared lost until its
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
    retain_ip: bool = False
    selector_link: str = ""
    selector_container: str = ""
    external_ips: list[str] = []
    hostname: str = ""
    health_check: HealthCheck | None = None
    lb_config: LbConfig | None = None
    fqdn: str = ""
    vip: str = ""


class Port(msgspec.Struct, frozen=True, rename="camel"):
    """A published port: who may reach which container port where. ``public`` 0 = the engine picks one."""

    private: int
    public: int = 0
    protocol: str = "tcp"
    bind: str = ""


class Instance(Record, frozen=True, kw_only=True):
    """One container: of a service, stand-alone, or (``native``) started by hand and only watched.

    *desired*: ``desired`` (running|stopped|removed), ``spec``, ``restart_token`` (raised to ask for a restart).
    *decided*: ``host_id``, ``assign_seq``, ``because``, ``blocked``, ``managed_ip`` and ``mac`` (on the managed network),
    ``published`` (its ports with the public numbers and addresses that they were given), ``health_state``.
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
    health_because: str = ""
    managed_ip: str = ""
    mac: str = ""
    published: list[Port] = []

    @property
    def primary_address(self) -> str:
        """Where it is reached: on the managed network, else as its engine says."""
        return self.managed_ip or self.address


OBSERVED = ("absent", "pulling", "creating", "created", "running", "exited", "error")
"""What an agent may say of a container. ``absent``: not there (never made, or gone). ``error``: could not be made."""


class Between(msgspec.Struct, frozen=True, rename="camel"):
    """Containers whose label ``group_by`` has the same value are a group."""

    group_by: str


class PolicyRule(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One rule of who may talk to whom: ``within`` stack, service or linked, or ``between`` containers of a group."""

    action: str = "allow"
    within: str = ""
    between: Between | None = None


class Network(Record, frozen=True, kw_only=True):
    """The managed network of an environment; one each, ``name`` is ``managed``.

    *desired*: ``subnet``, ``encryption`` (ipsec|plain), ``mtu`` (0 = worked out), ``default_policy_action`` (allow|deny),
    ``policy``, ``port_first`` and ``port_last`` (for public ports that nobody chose). ``rotate`` is raised to ask for a new key.
    *decided*: ``mtu_in_use``, ``cursor`` (after which address the next one is looked for), ``tunnel_cursor``, and the keys of
    IPsec: ``key_generation`` (0 = none yet), ``sealed_keys`` (encrypted), ``rotated`` (which ``rotate`` was carried out).
    """

    TABLE: ClassVar[str] = "network"
    SEALED: ClassVar[dict[str, str]] = {"sealed_keys": "network-keys"}
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id", "name"),)
    subnet: str = "10.42.0.0/16"
    encryption: str = "ipsec"
    mtu: int = 0
    default_policy_action: str = "allow"
    policy: list[PolicyRule] = []
    port_first: int = 49153
    port_last: int = 65535
    rotate: int = 0
    mtu_in_use: int = 0
    cursor: int = 0
    tunnel_cursor: int = 0
    key_generation: int = 0
    rotated: int = 0
    sealed_keys: str = ""


class Address(Record, frozen=True, kw_only=True):
    """An address of a pool that has an owner; the row is gone once it was given back. ``number``: the address as an integer.

    ``pool``: ``net/<network id>`` or ``tunnel/<network id>``. ``owner``: ``instance/<uuid>``, ``host/<id>`` or
    ``retain/<service id>/<launch configuration>/<ordinal>``.
    """

    TABLE: ClassVar[str] = "address"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("owner",),)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("pool", "number"),)
    pool: str = ""
    number: int = 0
    owner: str = ""


class HealthObservation(Record, frozen=True, kw_only=True):
    """What one host (the observer) last saw of one container. ``start`` tells which run of the container it saw.

    ``state``-like ``seen``: ``passing`` or ``failing``; ``message`` the answer; ``latency`` in milliseconds; ``since`` = when it
    began to be seen so.
    """

    TABLE: ClassVar[str] = "health_observation"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("host_id",),)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("instance_id", "host_id"),)
    instance_id: int = 0
    host_id: int = 0
    start: int = 0
    seen: str = ""
    message: str = ""
    latency: int = 0
    since: int = 0


class Certificate(Record, frozen=True, kw_only=True):
    """A certificate for load balancers: PEM texts, the private key sealed, and what can be read from it."""

    TABLE: ClassVar[str] = "certificate"
    SEALED: ClassVar[dict[str, str]] = {"sealed_key": "certificate"}
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",),)
    cert: str = ""
    chain: str = ""
    sealed_key: str = ""
    common_name: str = ""
    alternative_names: list[str] = []
    issuer: str = ""
    algorithm: str = ""
    fingerprint: str = ""
    key_size: int = 0
    issued_at: int = 0
    expires_at: int = 0


class Registry(Record, frozen=True, kw_only=True):
    """Where images come from. ``server_address``: host and path without scheme, as :mod:`remuda.core.secrets` writes it."""

    TABLE: ClassVar[str] = "registry"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",),)
    server_address: str = ""


class RegistryCredential(Record, frozen=True, kw_only=True):
    """Who pulls from a registry; ``sealed`` is the password. The newest active one of a registry counts."""

    TABLE: ClassVar[str] = "registry_credential"
    SEALED: ClassVar[dict[str, str]] = {"sealed": "registry credential"}
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",), ("registry_id",))
    registry_id: int = 0
    username: str = ""
    email: str = ""
    sealed: str = ""


class Secret(Record, frozen=True, kw_only=True):
    """A value that containers find as a file. It is never changed; ``sealed`` is emptied when the secret is removed."""

    TABLE: ClassVar[str] = "secret"
    SEALED: ClassVar[dict[str, str]] = {"sealed": "secret"}
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",),)
    sealed: str = ""


class PullTask(Record, frozen=True, kw_only=True):
    """An image that hosts are to have. ``hosts`` (chosen when it is made, then observed): by host number, how far it is there."""

    TABLE: ClassVar[str] = "pull_task"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",), ("created",))
    image: str = ""
    mode: str = "all"
    labels: dict[str, str] = {}
    hosts: dict[str, Pull] = {}


class Volume(Record, frozen=True, kw_only=True):
    """A named Docker volume, known to its engine as ``external_id``: made here (``declared``), or only seen on a host.

    One of the ``local`` driver lies on one host; of other drivers one row stands for all hosts, and ``host_id`` is the one that
    used it last. *desired*: ``driver``, ``driver_opts``, ``requested_host_id``. *decided*: ``host_id``, ``users`` (how many
    containers use it), ``assign_seq``. *observed*: ``seen`` (empty, present, absent or error), ``mountpoint``, ``message``,
    ``applied_seq``.
    """

    TABLE: ClassVar[str] = "volume"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id", "external_id"), ("host_id", "assign_seq"))
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("uuid",),)
    driver: str = "local"
    driver_opts: dict[str, str] = {}
    external_id: str = ""
    declared: bool = False
    requested_host_id: int | None = None
    host_id: int | None = None
    stack_id: int | None = None
    volume_template_id: int | None = None
    users: int = 0
    assign_seq: int = 0
    seen: str = ""
    mountpoint: str = ""
    message: str = ""
    applied_seq: int = 0

    @property
    def local(self) -> bool:
        """Does its data lie on one host?"""
        return self.driver in ("", "local")


class VolumeTemplate(Record, frozen=True, kw_only=True):
    """A volume that a stack's files declare: containers of the stack that say ``name`` get ``external_id``.

    ``external``: it must be there already. ``per_container``: each container has its own, which its successor gets again.
    """

    TABLE: ClassVar[str] = "volume_template"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",), ("stack_id",))
    stack_id: int = 0
    driver: str = ""
    driver_opts: dict[str, str] = {}
    external_id: str = ""
    external: bool = False
    per_container: bool = False


class Mount(Record, frozen=True, kw_only=True):
    """A volume within a container (decided: the volume controller). ``permissions``: ``rw`` or ``ro``."""

    TABLE: ClassVar[str] = "mount"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",), ("instance_id",), ("volume_id",))
    instance_id: int = 0
    volume_id: int = 0
    path: str = ""
    permissions: str = "rw"


class Event(Record, frozen=True, kw_only=True):
    """One line of an object's history ("why"): what happened, when, to what. ``level`` info|warning|error."""

    TABLE: ClassVar[str] = "event"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",), ("resource_type", "resource_id"))
    resource_type: str = ""
    resource_id: int = 0
    level: str = "info"


class ExternalEvent(Record, frozen=True, kw_only=True):
    """What something outside told, kept for a day. ``kind`` says what of; ``facts`` is what it told, masked.

    ``reported_by`` is the account that told it. What follows from it is written in the same transaction.
    """

    TABLE: ClassVar[str] = "external_event"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",), ("created",))
    event_type: str = ""
    external_id: str = ""
    reported_by: int = 0
    host_id: int | None = None
    instance_id: int | None = None
    facts: Json = {}


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
    SEALED: ClassVar[dict[str, str]] = {"sealed": "ha-generation"}
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


class AuthProvider(Record, frozen=True, kw_only=True):
    """How people log in other than by a password of ours. ``kind`` is the type of its configuration (``githubconfig``); at most
    one is ``active``. ``sealed`` holds its secrets; ``proven`` the fingerprint of the configuration somebody last logged in by.
    """

    TABLE: ClassVar[str] = "auth_provider"
    SEALED: ClassVar[dict[str, str]] = {"sealed": "auth-provider"}
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("kind",),)
    access_mode: str = "unrestricted"
    allowed: list[Json] = []
    config: Json = {}
    sealed: str = ""
    proven: str = ""


class UserPreference(Record, frozen=True, kw_only=True):
    """What a person (``account_id``) likes, under a name that a user interface chooses."""

    TABLE: ClassVar[str] = "user_preference"
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("account_id",),)
    value: str = ""


RECORDS: tuple[type[Record], ...] = (
    Account, Member, Credential, Setting, Agent, Host, Stack, Service, Instance, Event, AuditLog, HaGeneration, ClusterNode,
    Network, Address, HealthObservation, Certificate, Registry, RegistryCredential, Secret, PullTask, Volume, VolumeTemplate,
    Mount, ExternalEvent, AuthProvider, UserPreference,
)  # fmt: skip

"""What a server and an agent say to each other over the agent's one WebSocket.

JSON text frames, one tagged struct each. The server numbers what it orders (*assignments*); the agent says how far it got.
Both may drop the connection at any byte: after ``Hello`` the server sends again all that the agent has not applied, and an
assignment that is repeated has no effect. Streams (logs, exec, stats) are multiplexed by ``stream`` with credit-based
flow control: a side may send ``credit`` bytes and waits for a ``Credit`` to send more.
"""

from __future__ import annotations

from typing import Any

import msgspec

from remuda.core.model import Port
from remuda.core.network.scene import Gone, Scene
from remuda.core.pulls import Pull
from remuda.core.spec import LaunchConfig

PROTOCOL = 1
HEARTBEAT_SECONDS = 2.0
"""The server pings this often; the agent answers each ping with a Pong."""
SILENCE_SECONDS = 5.0
"""After so long without a frame either side closes the socket; the server then starts the host's deadline."""
STREAM_WINDOW = 256 * 1024
"""Bytes that may be under way on a stream in one direction before a Credit must arrive."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", omit_defaults=True):
    """Base of all frames."""


# ---- agent -> server -------------------------------------------------------------------------------------------------


class HostFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent sees of its machine. ``info`` is the 1.x document: cpuInfo, memoryInfo, diskInfo, osInfo, iopsInfo."""

    hostname: str = ""
    agent_ip: str = ""
    labels: dict[str, str] = {}
    info: dict[str, Any] = {}
    docker: str = "up"
    docker_message: str = ""
    docker_version: str = ""
    kernel: str = ""
    network: str = ""
    network_message: str = ""
    """How the managed network is here: ``up``, ``limited`` or ``error``, and why."""
    network_keys: list[int] = []
    network_use: int = 0
    """Generations of the keys that its tunnels accept, and the one that all of them use."""
    link_mtu: int = 0
    """MTU of the interface that has ``agent_ip``."""


class Hello(Message, frozen=True, kw_only=True, omit_defaults=True, tag="hello"):
    """First frame. ``boot`` is random per agent start and ``machine`` a stable fingerprint: two machines that show the same
    registration but different fingerprints are clones, and the second is refused with the reason."""

    protocol: int = PROTOCOL
    agent_version: str = ""
    machine: str = ""
    boot: str = ""
    applied_seq: int = 0
    scene_through: int = 0
    """The change number of the scene that the agent still has; 0 = none. The server sends what came after, or all."""
    facts: HostFacts = msgspec.field(default_factory=HostFacts)


class ContainerReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent observes of one container. ``uuid`` is the instance's (or, of a native one, ``docker:<external id>``)."""

    uuid: str
    external_id: str = ""
    name: str = ""
    observed: str = "absent"
    exit_code: int | None = None
    started: int | None = None
    restarts: int = 0
    address: str = ""
    ports: list[Port] = []
    image: str = ""
    labels: dict[str, str] = {}
    engine: dict[str, Any] = {}
    message: str = ""
    progress: int | None = None
    applied_seq: int = 0
    native: bool = False
    system: bool = False


class VolumeReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named volume of this host. ``uuid`` and ``applied_seq`` answer an order; ``seen``: present, absent or error."""

    name: str
    uuid: str = ""
    driver: str = "local"
    mountpoint: str = ""
    seen: str = "present"
    message: str = ""
    applied_seq: int = 0


class Observed(Message, frozen=True, kw_only=True, omit_defaults=True, tag="observed"):
    """Containers as they are now. ``complete`` = these are all that exist: what is missing is absent.

    ``number`` counts up; the server answers with ``Noted`` once the report is stored, and the agent keeps a report
    (merged with later ones) until then.
    """

    number: int
    containers: list[ContainerReport] = []
    complete: bool = False
    applied_seq: int = 0
    volumes: list[VolumeReport] | None = None
    """All named volumes as they are now; None = nothing is said of them."""


class HealthResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What this host's probe of a container came to. ``start`` is the container's ``started`` that was probed."""

    uuid: str
    start: int = 0
    passing: bool = False
    message: str = ""
    latency: int = 0


class Health(Message, frozen=True, kw_only=True, omit_defaults=True, tag="health"):
    """Probe results that changed. ``complete`` = all that this host observes. Repeated after each Hello; not confirmed."""

    results: list[HealthResult] = []
    complete: bool = False


class SceneWanted(Message, frozen=True, kw_only=True, omit_defaults=True, tag="wanted"):
    """The agent's scene is not what the server says it should be: send all of it."""


class Pulled(Message, frozen=True, kw_only=True, omit_defaults=True, tag="pulled"):
    """How far the agent is with a Pull; ``pull.state`` says whether it is over."""

    task: str
    pull: Pull = msgspec.field(default_factory=Pull)


class Facts(Message, frozen=True, kw_only=True, omit_defaults=True, tag="facts"):
    """The machine changed: labels, memory, disks, or Docker went up or down."""

    facts: HostFacts


class Pong(Message, frozen=True, kw_only=True, omit_defaults=True, tag="pong"):
    """Answer to a Ping."""

    token: int = 0


# ---- server -> agent -------------------------------------------------------------------------------------------------


class Welcome(Message, frozen=True, kw_only=True, omit_defaults=True, tag="welcome"):
    """The session stands. ``host`` is the public id of the host; the agent keeps it for its logs."""

    host: str
    session: str
    server: str = ""
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    silence_seconds: float = SILENCE_SECONDS


class Refused(Message, frozen=True, kw_only=True, omit_defaults=True, tag="refused"):
    """The session does not stand and why; ``final`` = trying again with this identity is useless."""

    reason: str
    final: bool = False


class VolumeWish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A volume that a container needs: made before it, unless it is there. Options are never logged."""

    name: str
    driver: str = "local"
    options: dict[str, str] = {}


class VolumeOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Make a volume (``desired`` active) or remove it. Carried out once per ``seq``; what comes later is another order."""

    seq: int
    uuid: str
    desired: str
    wish: VolumeWish


class Assignment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one container is to be: ``desired`` running, stopped or removed. A newer ``seq`` for the same ``uuid`` replaces."""

    seq: int
    uuid: str
    desired: str
    name: str = ""
    spec: LaunchConfig = msgspec.field(default_factory=LaunchConfig)
    restart_token: int = 0
    stop_timeout: int = 10
    registry_auth: str = ""
    """Base64 for Docker's ``X-Registry-Auth``; never written to disk or logs by the agent."""
    native: bool = False
    external_id: str = ""
    managed_ip: str = ""
    """Its address on the managed network; empty in other modes."""
    mac: str = ""
    balancer: bool = False
    """It is the haproxy of a load balancer service: its configuration is made on its host."""
    certificates: dict[str, str] = {}
    """For a load balancer: file name -> PEM of key, certificate and chain. Kept by the agent under 0600 only."""
    secrets: dict[str, str] = {}
    """File name below ``/run/secrets`` -> value in base64; never written to disk or logs by the agent."""
    volumes: list[VolumeWish] = []


class Assign(Message, frozen=True, kw_only=True, omit_defaults=True, tag="assign"):
    """Assignments. ``complete`` = these are all of this host: managed containers that are not named here must go.

    ``through`` is the number up to which the agent now knows everything.
    """

    items: list[Assignment] = []
    complete: bool = False
    through: int = 0
    volumes: list[VolumeOrder] = []


class SceneUpdate(Message, frozen=True, kw_only=True, omit_defaults=True, tag="scene"):
    """The environment as hosts must know it: entries that changed since what the agent has, or (``complete``) all."""

    scene: Scene
    gone: Gone = msgspec.field(default_factory=Gone)
    complete: bool = False
    digest: str = ""
    """:class:`remuda.core.network.digest.Digest` of the scene with this update in it."""


class NetworkKeys(Message, frozen=True, kw_only=True, omit_defaults=True, tag="keys"):
    """The environment's IPsec keys: all that are accepted, by generation, and the one to use. Never logged."""

    keys: dict[int, str] = {}
    use: int = 0


class PullOrder(Message, frozen=True, kw_only=True, omit_defaults=True, tag="pull"):
    """Have this image; ``cached`` = only if you have one of this name already. Repeated ones join what is under way."""

    task: str
    image: str
    cached: bool = False
    registry_auth: str = ""
    """As in :class:`Assignment`."""


class Noted(Message, frozen=True, kw_only=True, omit_defaults=True, tag="noted"):
    """Report ``number`` is stored."""

    number: int


class Ping(Message, frozen=True, kw_only=True, omit_defaults=True, tag="ping"):
    """Are you there? Sent every ``heartbeat_seconds``."""

    token: int = 0


# ---- streams, both directions ----------------------------------------------------------------------------------------


class StreamOpen(Message, frozen=True, kw_only=True, omit_defaults=True, tag="open"):
    """Server asks for a stream. ``kind``: ``logs`` {container, follow, lines, timestamps, since}; ``exec`` {container,
    command, tty, stdin}; ``stats`` {containers: {dockerId: publicId}} or {} for the host; ``console`` {container}: its own
    terminal; ``port`` {container, port, tls}: a connection to it; ``docker`` {}: one to the engine. ``container`` is Docker's
    id. What an agent does not know it ends with a sentence."""

    stream: int
    kind: str
    args: dict[str, Any] = {}


class StreamData(Message, frozen=True, kw_only=True, omit_defaults=True, tag="data"):
    """Bytes (base64 in JSON). ``channel``: ``out``, ``err`` from the agent, ``in`` to it, ``resize`` with ``WxH``."""

    stream: int
    channel: str = "out"
    payload: bytes = b""


class StreamCredit(Message, frozen=True, kw_only=True, omit_defaults=True, tag="credit"):
    """The receiver has room for so many more bytes."""

    stream: int
    amount: int


class StreamEnd(Message, frozen=True, kw_only=True, omit_defaults=True, tag="end"):
    """No more data. ``error`` says why when it is not the natural end; ``exit_code`` for exec."""

    stream: int
    error: str = ""
    exit_code: int | None = None


FromAgent = Hello | Observed | Health | SceneWanted | Pulled | Facts | Pong | StreamData | StreamCredit | StreamEnd
FromServer = (
    Welcome
    | Refused
    | Assign
    | SceneUpdate
    | NetworkKeys
    | PullOrder
    | Noted
    | Ping
    | StreamOpen
    | StreamData
    | StreamCredit
    | StreamEnd
)

encode = msgspec.json.Encoder().encode
decode_from_agent = msgspec.json.Decoder(FromAgent).decode
decode_from_server = msgspec.json.Decoder(FromServer).decode

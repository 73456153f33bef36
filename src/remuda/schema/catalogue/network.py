"""Types of the network: the environment's managed network, and who has which address."""

from __future__ import annotations

from remuda.core.model import Address, Certificate, HealthObservation, Network
from remuda.schema.fields import (
    DATE,
    ENUM,
    INT,
    LIST,
    LOOK,
    PASSWORD,
    Action,
    Field,
    ResourceType,
    common,
    reference,
)

TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        id="network",
        record=Network,
        fields=(
            *common(),
            Field(name="subnet", update=True, max_length=18, description="Addresses of containers, e.g. 10.42.0.0/16"),
            Field(
                name="encryption",
                type=ENUM,
                options=("ipsec", "plain"),
                update=True,
                nullable=False,
                description="How traffic between hosts goes",
            ),
            Field(
                name="mtu",
                type=INT,
                update=True,
                min=0,
                max=9000,
                nullable=False,
                description="0 = worked out from links",
            ),
            Field(name="mtuInUse", type=INT),
            Field(name="defaultPolicyAction", type=ENUM, options=("allow", "deny"), update=True, nullable=False),
            Field(
                name="policy",
                type="array[networkPolicyRule]",
                update=True,
                description="The first rule that fits decides; else the default does",
            ),
            Field(name="portFirst", type=INT, update=True, min=1, max=65535, nullable=False),
            Field(name="portLast", type=INT, update=True, min=1, max=65535, nullable=False),
            Field(name="keyGeneration", type=INT, description="Which key of IPsec is in use"),
        ),
        actions=(
            Action(name="rotatekey", description="Make a new key for the tunnels between hosts, without a gap."),
            Action(
                name="explain",
                input="networkExplainInput",
                output="networkExplanation",
                reads=True,
                description="Why a packet from one container reaches another one, or does not.",
            ),
        ),
        description="The managed network of an environment.",
    ),
    ResourceType(
        id="networkExplainInput",
        methods=(),
        rights=LOOK,
        fields=(
            Field(name="source", create=True, required=True, description="Id or name of a container"),
            Field(name="target", create=True, required=True, description="Id or name of a container"),
            Field(name="port", type=INT, create=True, min=1, max=65535, description="A port of the target"),
        ),
    ),
    ResourceType(
        id="networkExplanation",
        methods=(),
        rights=LOOK,
        fields=(Field(name="passes", type="boolean"), Field(name="because"), Field(name="steps", type="array[json]")),
    ),
    ResourceType(
        id="networkPolicyRule",
        methods=(),
        rights=LOOK,
        fields=(
            Field(name="action", type=ENUM, options=("allow", "deny"), create=True, update=True, required=True),
            Field(name="within", type=ENUM, options=("stack", "service", "linked"), create=True, update=True),
            Field(name="between", type="json", create=True, update=True, description='{"groupBy": label}'),
        ),
    ),
    ResourceType(
        id="certificate",
        record=Certificate,
        fields=(
            *common(name=Field(name="name", create=True, update=True, required=True, min_length=1, max_length=63)),
            Field(name="cert", create=True, update=True, required=True, max_length=65535, description="PEM"),
            Field(name="certChain", create=True, update=True, max_length=65535, source="chain", description="PEM"),
            Field(
                name="key",
                type=PASSWORD,
                create=True,
                update=True,
                required=True,
                max_length=65535,
                computed=True,
                description="PEM; never shown again",
            ),
            Field(name="CN", source="common_name"),
            Field(name="subjectAlternativeNames", type=LIST, source="alternative_names"),
            Field(name="issuer"),
            Field(name="algorithm"),
            Field(name="keySize", type=INT),
            Field(name="certFingerprint", source="fingerprint", description="SHA-256"),
            Field(name="issuedAt", type=DATE),
            Field(name="expiresAt", type=DATE),
            Field(name="usedBy", type="array[reference[service]]", computed=True),
            Field(
                name="warning",
                computed=True,
                description="What to do before it ends; empty while there is nothing to do",
            ),
        ),
        actions=(Action(name="remove"),),
        description="A certificate with its key, for load balancers.",
    ),
    ResourceType(
        id="healthcheckInstanceHostMap",
        record=HealthObservation,
        fields=(
            *common(),
            Field(name="instanceId", type=reference("container")),
            Field(name="hostId", type=reference("host")),
            Field(name="healthState", type=ENUM, options=("passing", "failing"), source="seen"),
            Field(name="message", description="What the container answered"),
            Field(name="latency", type=INT, description="Milliseconds"),
            Field(name="since", type=DATE, description="Since when it sees it so"),
        ),
        description="What a host that observes a container last saw of it.",
    ),
    ResourceType(
        id="ipAddress",
        plural="ipAddresses",
        record=Address,
        fields=(
            *common(),
            Field(name="address", computed=True),
            Field(name="pool"),
            Field(
                name="owner", description="instance/<uuid>, host/<id> or retain/<service>/<launch configuration>/<n>"
            ),
        ),
        description="An address of a managed network that has an owner.",
    ),
)

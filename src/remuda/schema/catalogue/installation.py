"""Types of the installation: accounts, environments, keys, settings, the cluster, the audit log."""

from __future__ import annotations

from remuda.core.model import Account, AuditLog, ClusterNode, Credential, Event, HaGeneration, Member, Setting
from remuda.schema.fields import (
    ADMIN,
    AGENT,
    ANONYMOUS,
    BOOL,
    ENUM,
    INSTALLATION,
    INT,
    JSON,
    LOOK,
    PASSWORD,
    REGISTER,
    STRING,
    Action,
    Field,
    Link,
    ResourceType,
    common,
    reference,
)

EVERYBODY = {**LOOK, ANONYMOUS: "rl", AGENT: "rl", REGISTER: "rl"}
KINDS = ("user", "admin", "readAdmin", "service")
"""Kinds of accounts that an administrator may make."""
ADMINS = dict.fromkeys(INSTALLATION, "rl")
SWITCH = (
    Action(name="activate", states=("inactive",), description="Let it be used again."),
    Action(name="deactivate", states=("active",), description="Refuse it until it is activated."),
    Action(name="remove", description="Remove it for good."),
)


def _port(name: str, default: int) -> Field:
    return Field(name=name, type=INT, create=True, min=1, max=65535, nullable=False, default=default)


TYPES: tuple[ResourceType, ...] = (
    ResourceType(id="schema", scope="installation"),
    ResourceType(id="apiVersion", methods=("GET",), scope="installation", rights=EVERYBODY),
    ResourceType(
        id="account",
        record=Account,
        scope="account",
        fields=(
            *common(
                kind=Field(name="kind", type=ENUM, options=KINDS, default="user", grants={ADMIN: "cu"}),
                uuid=Field(name="uuid", max_length=128, grants={ADMIN: "c"}),
            ),
            Field(name="externalId", max_length=255, grants={ADMIN: "cu"}),
            Field(name="externalIdType", max_length=128, grants={ADMIN: "cu"}),
            Field(
                name="username",
                create=True,
                computed=True,
                max_length=128,
                min_length=1,
                description="Name to log in with",
            ),
            Field(
                name="password",
                type=PASSWORD,
                create=True,
                update=True,
                computed=True,
                description="At least 8 characters",
            ),
        ),
        actions=SWITCH,
        links=(Link(name="apiKeys", type="apiKey", field="accountId"),),
        description="A person or a machine that may use the installation.",
    ),
    ResourceType(
        id="project",
        record=Account,
        kinds=("project",),
        base="account",
        scope="account",
        fields=(
            *common(uuid=Field(name="uuid", max_length=128, grants={ADMIN: "c"})),
            Field(name="members", type="array[projectMember]", create=True, computed=True),
            Field(name="servicesPortRange", type="servicesPortRange", create=True, update=True, computed=True),
        ),
        actions=(
            *SWITCH,
            Action(
                name="setmembers", input="setProjectMembersInput", output="project", description="Replace the members."
            ),
        ),
        links=(
            Link(name="hosts", type="host", field="accountId"),
            Link(name="environments", type="environment", field="accountId"),
            Link(name="services", type="service", field="accountId"),
            Link(name="containers", type="container", field="accountId"),
            Link(name="registrationTokens", type="registrationToken", field="accountId"),
            Link(name="projectMembers", type="projectMember", field="projectId"),
        ),
        description="An environment: hosts, stacks and people that belong together, apart from all others.",
    ),
    ResourceType(
        id="projectMember",
        record=Member,
        fields=(
            *common(),
            Field(name="projectId", type=reference("project"), create=True, source="account_id"),
            Field(name="externalId", create=True),
            Field(name="externalIdType", create=True, default="rancher_id"),
            Field(
                name="role",
                create=True,
                type=ENUM,
                options=("owner", "member", "restricted", "readonly"),
                default="member",
            ),
        ),
    ),
    ResourceType(
        id="setProjectMembersInput",
        fields=(Field(name="members", type="array[projectMember]", create=True, required=True),),
    ),
    ResourceType(
        id="apiKey",
        record=Credential,
        kinds=("apiKey",),
        base="credential",
        scope="key",
        fields=(
            *common(accountId=Field(name="accountId", type=reference("account"), grants={ADMIN: "c"})),
            Field(name="publicValue", description="The access key"),
            Field(name="secretValue", type=PASSWORD, computed=True, read_on_create_only=True, description="Shown once"),
        ),
        actions=SWITCH,
        description="A pair of keys for programs: of an environment (the rights of a member) or of an account.",
    ),
    ResourceType(
        id="registrationToken",
        record=Credential,
        kinds=("registrationToken",),
        base="credential",
        fields=(
            *common(),
            Field(name="token", computed=True),
            Field(name="registrationUrl", computed=True),
            Field(name="command", computed=True, description="What to run on a machine to make it a host"),
            Field(name="image", computed=True),
        ),
        actions=SWITCH,
        description="Lets machines join an environment.",
    ),
    ResourceType(
        id="register",
        plural="register",
        scope="installation",
        fields=(
            Field(name="key", create=True, required=True, max_length=128, min_length=8),
            Field(
                name="agentUriFormat",
                create=True,
                max_length=64,
                only=(ADMIN,),
                description="sim://%s: a simulated host",
            ),
            Field(name="accessKey"),
            Field(name="secretKey"),
            Field(name="state", type=ENUM),
        ),
        description="An agent trades its registration token for keys of its own.",
    ),
    ResourceType(
        id="setting",
        record=Setting,
        scope="installation",
        fields=(
            Field(name="id", computed=True),
            Field(name="name", create=True, required=True, min_length=1, max_length=255),
            Field(name="value", create=True, grants={ADMIN: "u"}, computed=True),
            Field(name="activeValue", computed=True),
            Field(name="default", computed=True),
            Field(name="source", computed=True, only=(ADMIN,)),
            Field(name="inDb", type=BOOL, computed=True, only=(ADMIN,)),
            Field(name="description", computed=True),
        ),
    ),
    ResourceType(
        id="token",
        scope="installation",
        fields=(
            Field(name="code", create=True, required=True, type=PASSWORD, description="user:password"),
            Field(name="authProvider", create=True),
            Field(name="state", create=True, description="What the provider's redirect brought back"),
            Field(name="redirectUrl", computed=True, description="Where a browser goes to log in"),
            Field(name="jwt"),
            Field(name="user"),
            Field(name="userType"),
            Field(name="accountId"),
            Field(name="security", type=BOOL),
            Field(name="enabled", type=BOOL),
            Field(name="userIdentity", type="identity"),
            Field(name="identities", type="array[identity]"),
        ),
    ),
    ResourceType(
        id="setup",
        plural="setup",
        methods=("GET", "POST"),
        scope="installation",
        rights={**LOOK, ANONYMOUS: "crl"},
        fields=(
            Field(name="required", type=BOOL),
            Field(name="secret", type=PASSWORD, create=True, required=True),
            Field(name="username", create=True, required=True, min_length=1, max_length=128),
            Field(name="password", type=PASSWORD, create=True, required=True, min_length=8, max_length=1024),
            Field(name="name", create=True, max_length=255),
        ),
        description="First boot: whoever has the secret that the server printed becomes the administrator.",
    ),
    ResourceType(
        id="identity",
        plural="identities",
        scope="installation",
        fields=(
            Field(name="id"),
            *(Field(name=n, create=True, required=True) for n in ("externalId", "externalIdType")),
            *(Field(name=n, create=True) for n in ("login", "name", "role", "profilePicture")),
        ),
    ),
    ResourceType(
        id="auditLog",
        record=AuditLog,
        fields=(
            *common(),
            Field(name="eventType"),
            Field(name="resourceType"),
            Field(name="resourceId", type=INT, computed=True, description="The row's number, without letters"),
            Field(name="authenticatedAsAccountId", type=reference("account"), source="authenticated_as"),
            Field(name="authType"),
            Field(name="clientIp"),
            Field(name="responseCode", computed=True),
            Field(name="requestObject", computed=True, description="What was asked, as JSON, without secrets"),
        ),
    ),
    ResourceType(
        id="serviceLog",
        record=Event,
        methods=("GET",),
        rights=LOOK,
        fields=(
            *common(),
            Field(name="resourceType"),
            Field(name="resourceId", computed=True),
            Field(name="level", type=ENUM, options=("info", "warning", "error")),
            Field(name="eventType", source="kind"),
            Field(name="serviceId", type=reference("service"), computed=True),
            Field(name="instanceId", type=reference("container"), computed=True),
            Field(name="subLog", type=BOOL, computed=True, description="Of a container, not of the service itself"),
        ),
        description="The history of services, containers, stacks and hosts: what was done and why.",
    ),
    ResourceType(
        id="clusterNode",
        record=ClusterNode,
        methods=("GET",),
        scope="installation",
        rights=ADMINS,
        fields=(
            *common(),
            Field(name="slot", type=INT),
            Field(name="address"),
            Field(name="hostname"),
            Field(name="version", source="node_version"),
            Field(name="generation", type=INT),
            Field(name="fingerprint"),
            Field(name="beat", type=INT),
            Field(name="parts", type=JSON),
            Field(name="leader", type=BOOL, computed=True),
            Field(name="live", type=BOOL, computed=True),
        ),
        description="A management node and the health of its parts.",
    ),
    ResourceType(
        id="haConfig",
        record=HaGeneration,
        scope="installation",
        fields=(
            Field(name="id", computed=True),
            Field(name="enabled", type=BOOL, computed=True, update=True),
            Field(name="clusterSize", type=INT, computed=True),
            Field(name="dbHost", computed=True),
            Field(name="dbSize", type=INT, computed=True),
            Field(name="database", type=JSON, computed=True),
            Field(name="generation", type=JSON, computed=True),
            Field(name="quorum", type=JSON, computed=True),
        ),
        actions=(
            Action(
                name="generate",
                input="haConfigInput",
                output="haConfig",
                description="Make a configuration generation.",
            ),
            Action(
                name="createscript",
                input="haConfigInput",
                output="",
                description="The start-up script of that generation.",
            ),
            Action(
                name="rotate", input="haConfigInput", output="haConfig", description="A new generation with new keys."
            ),
        ),
    ),
    ResourceType(
        id="haConfigInput",
        fields=(
            Field(name="clusterSize", type=INT, create=True, default=3, nullable=False, description="1, 3 or 5"),
            Field(name="hostRegistrationUrl", create=True, required=True, max_length=1024),
            Field(name="httpEnabled", type=BOOL, create=True, default=True, nullable=False),
            _port("httpPort", 80),
            _port("httpsPort", 443),
            _port("ppHttpPort", 81),
            _port("ppHttpsPort", 444),
            _port("redisPort", 6379),
            Field(name="swarmEnabled", type=BOOL, create=True, default=False, nullable=False),
            _port("swarmPort", 2376),
            _port("zookeeperClientPort", 2181),
            _port("zookeeperQuorumPort", 2888),
            _port("zookeeperLeaderPort", 3888),
            Field(name="cert", type=STRING, create=True, max_length=65535),
            Field(name="certChain", type=STRING, create=True, max_length=65535),
            Field(name="key", type=PASSWORD, create=True, max_length=65535),
        ),
    ),
)

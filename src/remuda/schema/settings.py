"""The settings of an installation: names, defaults, meaning. What an operator changed is stored; the rest is here."""

from __future__ import annotations

import msgspec


class SettingType(msgspec.Struct, frozen=True, kw_only=True):
    """One setting. ``public`` ones are shown to everybody who is logged in; ``fixed`` ones cannot be changed."""

    name: str
    default: str = ""
    description: str = ""
    public: bool = False
    fixed: bool = False


SETTINGS: dict[str, SettingType] = {
    s.name: s
    for s in (
        SettingType(name="api.host", public=True, description="Host Registration URL: the base URL that agents use"),
        SettingType(
            name="api.security.enabled",
            default="true",
            public=True,
            description="Access control. 'false' makes everybody who can reach the server an administrator.",
        ),
        SettingType(
            name="api.auth.provider.configured",
            default="localauthconfig",
            public=True,
            fixed=True,
            description="How people log in; changed by enabling a provider's configuration",
        ),
        SettingType(name="rancher.server.version", fixed=True, public=True, description="Version that 1.x clients see"),
        SettingType(name="remuda.version", fixed=True, public=True, description="Version of this server"),
        SettingType(
            name="agent.image", default="remuda/agent", public=True, description="Image in the add-host command"
        ),
        SettingType(name="api.auth.jwt.token.expiry", default="57600000", description="Length of a login session, ms"),
        SettingType(
            name="events.purge.after.seconds", default="1209600", description="How long an object's history is kept"
        ),
        SettingType(
            name="audit_log.purge.after.seconds", default="7776000", description="How long the audit log is kept"
        ),
        SettingType(
            name="ha.enabled", default="false", public=True, description="Set when a cluster script was generated"
        ),
        SettingType(name="ha.cluster.size", default="0", public=True, description="Management nodes of the cluster"),
        SettingType(
            name="project.create.default", default="true", description="A new person gets an environment of their own"
        ),
        SettingType(
            name="network.subnet",
            default="10.42.0.0/16",
            public=True,
            description="Addresses of containers in environments made from now on; each environment can have its own",
        ),
        SettingType(
            name="lb.image",
            default="remuda/balancer",
            public=True,
            description="Image of load balancers that are made or changed from now on",
        ),
        SettingType(
            name="catalog.url",
            description='Git repositories of stack templates: {"catalogs": {"ours": {"url": "https://…", "branch": "main"}}}',
        ),
        SettingType(
            name="catalog.refresh.interval.seconds",
            default="300",
            description="How often catalogs are looked at for news",
        ),
        SettingType(
            name="host.dockersocket.enabled",
            default="true",
            public=True,
            description="'false': nobody is given a host's Docker socket, which owners may ask for otherwise",
        ),
        SettingType(
            name="network.encryption",
            default="ipsec",
            public=True,
            description="ipsec or plain: how traffic between hosts goes in environments made from now on",
        ),
    )
}

"""Types of who people are and what they like: logins by OpenID Connect, passwords, preferences.

Configurations of GitHub, LDAP and Active Directory are as 1.x published them (``schema/published/people.txt``); OpenID Connect
is ours.
"""

from __future__ import annotations

from remuda.core.model import Credential, UserPreference
from remuda.schema.fields import (
    ADMIN,
    BOOL,
    ENUM,
    LIST,
    PASSWORD,
    READADMIN,
    SERVICE,
    SUPERADMIN,
    Action,
    Field,
    ResourceType,
    common,
    reference,
)

ACCESS_MODES = ("unrestricted", "restricted", "required")
_SWITCH = (
    Action(name="activate", states=("inactive",), description="Let it be used again."),
    Action(name="deactivate", states=("active",), description="Refuse it until it is activated."),
    Action(name="remove", description="Remove it for good."),
)


def _private(who: str) -> Field:
    return Field(
        name="certificate", create=True, max_length=65535, description=f"CA of the {who}, PEM, if it is private"
    )


TYPES: tuple[ResourceType, ...] = (
    *(
        ResourceType(id=name, scope="installation", fields=(Field(name="id", computed=True), _private("directory")))
        for name in ("ldapconfig", "openldapconfig")
    ),
    ResourceType(
        id="oidcconfig",
        scope="installation",
        methods=("GET", "POST", "PUT"),
        rights={**dict.fromkeys((ADMIN, SERVICE, SUPERADMIN), "rlcua"), READADMIN: "rl"},
        fields=(
            Field(name="id", computed=True),
            Field(name="name"),
            Field(name="accessMode", type=ENUM, create=True, options=ACCESS_MODES, default="unrestricted", required=True),
            Field(name="allowedIdentities", type="array[identity]", create=True),
            Field(name="enabled", type=BOOL, create=True),
            Field(
                name="issuer",
                create=True,
                required=True,
                max_length=1024,
                description="https://..., below which /.well-known/openid-configuration is found",
            ),
            Field(name="clientId", create=True, required=True, max_length=1024),
            Field(name="clientSecret", type=PASSWORD, create=True, computed=True, max_length=4096),
            Field(name="scopes", type=LIST, create=True, default=["openid", "profile", "email"]),
            Field(name="loginClaim", create=True, default="preferred_username", max_length=128),
            Field(name="nameClaim", create=True, default="name", max_length=128),
            Field(name="groupsClaim", create=True, default="groups", max_length=128),
            _private("issuer"),
            Field(name="redirectUrl", computed=True, description="What the issuer must allow as address to return to"),
        ),
        description="Logins by OpenID Connect: Keycloak, Azure AD, Google, Okta, Dex and others.",
    ),
    ResourceType(
        id="password",
        record=Credential,
        kinds=("usernamePassword",),
        base="credential",
        scope="account",
        fields=(
            *common(accountId=Field(name="accountId", type=reference("account"), grants={ADMIN: "c"})),
            Field(name="publicValue", create=True, computed=True, required=True, max_length=128),
            Field(name="secretValue", type=PASSWORD, create=True, computed=True, read_on_create_only=True, max_length=4096),
        ),
        actions=(
            *_SWITCH,
            Action(
                name="changesecret",
                input="changeSecretInput",
                output="changeSecretInput",
                states=("active",),
                description="A new password for the old one; other sessions end.",
            ),
        ),
        description="A name and a password of an account.",
    ),
    ResourceType(
        id="userPreference",
        record=UserPreference,
        scope="account",
        fields=(
            *common(),
            Field(name="value", create=True, update=True, max_length=16777215),
            Field(name="all", type=BOOL, computed=True),
        ),
        actions=_SWITCH,
        description="What a person likes, for user interfaces to remember.",
    ),
)  # fmt: skip

"""From a configuration to the provider it describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remuda.adapters.identity.github import GitHub
from remuda.adapters.identity.ldap import Directory
from remuda.adapters.identity.oidc import OpenId
from remuda.ports.identity import Provider


class LoginProviders:
    """A :class:`remuda.ports.identity.Providers`. Providers keep no connection, so making one costs next to nothing."""

    def open(self, kind: str, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Provider:
        match kind:
            case "githubconfig":
                return GitHub(config, secrets)
            case "ldapconfig" | "openldapconfig":
                return Directory(kind.removesuffix("config"), config, secrets)
            case "oidcconfig":
                return OpenId(config, secrets)
        raise ValueError(f"type: there is no way to log in called '{kind}'")

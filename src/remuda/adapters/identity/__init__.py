"""Logins by somebody else's word: GitHub, directories (LDAP), issuers of OpenID Connect."""

from remuda.adapters.identity.directory import LoginProviders

__all__ = ["LoginProviders"]

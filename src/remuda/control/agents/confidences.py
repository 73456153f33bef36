"""What only some hosts may know: passwords of registries and values of secrets. Opened on the way to the hosts whose containers
need them, and nowhere else; never logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import msgspec

from remuda.control.agents.assignments import Assigner
from remuda.core import ids
from remuda.core.model import REMOVED, RUNNING, Instance, Registry, RegistryCredential, Secret
from remuda.core.secrets import access, header, referred, serves
from remuda.core.spec import LaunchConfig
from remuda.core.wire import Assignment
from remuda.ports.keyring import Keyring
from remuda.ports.store import ALIVE, Store, Tx, Where, eq

log = logging.getLogger(__name__)

CREDENTIAL, SECRET = RegistryCredential.SEALED["sealed"], Secret.SEALED["sealed"]
"""Purposes of sealing."""


class Logins:
    """The registries of some environments, with their passwords; each is opened at most once."""

    def __init__(
        self, keyring: Keyring, registries: Sequence[Registry], credentials: Sequence[RegistryCredential]
    ) -> None:
        self._keyring = keyring
        self._registries, self._credentials = registries, credentials
        self._opened: dict[int, str] = {}

    def auth(self, account_id: int, image: str, chosen: int | None = None) -> str:
        """``X-Registry-Auth`` for an image in an environment; empty when it is pulled without. ``chosen``: this one only."""
        own = [one for one in self._credentials if one.account_id == account_id and chosen in (None, one.id)]
        found = access(image, (r for r in self._registries if r.account_id == account_id), own) if own else None
        if found is None:
            return ""
        number = found.credential.id
        if number not in self._opened:
            password = unsealed(self._keyring, found.credential.sealed, CREDENTIAL, number)
            self._opened[number] = "" if password is None else header(found, password)
        return self._opened[number]


class Confidences:
    """What goes with the assignments of some instances."""

    def __init__(self, keyring: Keyring | None, logins: Logins | None, secrets: Sequence[Secret]) -> None:
        self._keyring, self._logins = keyring, logins
        self._secrets = {secret.id: secret for secret in secrets}
        self._values: dict[int, str | None] = {}

    def told(self, instance: Instance, wish: Assignment) -> Assignment:
        """The assignment with the password for its image, and with its secrets under the names of their files."""
        if self._keyring is None or wish.desired == REMOVED or wish.native:
            return wish
        spec = wish.spec
        auth = self._logins.auth(instance.account_id, spec.image, spec.registry_credential_id) if self._logins else ""
        if not auth and not wish.spec.secrets:
            return wish
        spec, values = self._files(instance.account_id, wish.spec)
        return msgspec.structs.replace(wish, registry_auth=auth, spec=spec, secrets=values)

    def _files(self, account_id: int, spec: LaunchConfig) -> tuple[LaunchConfig, dict[str, str]]:
        values: dict[str, str] = {}
        named = []
        for reference in spec.secrets:
            secret = self._secrets.get(ids.number(reference.secret_id) or 0)
            known = secret is not None and secret.account_id == account_id
            name = reference.name or (secret.name if secret is not None and known else reference.secret_id)
            named.append(msgspec.structs.replace(reference, name=name))
            value = self._value(secret) if secret is not None and known else None
            if value is not None:
                values[name] = value
        return (msgspec.structs.replace(spec, secrets=named) if named else spec), values

    def _value(self, secret: Secret) -> str | None:
        assert self._keyring is not None
        if secret.id not in self._values:
            self._values[secret.id] = unsealed(self._keyring, secret.sealed, SECRET, secret.id)
        return self._values[secret.id]


def unsealed(keyring: Keyring, sealed: str, purpose: str, number: int) -> str | None:
    """The plain text; None, with a line in the log, when it cannot be opened."""
    try:
        return keyring.unseal(sealed, purpose)
    except ValueError as error:
        log.error("%s %d cannot be opened: %s", purpose, number, error)
        return None


async def confidences_of(store: Store, keyring: Keyring | None, instances: Sequence[Instance]) -> Confidences:
    """What there is to tell with these instances; nothing is read where there are none."""
    if keyring is None or not instances:
        return Confidences(None, None, ())
    found = await store.read(lambda tx: _read(tx, instances))
    return Confidences(keyring, Logins(keyring, found[0], found[1]) if found[1] else None, found[2])


def _read(tx: Tx, instances: Sequence[Instance]) -> tuple[list[Registry], list[RegistryCredential], list[Secret]]:
    registries, credentials = logins_in(tx, {i.account_id for i in instances})
    numbers = sorted(referred(*(i.spec for i in instances if i.spec.secrets)))
    return registries, credentials, tx.find(Secret, Where("id", "in", numbers), ALIVE) if numbers else []


def logins_in(tx: Tx, accounts: Iterable[int]) -> tuple[list[Registry], list[RegistryCredential]]:
    """The registries of these environments that have credentials, and those."""
    own = Where("account_id", "in", sorted(accounts))
    credentials = tx.find(RegistryCredential, own, ALIVE)
    return (tx.find(Registry, own, ALIVE), credentials) if credentials else ([], [])


def tell_waiting(tx: Tx, registry: Registry) -> None:
    """There is another password for a registry: hosts that could not pull from it yet try again at once."""
    assigner = Assigner(tx)
    waiting = (eq("account_id", registry.account_id), eq("desired", RUNNING), eq("external_id", ""), ALIVE)
    for instance in tx.find(Instance, *waiting, Where("host_id", "notnull")):
        if not instance.native and serves(registry, instance.spec.image):
            assigner.tell(instance)
    assigner.close()

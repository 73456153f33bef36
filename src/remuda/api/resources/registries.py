"""Registries and the credentials for them: sealed when they come in, told to hosts that wait for an image, never shown."""

from __future__ import annotations

from typing import Any

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.control.agents.confidences import CREDENTIAL, tell_waiting
from remuda.core import secrets
from remuda.core.model import Account, Record, Registry, RegistryCredential
from remuda.ports.store import ALIVE, Tx, eq


class Registries(Behaviour):
    """One row per address in an environment; its credentials end with it."""

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        try:
            values["serverAddress"] = secrets.address(values["serverAddress"])
        except ValueError as problem:
            raise ApiError(422, "InvalidFormat", f"'serverAddress': {problem}.", field="serverAddress") from None
        owner = self.owner(tx, ctx)
        tx.hold(Account, owner)
        same = (eq("account_id", owner), eq("server_address", values["serverAddress"]), ALIVE)
        if tx.first(Registry, *same) is not None:
            raise ApiError(
                422,
                "NotUnique",
                f"There already is a registry {values['serverAddress']} here: add a credential to that one.",
                field="serverAddress",
            )
        return super().create(tx, ctx, values)

    def activate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        changed = super().activate(tx, ctx, record, values)
        tell_waiting(tx, record)
        return changed

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        for credential in tx.find(RegistryCredential, eq("registry_id", record.id), ALIVE):
            tx.update(credential, desired="removed", removed=tx.now(), sealed="")
        return super().remove(tx, ctx, record, values)


class RegistryCredentials(Behaviour):
    """A user and a password for one registry."""

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        row = {**self.fill(tx, ctx, values), "sealed": self._sealed(ctx, values)}
        made = tx.insert(RegistryCredential(**row))
        self._tell(tx, made)
        return made

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        changes = self.attributes(values)
        if values.get("secretValue"):
            changes["sealed"] = self._sealed(ctx, values)
        changed = tx.update(record, **changes)
        if changed is not record:
            self._tell(tx, changed)
        return changed  # type: ignore[no-any-return]

    def activate(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        changed = super().activate(tx, ctx, record, values)
        self._tell(tx, record)
        return changed

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        return tx.update(record, desired="removed", removed=tx.now(), sealed="")  # type: ignore[no-any-return]

    @staticmethod
    def _sealed(ctx: Context, values: Values) -> str:
        return ctx.api.keyring.seal(values.get("secretValue") or "", CREDENTIAL)

    @staticmethod
    def _tell(tx: Tx, credential: RegistryCredential) -> None:
        registry = tx.get(Registry, credential.registry_id)
        if registry is not None:
            tell_waiting(tx, registry)

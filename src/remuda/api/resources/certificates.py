"""Certificates for load balancers: checked when they come in, the key sealed at once and never shown again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from remuda.api.behaviour import Behaviour, Values
from remuda.api.context import Context
from remuda.api.errors import ApiError
from remuda.api.render import Extra
from remuda.control.agents.certificates import PURPOSE, tell_again, users_of
from remuda.core import ids
from remuda.core.model import Certificate, Record
from remuda.ports.store import ALIVE, Tx, eq

DAY, WARN_DAYS = 86_400, 30


class Certificates(Behaviour):
    """PEM texts, and what can be read from them."""

    def create(self, tx: Tx, ctx: Context, values: Values) -> Record:
        self._unique(tx, self.owner(tx, ctx), values["name"])
        row = {**self.fill(tx, ctx, values), **_judged(values["cert"], values.get("certChain") or "", values["key"])}
        row["sealed_key"] = ctx.api.keyring.seal(values["key"], PURPOSE)
        return tx.insert(Certificate(**row))

    def update(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        changes = self.attributes(values)
        if changes.get("name", record.name) != record.name:
            self._unique(tx, record.account_id, changes["name"])
        if {"cert", "certChain", "key"} & values.keys():
            key = values.get("key") or ctx.api.keyring.unseal(record.sealed_key, PURPOSE)
            chain = values["certChain"] or "" if "certChain" in values else record.chain
            changes |= _judged(values.get("cert") or record.cert, chain, key)
            if values.get("key"):
                changes["sealed_key"] = ctx.api.keyring.seal(key, PURPOSE)
        changed = tx.update(record, **changes)
        for service in users_of(tx, record.account_id, record.id):
            tell_again(tx, service)
        return changed  # type: ignore[no-any-return]

    def remove(self, tx: Tx, ctx: Context, record: Any, values: Values) -> Record:
        users = users_of(tx, record.account_id, record.id)
        if users:
            names = ", ".join(service.name for service in users[:4])
            raise ApiError(422, "InvalidState", f"It is used by {names}: give those another certificate first.")
        return super().remove(tx, ctx, record, values)

    def extra(self, tx: Tx, ctx: Context, records: Sequence[Any]) -> Extra:
        now = time.time()
        return {
            r.id: {
                "usedBy": [ids.public("service", s.id) for s in users_of(tx, r.account_id, r.id)],
                "warning": warning(r, now),
            }
            for r in records
        }

    @staticmethod
    def _unique(tx: Tx, account_id: int, name: str) -> None:
        if tx.first(Certificate, eq("account_id", account_id), eq("name", name), ALIVE) is not None:
            raise ApiError(422, "NotUnique", f"There already is a certificate '{name}' here.", field="name")


def warning(certificate: Certificate, now: float) -> str:
    """What to do before a certificate ends, ``now`` being seconds since 1970. It is shown, and decides nothing."""
    left = (certificate.expires_at or 0) / 1000 - now
    if left > WARN_DAYS * DAY:
        return ""
    if left <= 0:
        return "It has ended: clients refuse it. Replace it with a new one."
    days = int(left // DAY)
    soon = "in less than a day" if days < 1 else f"in {days} day{'s' if days > 1 else ''}"
    return f"It ends {soon}. Replace it with a new one before."


def _judged(cert: str, chain: str, key: str) -> dict[str, Any]:
    """What can be read from a certificate; refuses what could not be served."""
    leaf = _certificates(cert, "cert")[0]
    if chain.strip():
        links = _certificates(chain, "certChain")
        if leaf.issuer != links[0].subject:
            raise ApiError(
                422, "InvalidFormat", "'certChain' does not begin with the certificate's issuer "
                f"({leaf.issuer.rfc4514_string()}).", field="certChain",
            )  # fmt: skip
    try:
        private = serialization.load_pem_private_key(key.strip().encode(), None)
    except TypeError:
        raise ApiError(422, "InvalidFormat", "'key' has a passphrase; give it without one.", field="key") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ApiError(422, "InvalidFormat", "'key' is no private key in PEM form.", field="key") from None
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise ApiError(422, "InvalidOption", "'key' does not belong to this certificate.", field="key")
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        alternative = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    except x509.ExtensionNotFound:
        alternative = []
    common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return {
        "cert": cert,
        "chain": chain,
        "common_name": str(common[0].value)[:255] if common else "",
        "alternative_names": alternative,
        "issuer": leaf.issuer.rfc4514_string(),
        "algorithm": leaf.signature_hash_algorithm.name if leaf.signature_hash_algorithm else "",
        "fingerprint": hashlib.sha256(leaf.public_bytes(serialization.Encoding.DER)).hexdigest(),
        "key_size": int(getattr(leaf.public_key(), "key_size", 0)),
        "issued_at": int(leaf.not_valid_before_utc.timestamp() * 1000),
        "expires_at": int(leaf.not_valid_after_utc.timestamp() * 1000),
    }


def _certificates(pem: str, field: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.strip().encode())
    except ValueError:
        raise ApiError(
            422, "InvalidFormat", f"'{field}' is no certificate in PEM form (-----BEGIN CERTIFICATE-----).", field=field
        ) from None

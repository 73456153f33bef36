"""Certificates of a cluster: its own CA for the talk between nodes, and the one that browsers and hosts see.

Every node holds the key of the cluster CA (it came with the script) and issues its own certificate, so that a node whose
address changed, or a new one, needs nobody's help. Therefore whoever holds a certificate of this CA *is* the cluster: names in
it are for readers, not for authorisation. The front certificate is the operator's own, checked here in every way that can go
wrong later, or one under a small CA made for this generation, whose fingerprint hosts are told when they register.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 7300
NODE_DAYS = 3650
FRONT_DAYS = 825
"""The longest validity that all browsers accept for a certificate under a private CA."""
RENEW_BEFORE = timedelta(days=60)
_SKEW = timedelta(days=1)
"""Clocks of nodes differ; a certificate made now must be valid on a machine that lives a little in the past."""


class CertificateInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What may be said about a certificate in public."""

    subject: str
    issuer: str
    not_before: str
    not_after: str
    names: list[str]
    fingerprint: str
    chain: list[str] = []
    """Fingerprints of the chain, from the issuer upwards."""


class CertificateProblem(msgspec.Struct, frozen=True):
    """Something wrong with the operator's own certificate, key or chain."""

    field: str
    code: str
    message: str
    severity: Literal["error", "warning"] = "error"


class Pair(msgspec.Struct, frozen=True):
    """A certificate with its key, both PEM (the key PKCS#8, unencrypted)."""

    cert: str
    key: str


def fingerprint(cert: str) -> str:
    """SHA-256 of the DER form in plain hex: what ``CA_FINGERPRINT`` expects."""
    return hashlib.sha256(_load(cert).public_bytes(serialization.Encoding.DER)).hexdigest()


def new_ca(name: str, now: datetime) -> Pair:
    """A fresh CA that may sign end certificates only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    builder = (
        _builder(subject, subject, key, now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
    )
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def issue(ca: Pair, name: str, names: Sequence[str], now: datetime, days: int = NODE_DAYS) -> Pair:
    """A certificate for client and server use; ``names`` may be host names and addresses."""
    ca_cert = _load(ca.cert)
    ca_key = serialization.load_pem_private_key(ca.key.encode(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = (
        _builder(_subject(name), ca_cert.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(issuer_id, critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
    )
    return Pair(_pem(builder.sign(ca_key, hashes.SHA256())), _key_pem(key))


def names_of(cert: str) -> list[str]:
    """The names and addresses a certificate covers."""
    return _names(_load(cert))


def needs_renewal(cert: str, now: datetime) -> bool:
    """Does it end so soon that a new one should be made today?"""
    return _load(cert).not_valid_after_utc - now < RENEW_BEFORE


def days_left(cert: str, now: datetime) -> int:
    """Whole days until it ends; negative when it has."""
    return (_load(cert).not_valid_after_utc - now).days


def inspect_own(
    cert: str, chain: str, key: str, host: str, now: datetime
) -> tuple[CertificateInfo | None, list[CertificateProblem]]:
    """Judge what an operator uploaded. All problems at once, each with its own code and its fix."""
    wrong: list[CertificateProblem] = []
    leaf, extra = _parse_leaf(cert, wrong)
    links = [*extra, *_parse_chain(chain, wrong)]
    private = _parse_key(key, wrong)
    if leaf is None:
        return None, wrong
    if private is not None and _public(private.public_key()) != _public(leaf.public_key()):
        message = "The key does not belong to this certificate. Upload the key that its request was made with."
        wrong.append(CertificateProblem("key", "KeyMismatch", message))
    wrong += _date_problems(leaf, now)
    wrong += _name_problems(leaf, host)
    wrong += _chain_problems(leaf, links, now)
    return _info(leaf, links), wrong


def trust_anchor(cert: str, chain: str) -> str:
    """The self-signed certificate at the top of an uploaded chain, PEM, or empty: what hosts may pin."""
    for item in reversed(x509.load_pem_x509_certificates("\n".join((cert, chain)).encode())):
        if item.subject == item.issuer:
            return _pem(item)
    return ""


# ---------------------------------------------------------------- the parts of an inspection


def _parse_leaf(text: str, wrong: list[CertificateProblem]) -> tuple[x509.Certificate | None, list[x509.Certificate]]:
    if not text:
        message = "A key or chain was given without its certificate. Upload the certificate too, or none of them."
        wrong.append(CertificateProblem("cert", "CertificateMissing", message))
        return None, []
    try:
        found = x509.load_pem_x509_certificates(text.encode())
        for item in found:
            item.public_key()
            _names(item)
    except ValueError:
        message = "This is not a PEM certificate. It must begin with '-----BEGIN CERTIFICATE-----' and be complete."
        if "PRIVATE KEY-----" in text:
            message = "This is a private key; it belongs into the field for the key. Upload the certificate here."
        wrong.append(CertificateProblem("cert", "CertificateUnreadable", message))
        return None, []
    return found[0], found[1:]


def _parse_chain(text: str, wrong: list[CertificateProblem]) -> list[x509.Certificate]:
    if not text:
        return []
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        message = "The chain is not a list of PEM certificates. Paste the issuer's certificates one below the other."
        wrong.append(CertificateProblem("certChain", "ChainUnreadable", message))
        return []


def _parse_key(text: str, wrong: list[CertificateProblem]) -> PrivateKeyTypes | None:
    if not text:
        message = "The certificate needs its private key. Upload it too, or leave out the certificate."
        wrong.append(CertificateProblem("key", "KeyMissing", message))
        return None
    if "ENCRYPTED" in text:
        message = (
            "The key is protected by a passphrase, which nobody could type when a node starts. "
            "Decrypt it first: openssl pkey -in key.pem -out key-plain.pem"
        )
        wrong.append(CertificateProblem("key", "KeyEncrypted", message))
        return None
    try:
        return serialization.load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError):
        message = "This is not a PEM private key. It must begin with '-----BEGIN PRIVATE KEY-----' (or RSA/EC) and be complete."
        wrong.append(CertificateProblem("key", "KeyUnreadable", message))
        return None


def _date_problems(leaf: x509.Certificate, now: datetime) -> list[CertificateProblem]:
    until, since = leaf.not_valid_after_utc, leaf.not_valid_before_utc
    if until <= now:
        message = f"The certificate expired on {until:%Y-%m-%d}. Get a new one from its issuer."
        return [CertificateProblem("cert", "CertificateExpired", message)]
    if since > now:
        message = (
            f"The certificate is not valid before {since:%Y-%m-%d %H:%M} UTC. Check it, and the clock of this machine."
        )
        return [CertificateProblem("cert", "CertificateNotYetValid", message)]
    if until - now < timedelta(days=30):
        message = f"The certificate ends in {(until - now).days} days. Renew it soon; a new generation takes it up."
        return [CertificateProblem("cert", "CertificateEndsSoon", message, "warning")]
    return []


def _name_problems(leaf: x509.Certificate, host: str) -> list[CertificateProblem]:
    names = _names(leaf)
    if not host or any(_covers(name, host) for name in names):
        return []
    has = ", ".join(names) if names else "no names at all"
    message = (
        f"The certificate is not for {host}, the host of the registration URL; it covers {has}. "
        "Browsers and hosts would refuse it: use another certificate or another URL."
    )
    return [CertificateProblem("cert", "SanMismatch", message)]


def _chain_problems(leaf: x509.Certificate, links: list[x509.Certificate], now: datetime) -> list[CertificateProblem]:
    wrong: list[CertificateProblem] = []
    if not links and leaf.subject != leaf.issuer:
        message = f"The chain is empty. Unless {_rdn(leaf.issuer)} is a root that hosts know, add its certificate."
        wrong.append(CertificateProblem("certChain", "ChainMissing", message, "warning"))
    lower = leaf
    for index, link in enumerate(links, 1):
        if not _issued(lower, link):
            message = (
                f"Certificate {index} of the chain ({_rdn(link.subject)}) did not issue the one before it "
                f"({_rdn(lower.subject)}, issued by {_rdn(lower.issuer)}). Order them from the issuer upwards."
            )
            return [*wrong, CertificateProblem("certChain", "ChainOrder", message)]
        if link.not_valid_after_utc <= now:
            message = f"{_rdn(link.subject)} in the chain expired on {link.not_valid_after_utc:%Y-%m-%d}. Get the current chain."
            wrong.append(CertificateProblem("certChain", "ChainExpired", message))
        lower = link
    return wrong


def _issued(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    try:
        lower.verify_directly_issued_by(upper)
    except Exception:  # any failure, of whatever kind, means: it did not
        return False
    return True


def _covers(name: str, host: str) -> bool:
    if name.startswith("*."):
        head, _, tail = host.partition(".")
        return bool(head) and tail == name[2:].lower()
    return _same_name(name, host)


def _same_name(name: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(host)
    except ValueError:
        return name.lower().rstrip(".") == host.lower()


def _info(leaf: x509.Certificate, links: list[x509.Certificate]) -> CertificateInfo:
    return CertificateInfo(
        subject=leaf.subject.rfc4514_string(),
        issuer=leaf.issuer.rfc4514_string(),
        not_before=f"{leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        not_after=f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        names=_names(leaf),
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        chain=[link.fingerprint(hashes.SHA256()).hex() for link in links],
    )


# ---------------------------------------------------------------- small tools


def _load(cert: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(cert.encode())


def _names(cert: x509.Certificate) -> list[str]:
    try:
        san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*san.get_values_for_type(x509.DNSName), *(str(ip) for ip in san.get_values_for_type(x509.IPAddress))]


def _rdn(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string() or "an unnamed issuer"


def _public(key: object) -> bytes:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(encoding, form)  # type: ignore[attr-defined,no-any-return]


def _pem(cert: x509.Certificate) -> str:
    return cert.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


def _subject(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Remuda"),
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days) - _SKEW)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found

"""RS256: the tokens for streams, which 1.x's hosts checked with a certificate that everybody can read.

The pair is made once per installation and kept in the database, sealed under the root key: unlike all other keys it cannot
be derived from that, because RSA keys are found, not chosen.
"""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

BITS = 2048
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


def new_pair() -> str:
    """A private key and a certificate that it signed itself, both PEM. The certificate outlives the installation: who checks
    tokens with it wants the key in it, and nothing else."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Remuda")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=36_500))
        .sign(key, SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (private + certificate.public_bytes(serialization.Encoding.PEM)).decode()


class RsaSigner:
    """Implements :class:`remuda.ports.keyring.Signer`."""

    def __init__(self, pem: str) -> None:
        private, _, rest = pem.partition(_CERTIFICATE)
        self._key = RSAKey.import_key(private)
        self.certificate = _CERTIFICATE + rest
        self._id = hashlib.sha256(self.certificate.encode()).hexdigest()[:16]

    def sign(self, claims: dict[str, Any], seconds: int) -> str:
        """A token; ``kid`` says by which key."""
        body = {**claims, "kid": self._id, "exp": int(time.time()) + seconds}
        return jwt.encode({"alg": "RS256", "kid": self._id}, body, self._key)

    def verify(self, token: str) -> dict[str, Any] | None:
        """Its claims, None for everybody else's tokens and for those that have ended."""
        try:
            claims = jwt.decode(token, self._key, algorithms=["RS256"]).claims
        except (JoseError, ValueError, TypeError):
            return None
        return claims if claims.get("exp", 0) > time.time() else None

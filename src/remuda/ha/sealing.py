"""Sealed text: ``remuda1:`` + base64 of nonce and AES-256-GCM ciphertext, under a 32-byte key.

The nonce is derived from key and text, so that sealing the same text twice gives the same bytes: a start-up script must not
change because it was downloaded again. What that costs: equal texts under one key are seen to be equal.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "remuda1:"
KEY_SIZE = 32


class SealError(Exception):
    """The text cannot be opened; the message says what to look at and never holds a secret."""


def seal(key: bytes, text: str) -> str:
    """Encrypt ``text``; the same key and text always give the same result."""
    nonce = hmac.new(key, b"remuda1 nonce\0" + text.encode(), hashlib.sha256).digest()[:12]
    return PREFIX + base64.b64encode(nonce + AESGCM(key).encrypt(nonce, text.encode(), PREFIX.encode())).decode()


def unseal(key: bytes, sealed: str) -> str:
    """The text; what does not carry the prefix is taken as plain text, as the original did."""
    if not sealed.startswith(PREFIX):
        return sealed
    try:
        raw = base64.b64decode(sealed.removeprefix(PREFIX), validate=True)
        return AESGCM(key).decrypt(raw[:12], raw[12:], PREFIX.encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise SealError(
            "a sealed value does not open with this key: key file and value are of different generations"
        ) from error


def read_key(text: str) -> bytes:
    """A key from the base64 text of its file."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError as error:
        raise SealError("the key file is not base64") from error
    if len(key) != KEY_SIZE:
        raise SealError(f"the key file must hold {KEY_SIZE} bytes in base64, it holds {len(key)}")
    return key

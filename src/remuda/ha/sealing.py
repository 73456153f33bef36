"""Sealed text that never changes by being sealed again: what the keyring opens, made with a nonce derived from the text.

The form is the keyring's (``remuda1:`` + URL-safe base64 of nonce and AES-256-GCM ciphertext, under a key derived from the root
key by purpose), so any server can open it. A start-up script must be the same bytes however often it is downloaded; hence the
derived nonce. What that costs: equal texts under one key and purpose are seen to be equal.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PREFIX = "remuda1:"
KEY_SIZE = 32
DATABASE = "database"
"""The purpose under which the database password is sealed."""


class SealError(Exception):
    """The text cannot be opened; the message says what to look at and never holds a secret."""


def _derive(root: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), KEY_SIZE, salt=None, info=b"remuda/seal/" + purpose.encode()).derive(root)


def seal(root: bytes, text: str, purpose: str = DATABASE) -> str:
    """Encrypt ``text``; the same key and text always give the same result."""
    key = _derive(root, purpose)
    nonce = hmac.new(key, b"nonce\0" + text.encode(), hashlib.sha256).digest()[:12]
    return (
        PREFIX + base64.urlsafe_b64encode(nonce + AESGCM(key).encrypt(nonce, text.encode(), purpose.encode())).decode()
    )


def unseal(root: bytes, sealed: str, purpose: str = DATABASE) -> str:
    """The text; what does not carry the prefix is taken as plain text."""
    if not sealed.startswith(PREFIX):
        return sealed
    try:
        raw = base64.urlsafe_b64decode(sealed.removeprefix(PREFIX))
        return AESGCM(_derive(root, purpose)).decrypt(raw[:12], raw[12:], purpose.encode()).decode()
    except (InvalidTag, ValueError) as error:
        message = "a sealed value does not open with this key: key file and value are of different generations"
        raise SealError(message) from error


def read_key(text: str) -> bytes:
    """A root key from the base64 text of its file."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError as error:
        raise SealError("the key file is not base64") from error
    if len(key) != KEY_SIZE:
        raise SealError(f"the key file must hold {KEY_SIZE} bytes in base64, it holds {len(key)}")
    return key

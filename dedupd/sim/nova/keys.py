"""SSH keys: generation and fingerprints, as Nova does them (nova/crypto.py)."""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

KEY_BITS = 2048


class GeneratedKey(msgspec.Struct, frozen=True):
    """A new key: the private half in PEM, the public half in OpenSSH's form."""

    private_key: str
    public_key: str


def generate_rsa_key() -> GeneratedKey:
    """Generate a usable RSA key of 2048 bits (some 50 ms of CPU)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return GeneratedKey(private.decode(), f"{public.decode()} Generated-by-Nova")


def ssh_fingerprint(public_key: str) -> str:
    """Return the MD5 fingerprint of a public key in OpenSSH's form; ValueError if it is none."""
    try:
        blob = base64.b64decode(public_key.split(" ")[1])
        serialization.load_ssh_public_key(public_key.encode())
    except (IndexError, binascii.Error, UnsupportedAlgorithm) as error:
        raise ValueError(f"not a public key: {error}") from error
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))

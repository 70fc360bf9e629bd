"""SSH keys as Nova generates them (nova/crypto.py ``generate_key_pair``)."""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

KEY_BITS = 2048


class GeneratedKey(msgspec.Struct, frozen=True):
    """A new key: the private half in PEM, the public half in OpenSSH's form."""

    private_key: str
    public_key: str


def generate() -> GeneratedKey:
    """A new RSA key; takes some 50 to 100 ms of CPU, without the interpreter lock."""
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

"""Fingerprints of SSH keys, as Nova makes them (nova/crypto.py)."""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization


def ssh_fingerprint(public_key: str) -> str:
    """Return the MD5 fingerprint of a public key in OpenSSH's form; ValueError if it is none."""
    try:
        blob = base64.b64decode(public_key.split(" ")[1])
        serialization.load_ssh_public_key(public_key.encode())
    except (IndexError, binascii.Error, UnsupportedAlgorithm) as error:
        raise ValueError(f"not a public key: {error}") from error
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))

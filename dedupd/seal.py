"""Keys, and sealing what a record carries (AES-256-GCM).

The key file is text, one key a line, ``#`` begins a comment::

    identity <64 hexadecimal digits>
    seal 1 <64 hexadecimal digits>
    seal 2 <64 hexadecimal digits>

The *identity* key turns tokens into ids and bodies into fingerprints: it must never change, or
used tokens would look new. The last *seal* key seals; every one opens.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dedupd.errors import ConfigError, DedupdError

FORMAT = 1
_NONCE_BYTES = 12
_HEADER_BYTES = 2 + _NONCE_BYTES
_LINE = re.compile(r"(?:(identity)|seal ([1-9][0-9]{0,2})) ([0-9a-fA-F]{64})")

SAME_EVERYWHERE = (
    "Copy the one that the other fronts and workers have; only for the very first start `dedupd "
    "key generate FILE` makes one."
)
"""What to do about a key file that is missing or no good: other keys open no records."""


class Unsealable(DedupdError):
    """A sealed value was changed, belongs to another record, or its key is not in this key file.

    It says nothing of whether the request was carried out, so it is no 503. Another process may
    have the key: the same request may be repeated.
    """


class Keys:
    """The identity key, and the keys that seal and open."""

    def __init__(
        self,
        identity: bytes,
        seals: Mapping[int, bytes],
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Take the keys (32 bytes each); the last of ``seals``, in their order, seals.

        ``entropy`` gives as many random bytes as it is asked for.
        """
        self.identity = identity
        self._ciphers = {number: AESGCM(key) for number, key in seals.items()}
        self._current = list(seals)[-1]
        self._entropy = entropy

    @property
    def check(self) -> str:
        """A value that tells whether a database was written with the same identity key."""
        return hmac.digest(self.identity, b"dedupd identity check", hashlib.sha256).hex()

    def seal(self, plain: bytes, context: str) -> bytes:
        """Seal; opens only with the same ``context`` (which record, which part of it)."""
        nonce = self._entropy(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, plain, context.encode())
        return bytes((FORMAT, self._current)) + nonce + sealed

    def open(self, sealed: bytes, context: str) -> bytes:
        """Open what ``seal`` made.

        Raises:
            Unsealable: changed, of another context, or its key is not in the key file.
        """
        if len(sealed) < _HEADER_BYTES or sealed[0] != FORMAT:
            raise Unsealable("A sealed value in the store has an unknown format.")
        cipher = self._ciphers.get(sealed[1])
        if cipher is None:
            raise Unsealable(
                f"A record was sealed with key {sealed[1]}, which the key file ([seal] key_file) "
                "of this process does not hold; it needs that line until the record has expired."
            )
        try:
            return cipher.decrypt(sealed[2:_HEADER_BYTES], sealed[_HEADER_BYTES:], context.encode())
        except InvalidTag:
            raise Unsealable(
                f"A sealed value in the store does not open with key {sealed[1]}: it was changed, "
                "or the key file ([seal] key_file) holds another key under that number."
            ) from None


def load(path: Path) -> Keys:
    """Read a key file.

    Raises:
        ConfigError: missing, readable by everyone, or malformed; the message names the line.
    """
    try:
        text = path.read_text()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"[seal] key_file: {path} cannot be read ({_reason(error)}). {SAME_EVERYWHERE}"
        ) from None
    if mode & stat.S_IRWXO:
        raise ConfigError(
            f"[seal] key_file: {path} may be read by every user of this machine; it must be kept "
            f"to its owner and group: chmod 600 {path}"
        )
    return parse(text, str(path))


def parse(text: str, origin: str) -> Keys:
    """The keys of a key file's text; ``origin`` names it in errors.

    Raises:
        ConfigError: malformed, a key twice, or one of the two kinds missing.
    """
    identities: list[bytes] = []
    seals: dict[int, bytes] = {}
    for number, line in _lines(text):
        match = _LINE.fullmatch(line)
        if match is None:
            raise _malformed(
                origin, f"line {number} is none of 'identity HEX', 'seal NUMBER HEX' (64 digits)"
            )
        if match[1]:
            identities.append(bytes.fromhex(match[3]))
        elif int(match[2]) > 255 or int(match[2]) in seals:
            raise _malformed(
                origin, f"line {number}: a seal key's number is 1 to 255, each given once"
            )
        else:
            seals[int(match[2])] = bytes.fromhex(match[3])
    if len(identities) != 1 or not seals:
        raise _malformed(origin, "it must hold one identity key and at least one seal key")
    return Keys(identities[0], seals)


def generate() -> str:
    """The text of a new key file."""
    return (
        "# dedupd's keys: secret, and the same on every front and worker.\n"
        "# The identity key must never change; `seal` keys may be added, the last one seals.\n"
        f"identity {secrets.token_hex(32)}\n"
        f"seal 1 {secrets.token_hex(32)}\n"
    )


def create(path: Path) -> None:
    """Write a new key file, readable by its owner alone, whole or not at all.

    Raises:
        FileExistsError: it is there already; a key file is never overwritten.
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(generate())
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        plain = " ".join(line.partition("#")[0].split())
        if plain:
            yield number, plain


def _malformed(origin: str, what: str) -> ConfigError:
    return ConfigError(f"[seal] key_file: {origin}: {what}. {SAME_EVERYWHERE}")


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not text"

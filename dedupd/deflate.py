"""What is kept in great numbers, made small: deflate (RFC 1951) with a preset dictionary.

A record or an answer is a kilobyte that looks like all others: by itself it would shrink by a half,
beside an example of its kind it shrinks to a quarter, within a few microseconds.
"""

from __future__ import annotations

import zlib

_FORMAT = b"\x01"
_LEVEL = 1
_WINDOW = -12  # 4 KiB, without zlib's header
_MEMORY = 5


class Deflate:
    """Packs what resembles ``dictionary``.

    What one dictionary has packed, no other unpacks: it must stay as it is for as long as anything
    is kept.
    """

    def __init__(self, dictionary: bytes) -> None:
        self._dictionary = dictionary

    def pack(self, plain: bytes) -> bytes:
        """Make it small."""
        deflate = zlib.compressobj(
            _LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY, zlib.Z_DEFAULT_STRATEGY, self._dictionary
        )
        return _FORMAT + deflate.compress(plain) + deflate.flush()

    def unpack(self, packed: bytes) -> bytes:
        """What was packed.

        Raises:
            ValueError: it was not packed like this.
        """
        if packed[:1] != _FORMAT:
            raise ValueError("it is packed in an unknown format")
        inflate = zlib.decompressobj(_WINDOW, self._dictionary)
        try:
            plain = inflate.decompress(packed[1:])
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if not inflate.eof or inflate.unused_data:
            raise ValueError("it is not whole")
        return plain

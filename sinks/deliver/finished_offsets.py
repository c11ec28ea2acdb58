"""Finished offsets in the note of a committed offset: bits after it, compressed, in base64. Pure."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable
from typing import Final

from broker_events.sinks.deliver.window import MOST_OFFSETS

_MOST_BYTES: Final = MOST_OFFSETS // 8 + 1


def encode_finished(offset: int, finished: Iterable[int]) -> str | None:
    """Return the finished offsets after `offset` as text, None if there are none."""
    bits = 0
    for each in finished:
        bits |= 1 << (each - offset)
    if not bits:
        return None
    packed = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
    return base64.b64encode(min(zlib.compress(packed, 9), b"\0" + packed, key=len)).decode()


def decode_finished(offset: int, text: str | None) -> frozenset[int]:
    """Return the finished offsets after `offset`; none for a text that this didn't write: alerts are sent again."""
    if text is None:
        return frozenset()
    try:
        content = base64.b64decode(text, validate=True)
        packed = content[1:] if content[:1] == b"\0" else zlib.decompressobj().decompress(content, _MOST_BYTES)
    except (binascii.Error, zlib.error):
        return frozenset()
    bits = int.from_bytes(packed, "little")
    return frozenset(offset + place for place in range(bits.bit_length()) if bits >> place & 1)

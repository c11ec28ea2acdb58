"""Avro's binary form of single values in storage form, to write and to read: what `record_source` builds on.

All functions raise whatever comes up for what is unusual; the caller then asks fastavro.
"""

from collections.abc import Callable
from typing import Any

from schemas.avro_pieces import LENGTH, NULL, SOME, SOME_LENGTH, long

__all__ = ["LENGTH", "NULL", "SOME", "SOME_LENGTH", "long"]

_CONTINUES = 0x80
_EIGHT_BYTES_LONG = 0x0080808080808080
_CONTINUATION_BITS = 0x8080808080808080

BOOLEAN = {False: b"\x00", True: b"\x01"}
TRUTH = {0: False, 1: True}
# By first byte: the length that one byte holds, or -1 where it is longer or negative.
SHORT_LENGTH = tuple(-1 if byte & 1 or byte >= _CONTINUES else byte >> 1 for byte in range(256))


def write_long(number: int) -> bytes:
    return LENGTH[number] if 0 <= number < len(LENGTH) else long(number)


def write_string(text: str) -> bytes:
    encoded = text.encode()
    return LENGTH[len(encoded)] + encoded


def write_array(items: list[Any], write: Callable[[Any], bytes]) -> bytes:
    return b"".join((LENGTH[len(items)], *map(write, items), NULL)) if items else NULL


def write_map(entries: dict[str, Any], write: Callable[[Any], bytes]) -> bytes:
    if not entries:
        return NULL
    pieces = (write_string(key) + write(value) for key, value in entries.items())
    return b"".join((LENGTH[len(entries)], *pieces, NULL))


def read_long(b: bytes, i: int) -> tuple[int, int]:
    """The int or long at `i`, and the index behind it."""
    first = b[i]
    if first < _CONTINUES:
        return (first >> 1) ^ -(first & 1), i + 1
    word = int.from_bytes(b[i : i + 8], "little")
    if word & _CONTINUATION_BITS == _EIGHT_BYTES_LONG:  # as every time of the years 1979 to 2255 in microseconds
        word &= 0x7F7F7F7F7F7F7F7F
        word = (word & 0x007F007F007F007F) | (word & 0x7F007F007F007F00) >> 1
        word = (word & 0x00003FFF00003FFF) | (word & 0x3FFF00003FFF0000) >> 2
        word = (word & 0x000000000FFFFFFF) | (word & 0x0FFFFFFF00000000) >> 4
        return (word >> 1) ^ -(word & 1), i + 8
    number = shift = 0
    while True:
        byte = b[i]
        i += 1
        number |= (byte & 0x7F) << shift
        if byte < _CONTINUES:
            return (number >> 1) ^ -(number & 1), i
        shift += 7


def read_length(b: bytes, i: int) -> tuple[int, int]:
    length, i = read_long(b, i)
    if length < 0:
        raise ValueError(length)
    return length, i


def read_string(b: bytes, i: int) -> tuple[str, int]:
    length, i = read_length(b, i)
    return b[i : i + length].decode(), i + length


def read_array(b: bytes, i: int, read: Callable[[bytes, int], tuple[Any, int]]) -> tuple[list[Any], int]:
    items = []
    count, i = read_length(b, i)
    while count:
        for _ in range(count):
            item, i = read(b, i)
            items.append(item)
        count, i = read_length(b, i)
    return items, i


def read_map(b: bytes, i: int, read: Callable[[bytes, int], tuple[Any, int]]) -> tuple[dict[str, Any], int]:
    entries = {}
    count, i = read_length(b, i)
    while count:
        for _ in range(count):
            key, i = read_string(b, i)
            entries[key], i = read(b, i)
        count, i = read_length(b, i)
    return entries, i

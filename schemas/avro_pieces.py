"""Avro's binary form of single values (Avro 1.12, "Binary Encoding"), by table and cache, for the encoder to join.

A piece is the bytes of one value, with its length where Avro wants one. The functions take what orjson gives and raise
whatever comes up for anything unusual; the caller then reads the event the plain way. The caches are bounded: a full
one starts anew.
"""

import re
from typing import Any

import orjson

from schemas.amounts import parse_amount
from schemas.exact_json import pointer_token
from schemas.times import parse_time

_CACHED = 65_536
_MINUS_ZERO = re.compile(rb"-0\s*[,}\]]")


def unsigned_varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, the high bit set on all bytes but the last."""
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004  (seven bits)
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def long(number: int) -> bytes:
    """Encode an int or long of 64 bits, zigzag."""
    return unsigned_varint((number << 1) ^ (number >> 63))


# By number of bytes or items; what is longer goes the plain way.
LENGTH = tuple(long(length) for length in range(8192))
SOME_LENGTH = tuple(b"\x02" + length for length in LENGTH)
# As branches of ["null", T]; NULL is the end of an array or map and an empty one, too.
NULL = b"\x00"
SOME = b"\x02"


def boolean(value: Any) -> bytes:  # noqa: ANN401  (any JSON)
    if type(value) is not bool:
        raise TypeError
    return b"\x01" if value else b"\x00"


def integer(value: Any, bits: int) -> bytes:  # noqa: ANN401  (any JSON)
    """`bits`: without the sign."""
    if type(value) is not int or not -(1 << bits) <= value < 1 << bits:
        raise TypeError
    return long(value)


class _Amounts(dict[str, bytes]):
    def __missing__(self, amount: str | int) -> bytes:
        if type(amount) is int:
            return self._piece(str(amount))  # not kept: True would find what 1 left
        if type(amount) is not str:
            raise TypeError
        piece = self._piece(amount)
        if len(self) >= _CACHED:
            self.clear()
        self[amount] = piece
        return piece

    @staticmethod
    def _piece(text: str) -> bytes:
        number = parse_amount(text)
        return LENGTH[len(number)] + number


class _Minutes(dict[str, int]):
    """`YYYY-MM-DDThh:mm` to zigzag microseconds since the epoch."""

    def __missing__(self, minute: str) -> int:
        zigzag = 2 * parse_time(minute + ":00Z")
        if len(self) >= _CACHED:
            self.clear()
        self[minute] = zigzag
        return zigzag


class _HighBits(dict[int, bytes]):
    """The last bytes of a varint, from the bits above the 28 of its first four bytes."""

    def __missing__(self, bits: int) -> bytes:
        if bits <= 0:
            raise KeyError(bits)  # the varint would have fewer bytes, or the time is before 1970
        piece = unsigned_varint(bits)
        if len(self) >= _CACHED:
            self.clear()
        self[bits] = piece
        return piece


class _Pointers(dict[tuple[str, str], bytes]):
    """JSON Pointer of a holder and name of a member in it to the pointer of the member."""

    def __missing__(self, place: tuple[str, str]) -> bytes:
        pointer = f"{place[0]}/{pointer_token(place[1])}".encode()
        piece = LENGTH[len(pointer)] + pointer
        if len(self) >= _CACHED:
            self.clear()
        self[place] = piece
        return piece


AMOUNTS = _Amounts()
_POINTERS = _Pointers()
_MINUTES = _Minutes()
_HIGH_BITS = _HighBits()
_LOW_BITS = tuple(bytes((bits & 0x7F | 0x80, bits >> 7 | 0x80)) for bits in range(1 << 14))
# Parts of hh:mm:ss.fffffffffZ to zigzag microseconds. A part is found only if it is written right.
_SECONDS = {f":{second:02}": 2_000_000 * second for second in range(60)}
_MILLIS = {f".{millis:03}": 2_000 * millis for millis in range(1000)}
_MICROS = {f"{micros:03}": 2 * micros for micros in range(1000)}
_NANOS = {f"{nanos:03}Z": 0 for nanos in range(1000)}
_SHORT_FRACTIONS = {"Z": 0, **{f"{millis}Z": zigzag for millis, zigzag in _MILLIS.items()}}


def time(text: str) -> bytes:
    try:
        zigzag = _MINUTES[text[:16]] + _SECONDS[text[16:19]]
        if len(text) == 30:  # noqa: PLR2004  (nanoseconds, UTC)
            zigzag += _MILLIS[text[19:23]] + _MICROS[text[23:26]] + _NANOS[text[26:]]
        else:
            zigzag += _SHORT_FRACTIONS[text[19:]]
        return _LOW_BITS[zigzag & 0x3FFF] + _LOW_BITS[zigzag >> 14 & 0x3FFF] + _HIGH_BITS[zigzag >> 28]
    except KeyError:
        return long(parse_time(text))


def strings(values: Any) -> bytes:  # noqa: ANN401  (any JSON)
    if type(values) is not list:
        raise TypeError
    if not values:
        return NULL
    pieces = [LENGTH[len(values)]]
    for value in values:
        encoded = value.encode()
        pieces += (LENGTH[len(encoded)], encoded)
    pieces.append(NULL)
    return b"".join(pieces)


def extra(unknown: list[tuple[str, str, Any]], value: bytes) -> bytes:
    """Encode the map of unknown members (their holder's JSON Pointer, name, value): null, bool, int or string.

    `value`: the event's bytes, to tell -0 from 0.
    """
    pieces = [LENGTH[len(unknown)]]
    for base, name, member in unknown:
        if member is None or type(member) in (str, bool):
            text = orjson.dumps(member)
        elif type(member) is int and (member or not _MINUS_ZERO.search(value)):
            text = str(member).encode()
        else:
            raise TypeError
        pieces += (_POINTERS[base, name], LENGTH[len(text)], text)
    pieces.append(NULL)
    return b"".join(pieces)

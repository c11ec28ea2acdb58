"""Opaque cursors: what a subscriber gets as `position` and may only store and send back."""

import binascii
import hashlib
from base64 import b64decode, b64encode

_BYTES = 9  # 12 base64 characters without padding
_MODULUS = 1 << 8 * _BYTES
MAX_SEQUENCE = 1 << 40


class UnknownPosition(ValueError):
    """The text is no position of this log and event type."""


class Positions:
    """Turns the sequence number of an event in one event type's log into text and back.

    A keyed bijection modulo 2^72, least significant byte first: neither the text's order nor its bytes follow the log's
    order, so a client that compares or computes positions goes wrong here. The key comes from seed and event type: the
    same seed gives the same positions, and a position of one event type is unknown to the other.
    """

    def __init__(self, seed: int, event_type: str) -> None:
        key = hashlib.sha256(f"positions/{seed}/{event_type}".encode()).digest()
        self._factor = int.from_bytes(key[:_BYTES], "little") | 1  # odd: invertible
        self._offset = int.from_bytes(key[_BYTES : 2 * _BYTES], "little")
        self._inverse = pow(self._factor, -1, _MODULUS)

    def encode(self, sequence: int) -> str:
        return b64encode(((sequence * self._factor + self._offset) % _MODULUS).to_bytes(_BYTES, "little")).decode()

    def decode(self, position: str) -> int:
        """Return the sequence number that `encode` got; raises UnknownPosition for any other text."""
        try:
            number = int.from_bytes(b64decode(position, validate=True), "little")
        except (binascii.Error, ValueError) as error:
            raise UnknownPosition(position) from error
        sequence = (number - self._offset) * self._inverse % _MODULUS
        if sequence >= MAX_SEQUENCE or self.encode(sequence) != position:
            raise UnknownPosition(position)
        return sequence

"""Hash of an event's body, by which an event that is pushed again is told from another one under its id."""

from __future__ import annotations

from schemas import native_code

_PAYLOAD = b'"payload"'


def body_hash(value: bytes) -> int:
    """64 bits, signed, of an event's JSON text from the payload on, under a secret of this process.

    A broker that pushes an event again may stamp the envelope anew.
    """
    if native_code.native is not None:
        return native_code.native.body_hash(value)
    start = max(value.find(_PAYLOAD), 0)
    # With an escape before it that may be a later string, and the payload's own name the escaped one.
    return hash(value if value.find(b"\\", 0, start) >= 0 else value[start:])

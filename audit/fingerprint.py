"""Fingerprints by which a raw record is compared with its outputs. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker_events.runtime.events.pushed_event import parse_event
from broker_events.schemas.frame import FRAME_BYTES

_UNTYPABLE: Final = 0
_VARINT_BYTES: Final = 5


def typed_id(value: bytes) -> bytes:
    """Return the event id of a typed value: the first field, as length (Avro zigzag varint) and UTF-8."""
    if len(value) > FRAME_BYTES and value[FRAME_BYTES] < 0x80:  # noqa: PLR2004 (a length of one byte)
        return value[FRAME_BYTES + 1 : FRAME_BYTES + 1 + (value[FRAME_BYTES] >> 1)]
    at, length, shift = FRAME_BYTES, 0, 0
    for byte in value[FRAME_BYTES : FRAME_BYTES + _VARINT_BYTES]:
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 (the last byte of a varint)
            break
        shift += 7
    return value[at : at + (length >> 1)]


def plain_identity(value: bytes | None) -> tuple[bytes | None, str | None]:
    """Return event id (UTF-8) and biz_type of a raw value; None for one that is absent."""
    try:
        event = parse_event(value).root
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (InvalidEvent, or a defect: quarantined as internal_error)
        return None, None
    biz_type = event["payload"].get("biz_type")
    return event["id"].encode(), biz_type if isinstance(biz_type, str) else None


def typed_hash(encode: Callable[[bytes | None], bytes | None], value: bytes | None) -> int:
    """Return the hash of what `encode` makes of a raw value, 0 where it raises: such a record is quarantined."""
    try:
        return hash(encode(value))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (InvalidEvent, or a defect)
        return _UNTYPABLE

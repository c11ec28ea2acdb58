"""Names of the record headers that identify the origin of a record. Part of the contract with readers."""

from collections.abc import Sequence
from typing import Final

# On every record that derives from an event of `broker-events simulate`, with the value `true`; also a member of the
# event's envelope, which shows by the value that the header is there.
SIMULATED: Final = "simulated"
# On a typed record: decimal offset of its raw record, in the partition of the same number.
# On a replayed raw record: offset of the rejected record.
RAW_OFFSET: Final = "raw_offset"
# On a replayed raw record: topic/partition/offset of the quarantine record, and id of the replay.
RECOVERED_FROM: Final = "recovered_from"
RECOVERY_ID: Final = "recovery_id"
# On an alert written by `rebuild --emit-alerts`: OS user and host. RECOVERY_ID identifies the run.
RECOVERED_BY: Final = "recovered_by"
# On a quarantine record of a record that an operator skipped: OS user and host, and the reason given.
SKIPPED_BY: Final = "skipped_by"
SKIP_REASON: Final = "skip_reason"

_MAX_DIGITS: Final = 19  # in a 64-bit offset


def raw_offset(headers: Sequence[tuple[str, bytes | None]] | None) -> int | None:
    """Return the offset in header RAW_OFFSET, None if the header is absent or not decimal."""
    for name, value in headers or ():
        if name == RAW_OFFSET and value is not None and value.isdigit() and len(value) <= _MAX_DIGITS:
            return int(value)
    return None


INTERNAL: Final = frozenset(
    {
        SIMULATED, RAW_OFFSET, RECOVERED_FROM, RECOVERY_ID, "biz_type", "ce_id", "ce_source", "ce_specversion",
        "ce_time", "ce_type", "content-type", "content_bytes", "content_sha256", "event_id", "event_type", "line",
        "position", "received_at", "source", "timestamp", "traceparent", "version",
    }
)  # fmt: skip
"""Headers of the class `internal` (`schemas.field_classes`). Every other header counts as `personal`."""

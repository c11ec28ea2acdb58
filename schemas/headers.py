"""Names of the record headers that tell where a record comes from; part of the contract with readers."""

from collections.abc import Sequence
from typing import Final

# Of a typed record: the offset of its raw record, decimal; the partition number is the same.
# Of a raw record: the offset of the refused one that it repeats.
RAW_OFFSET: Final = "raw_offset"
# Of a raw record that repeats a refused one: topic/partition/offset of its quarantine record, and
# the run that brought it back.
RECOVERED_FROM: Final = "recovered_from"
RECOVERY_ID: Final = "recovery_id"
# Of an alert that `rebuild --emit-alerts` has written: the OS user and host; RECOVERY_ID is that run's.
RECOVERED_BY: Final = "recovered_by"
# Of a quarantine record that an operator has made a projector skip: the OS user and host, and the reason given.
SKIPPED_BY: Final = "skipped_by"
SKIP_REASON: Final = "skip_reason"

_MAX_DIGITS: Final = 19  # of a 64-bit offset


def raw_offset(headers: Sequence[tuple[str, bytes | None]] | None) -> int | None:
    """The offset that header RAW_OFFSET names, None without one. One that isn't decimal counts as none."""
    for name, value in headers or ():
        if name == RAW_OFFSET and value is not None and value.isdigit() and len(value) <= _MAX_DIGITS:
            return int(value)
    return None

"""What the ledger says of a raw partition. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class DiscrepancyKind(StrEnum):
    """How the outputs of a raw record can be wrong."""

    LOST = "lost"
    """It has no output and repeats no earlier record that was typed."""
    UNKNOWN = "unknown"
    """Lost, or it repeats a record from before those that were read: they reach back too little to tell."""
    DOUBLED = "doubled"
    """It has two outputs."""
    REPEATED = "repeated"
    """It was typed, though one of its event id was typed among the last DUPLICATE_WINDOW records."""
    FOREIGN = "foreign"
    """An output that names no raw record, or is in a topic that its biz_type doesn't go to."""
    ALTERED = "altered"
    """Event id, key or timestamp of the output are not the raw record's; with `encode`, the typed value.

    So is a value of a schema that this version's readers refuse.
    """


class Discrepancy(NamedTuple):
    """`raw_offset` is None where the output doesn't say it; `output` is topic[partition]@offset, None without one."""

    kind: DiscrepancyKind
    raw_offset: int | None
    output: str | None


@dataclass(frozen=True)
class Balance:
    """raw = typed + quarantined + duplicates + expired + lost + unknown: the raw records from `start` to `end`.

    `expired`: without an output, which retention may have deleted. `listed` has the first of each kind.
    """

    partition: int
    start: int
    end: int
    raw: int
    typed: int
    quarantined: int
    duplicates: int
    expired: int
    discrepancies: Mapping[DiscrepancyKind, int]
    listed: list[Discrepancy]

    @property
    def is_balanced(self) -> bool:
        return not any(self.discrepancies.values())

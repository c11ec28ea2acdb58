"""Discrepancies between a raw partition and its outputs. Pure."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Final, NamedTuple

LISTED: Final = 100
"""Discrepancies of one kind in one partition that are listed; the others are only counted."""


class DiscrepancyKind(StrEnum):
    """How the outputs of a raw record can be wrong."""

    LOST = "lost"
    """It has no output and repeats no earlier record that was typed."""
    UNKNOWN = "unknown"
    """It is lost, or it repeats a record older than those that were read."""
    DOUBLED = "doubled"
    """It has two outputs."""
    REPEATED = "repeated"
    """It was typed, though the last DUPLICATE_WINDOW records hold a typed one with its event id."""
    FOREIGN = "foreign"
    """An output names no raw record, or is in a topic that its biz_type doesn't go to."""
    ALTERED = "altered"
    """Event id, key or timestamp of the output are not the raw record's; with `encode`, the typed value.

    A value of a schema that this version can't read counts too.
    """


class Discrepancy(NamedTuple):
    """`raw_offset` is None where the output doesn't name it; `output` is topic[partition]@offset, None without one."""

    kind: DiscrepancyKind
    raw_offset: int | None
    output: str | None


class Discrepancies:
    """Counts discrepancies by kind and lists the first LISTED of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[DiscrepancyKind] = Counter()
        self.listed: list[Discrepancy] = []

    def add(self, kind: DiscrepancyKind, raw_offset: int | None, output: str | None = None) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= LISTED:
            self.listed.append(Discrepancy(kind, raw_offset, output))

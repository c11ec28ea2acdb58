"""Proves from the lake alone that every raw row is typed, quarantined or a duplicate. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from broker_events.audit.discrepancies import LISTED
from broker_events.audit.fingerprint import plain_identity
from broker_events.runtime.events.body_hash import body_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass
class Outcomes:
    """raw = typed + quarantined + duplicates + pending + lost. `pending`: the tables of outputs may be behind raw."""

    raw: int = 0
    typed: int = 0
    quarantined: int = 0
    duplicates: int = 0
    pending: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.counts

    def add(self, kind: str, partition: int, offset: int) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= LISTED:
            self.problems.append(f"raw[{partition}]@{offset}: {kind}")


def judge_partition(
    found: Outcomes,
    partition: int,
    raw: pa.Array,
    typed: pa.Table,
    quarantined: pa.Array,
    complete_to: int,
    values: Callable[[list[int]], Mapping[int, bytes | None]],
) -> None:
    """Enter one partition: raw offsets, `_raw_offset` and `event_id` of the typed rows, quarantined offsets.

    `complete_to`: outputs of raw offsets below it are all in the tables. `values`: the raw values at some offsets.
    """
    outputs = pa.concat_arrays([typed.column("_raw_offset").combine_chunks(), quarantined])
    found.raw += len(raw)
    found.typed += typed.num_rows
    found.quarantined += len(quarantined)
    twice = pc.value_counts(outputs)
    for offset in pc.filter(twice.field(0), pc.greater(twice.field(1), 1)).to_pylist():
        found.add("has two outputs", partition, offset)
    for offset in pc.filter(outputs, pc.invert(pc.is_in(outputs, raw))).to_pylist():
        found.add("has an output and no raw row", partition, offset)
    without = pc.filter(raw, pc.invert(pc.is_in(raw, outputs))).to_pylist()
    if without:
        _judge_without(found, partition, without, typed, complete_to, values)


def _judge_without(
    found: Outcomes,
    partition: int,
    without: list[int],
    typed: pa.Table,
    complete_to: int,
    values: Callable[[list[int]], Mapping[int, bytes | None]],
) -> None:
    """Judge the raw rows without an output: each one repeats an earlier typed event, byte for byte in its body."""
    contents = {offset: _content(value) for offset, value in values(without).items()}
    ids = pa.array({identity for identity, _ in contents.values() if identity is not None}, pa.string())
    twins = typed.filter(pc.is_in(typed.column("event_id"), ids))
    typed_at = twins.column("_raw_offset").to_pylist()
    earlier: dict[tuple[str | None, int | None], int] = {}
    for offset, value in sorted(values(typed_at).items()):
        earlier.setdefault(_content(value), offset)
    for offset in without:
        if earlier.get(contents[offset], offset) < offset:
            found.duplicates += 1
        elif offset >= complete_to:
            found.pending += 1
        else:
            found.add("has no output and repeats no typed event", partition, offset)


def _content(value: bytes | None) -> tuple[str | None, int | None]:
    """Return event id and hash of the body: equal for an event and its repetition."""
    event_id, _ = plain_identity(value)
    return None if event_id is None else event_id.decode(errors="replace"), body_hash(value or b"")

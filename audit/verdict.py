"""The ledger's verdict on a range of raw offsets, from its reconciliation. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from broker_events.audit.discrepancies import Discrepancies, Discrepancy, DiscrepancyKind
from broker_events.audit.reconciliation import ABSENT, NO_OUTPUT, QUARANTINED, TYPED, Reconciliation


@dataclass(frozen=True)
class Verdict:
    """raw = typed + quarantined + duplicates + expired + lost + unknown: the raw records from `start` to `end`.

    `expired`: records without an output, where retention may have deleted it. `listed`: the first of each kind.
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
    def is_reconciled(self) -> bool:
        return not any(self.discrepancies.values())


def judge(found: Reconciliation, kept_from: Mapping[str, int], quarantine_kept_from: int) -> Verdict:
    """Judge a range of which every raw record and output has been entered. Call it once.

    `kept_from`: by typed topic whose records were deleted, the raw offset from which on it holds every output.
    `quarantine_kept_from`: the same for the quarantine topic, 0 where nothing was deleted.
    """
    outcomes, first, discrepancies = found.outcomes, found.first, found.discrepancies
    kept = found.kept_by_topic(kept_from, quarantine_kept_from)

    def may_be_deleted(place: int) -> bool:
        return place + found.origin < kept[found.topic_numbers[place]]

    _find_repeated(found, discrepancies)
    raw = len(outcomes) - first - outcomes.count(ABSENT, first)
    typed = outcomes.count(TYPED, first)
    quarantined = outcomes.count(QUARANTINED, first)
    unexplained = array("q", (at for at in found.places(NO_OUTPUT, first) if not may_be_deleted(at)))
    expired = raw - typed - quarantined - len(unexplained)
    contents = {found.contents[place] for place in unexplained}
    typed_twins = _first_places(found, contents, found.places(TYPED))
    deleted_twins = _first_places(found, contents, filter(may_be_deleted, found.places(NO_OUTPUT)))
    complete_from = _complete_from(found)
    duplicates = 0
    for place in unexplained:
        content = found.contents[place]
        if typed_twins.get(content, place) < place or found.repeats_a_deleted_record(place):
            duplicates += 1
        elif deleted_twins.get(content, place) < place:
            expired += 1
        else:
            kind = DiscrepancyKind.LOST if place >= complete_from else DiscrepancyKind.UNKNOWN
            discrepancies.add(kind, place + found.origin)
    return Verdict(
        found.partition,
        found.start,
        found.end,
        raw=raw,
        typed=typed,
        quarantined=quarantined,
        duplicates=duplicates,
        expired=expired,
        discrepancies=dict(discrepancies.counts),
        listed=discrepancies.listed,
    )


def _find_repeated(found: Reconciliation, discrepancies: Discrepancies) -> None:
    """Add what was typed though the last `window` raw records hold a typed one of the same event id."""
    last: dict[int, int] = {}
    number, window = 0, found.window
    for place, outcome in enumerate(found.outcomes):
        number += outcome != ABSENT
        if outcome != TYPED:
            continue
        event_id = found.event_ids[place]
        twin = last.pop(event_id, None)
        if twin is not None and number - twin <= window and place >= found.first:
            discrepancies.add(DiscrepancyKind.REPEATED, place + found.origin)
        last[event_id] = number
        if len(last) > 2 * window + 1:
            last = {event_id: at for event_id, at in last.items() if number - at <= window}


def _first_places(found: Reconciliation, contents: set[int], places: Iterable[int]) -> dict[int, int]:
    """Return the first of these places for each of these contents."""
    first: dict[int, int] = {}
    for place in places if contents else ():
        if found.contents[place] in contents:
            first.setdefault(found.contents[place], place)
    return first


def _complete_from(found: Reconciliation) -> int:
    """Return the place from which on the records read hold all that a router can have known: two windows of typed ones.

    0 where no older record can be read.
    """
    if not found.origin or not found.window or found.lacks_its_past:
        return 0
    return next(islice(found.places(TYPED), 2 * found.window - 1, None), len(found.outcomes))

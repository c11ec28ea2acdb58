"""The output of `lake verify` and `lake status`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from broker_events.cli.output import aligned, printable
from broker_events.runtime.events.record_json import json_line

if TYPE_CHECKING:
    from broker_events.audit.lake_outcomes import Outcomes
    from broker_events.audit.lake_table import TableVerdict

_COUNTS = ("rows", "compared", "by_digest", "unproved", "problem_count")


def table_document(verdict: TableVerdict) -> str:
    """Return the JSON line of one table."""
    counts = {name: getattr(verdict, name) for name in _COUNTS}
    return json_line({"table": verdict.name, **counts, "verified": verdict.holds, "problems": verdict.problems})


def outcome_document(outcomes: Outcomes | None) -> str:
    """Return the JSON line of raw's outcomes."""
    if outcomes is None:
        return json_line({"outcomes": None})
    counts = {name: getattr(outcomes, name) for name in ("raw", "typed", "quarantined", "duplicates", "pending")}
    return json_line({"outcomes": counts, "verified": outcomes.holds, "problems": outcomes.problems})


def report(verdicts: Sequence[TableVerdict], outcomes: Outcomes | None) -> Iterator[str]:
    """Yield a row per table, every problem listed, and the conclusion."""
    rows = [[v.name, *(f"{getattr(v, name):,}" for name in _COUNTS)] for v in verdicts]
    yield from _table(("table", "rows", "compared", "by digest", "unproved", "differences"), rows)
    for verdict in verdicts:
        yield from map(printable, verdict.problems)
    if outcomes is None:
        yield "raw against its outcomes: not judged (a table differs, or LAKE_TABLES leaves tables out)"
    else:
        yield from outcomes.problems
        equals = "=" if outcomes.holds else "is not"
        yield (
            f"raw {outcomes.raw:,} {equals} typed {outcomes.typed:,} + quarantined {outcomes.quarantined:,} + "
            f"duplicates {outcomes.duplicates:,} + pending {outcomes.pending:,}"
        )
    holds = all(verdict.holds for verdict in verdicts) and (outcomes is None or outcomes.holds)
    yield "verified" if holds else "NOT verified"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    cells = [header, *rows]
    names = [*aligned([[row[0]] for row in cells])]
    width = max(map(len, names))
    numbers = aligned([row[1:] for row in cells], str.rjust)
    for name, line in zip(names, numbers, strict=True):
        yield f"{name:<{width}}  {line}"


def status_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the table of `lake status`."""
    yield from _table(("table", "epoch", "rows", "behind", "snapshots", "files", "last commit", "owner"), rows)

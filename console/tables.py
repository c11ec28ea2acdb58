"""Reads of the console's tables: accounts, movements, alerts, quarantine, counts, names."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from broker_events.console.rows import reference
from broker_events.console.store import Row, Store

PAGE: Final = 50
MOST: Final = 500
_NAMES: Final = 20


class InvalidCursor(ValueError):
    """A cursor that no answer of this console has given."""


class Page(NamedTuple):
    """Rows, and the cursor of the next ones."""

    rows: list[Row]
    next: str | None


class AlertFilter(NamedTuple):
    """None: no filter. `account`: account key; times in ms since the epoch."""

    rule: str | None = None
    status: str | None = None
    account: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class QuarantineFilter(NamedTuple):
    """Filters of `quarantine list`; None: no filter. Times are in ms since the epoch."""

    reason: str | None = None
    biz_type: str | None = None
    account: str | None = None
    event_id: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    stage: str | None = None


class Tables:
    """Queries. Each takes a bounded number of rows by an index."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def ref(self, key: str) -> str:
        """Return the name of an account key or movement id in URLs."""
        return f"~{reference(self._store.secret, key)}"

    def resolve(self, name: str) -> str | None:
        """Return the key that a name in a URL stands for: itself, or that of a `~` reference; None if unknown."""
        if not name.startswith("~"):
            return name
        rows = self._store.rows("SELECT target FROM names WHERE name = ? AND kind = 'ref'", name[1:])
        return str(rows[0]["target"]) if rows else None

    def account(self, key: str) -> Row | None:
        return _first(self._store.rows("SELECT * FROM accounts WHERE key = ?", key))

    def movement(self, key: str) -> Row | None:
        """Return the movement of an id; that of an alias leads to its movement."""
        return _first(self._store.rows("SELECT * FROM movements WHERE key = ?", key))

    def movements(self, account: str, limit: int, cursor: str | None) -> Page:
        """Return movements of an account, newest event first."""
        at, key = _cursor(cursor, int, str) or (1 << 62, "")
        rows = self._store.rows(
            "SELECT * FROM movements WHERE account = ? AND alias = 0 AND (time_us, key) < (?, ?)"
            " ORDER BY time_us DESC, key DESC LIMIT ?",
            *(account, at, key, limit + 1),
        )
        return _page(rows, limit, "time_us", "key")

    def active(self, account: str | None, rule: str | None, limit: int, cursor: str | None) -> Page:
        """Return the alerts whose condition holds, newest event first."""
        at, key = _cursor(cursor, int, str) or (1 << 62, "")
        where, values = _where({"account = ?": account, "rule = ?": rule})
        rows = self._store.rows(
            f"SELECT * FROM active WHERE {where} AND (time_us, key) < (?, ?)"  # noqa: S608 (fixed texts)
            " ORDER BY time_us DESC, key DESC LIMIT ?",
            *(*values, at, key, limit + 1),
        )
        return _page(rows, limit, "time_us", "key")

    def alerts(self, chosen: AlertFilter, limit: int, cursor: str | None) -> Page:
        """Return alerts, newest first."""
        at = _cursor(cursor, int, int, int) or (1 << 62, 0, 0)
        where, values = _where(
            {
                "rule = ?": chosen.rule,
                "status = ?": chosen.status,
                "account = ?": chosen.account,
                "at_ms >= ?": chosen.since_ms,
                "at_ms < ?": chosen.until_ms,
            }
        )
        rows = self._store.rows(
            f"SELECT * FROM alerts WHERE {where} AND (at_ms, partition, offset) < (?, ?, ?)"  # noqa: S608 (fixed texts)
            " ORDER BY at_ms DESC, partition DESC, offset DESC LIMIT ?",
            *(*values, *at, limit + 1),
        )
        return _page(rows, limit, "at_ms", "partition", "offset")

    def alert(self, alert_id: str) -> Row | None:
        return _first(self._store.rows("SELECT * FROM alerts WHERE id = ? ORDER BY at_ms LIMIT 1", alert_id))

    def alerts_from(self, event_id: str) -> list[Row]:
        """Return the alerts that an event caused."""
        return self._store.rows("SELECT * FROM alerts WHERE event_id = ? ORDER BY at_ms LIMIT ?", event_id, PAGE)

    def deliveries(self, alert_id: str) -> list[Row]:
        """Return the deliveries of an alert by receiver."""
        return self._store.rows("SELECT * FROM deliveries WHERE alert = ? ORDER BY receiver LIMIT ?", alert_id, MOST)

    def has_deliveries(self) -> bool:
        """Return whether this pipeline delivers alerts at all."""
        return bool(self._store.rows("SELECT 1 FROM deliveries LIMIT 1"))

    def quarantine(self, chosen: QuarantineFilter, limit: int, cursor: str | None) -> Page:
        """Return quarantined records, newest first, each with the key of its replay."""
        at = _cursor(cursor, int, int, int) or (1 << 62, 0, 0)
        where, values = _quarantine_where(chosen)
        rows = self._store.rows(
            f"SELECT * FROM quarantine WHERE {where} AND (at_ms, partition, offset) < (?, ?, ?)"  # noqa: S608
            " ORDER BY at_ms DESC, partition DESC, offset DESC LIMIT ?",
            *(*values, *at, limit + 1),
        )
        return _page(rows, limit, "at_ms", "partition", "offset")

    def reasons(self, chosen: QuarantineFilter) -> dict[str, int]:
        """Return the number of quarantined records by reason."""
        where, values = _quarantine_where(chosen)
        rows = self._store.rows(
            f"SELECT reason, count(*) AS n FROM quarantine WHERE {where} GROUP BY reason ORDER BY n DESC, reason",  # noqa: S608
            *values,
        )
        return {row["reason"]: row["n"] for row in rows}

    def quarantined(self, partition: int, offset: int) -> Row | None:
        rows = self._store.rows("SELECT * FROM quarantine WHERE partition = ? AND offset = ?", partition, offset)
        return _first(rows)

    def quarantined_events(self, event_id: str, sources: Sequence[str]) -> list[Row]:
        """Return the quarantine records of an event id, and of these rejected records (topic/partition/offset)."""
        marks = ", ".join("?" * len(sources))
        return self._store.rows(
            f"SELECT * FROM quarantine WHERE event_id = ? OR source IN ({marks}) LIMIT ?",  # noqa: S608 (only ?)
            *(event_id, *sources, PAGE),
        )

    def replays(self, keys: Iterable[str]) -> dict[str, Row]:
        """Return the audit records of replays by topic/partition/offset of the quarantine record."""
        wanted = [*keys]
        marks = ", ".join("?" * len(wanted))
        rows = self._store.rows(f"SELECT * FROM replays WHERE key IN ({marks})", *wanted)  # noqa: S608 (only ?)
        return {row["key"]: row for row in rows}

    def events(self, event_id: str) -> list[Row]:
        """Return places of raw records with this event id, oldest first; at most PAGE + 1."""
        return self._store.rows(
            "SELECT * FROM events WHERE id = ? ORDER BY at_ms, partition, offset LIMIT ?", event_id, PAGE + 1
        )

    def typed(self, partition: int, raw: int) -> list[Row]:
        """Return topic and offset of the typed records of a raw record."""
        return self._store.rows("SELECT * FROM typed WHERE partition = ? AND raw = ?", partition, raw)

    def names(self, name: str) -> list[Row]:
        """Return what a search for this exact name finds: kind and target."""
        return self._store.rows("SELECT kind, target FROM names WHERE name = ? AND kind != 'ref' LIMIT ?", name, _NAMES)

    def counts(self) -> dict[tuple[str, str], int]:
        """Return the records read so far by topic and label (`rows.Rows.counts`)."""
        return {(row["topic"], row["label"]): row["n"] for row in self._store.rows("SELECT * FROM counts")}

    def active_by_rule(self) -> dict[str, int]:
        rows = self._store.rows("SELECT rule, count(*) AS n FROM active GROUP BY rule ORDER BY rule")
        return {row["rule"]: row["n"] for row in rows}

    def sizes(self) -> tuple[int, int]:
        """Return the number of accounts and of movements."""
        rows = self._store.rows(
            "SELECT (SELECT count(*) FROM accounts) AS a, (SELECT count(*) FROM movements WHERE alias = 0) AS m"
        )
        return rows[0]["a"], rows[0]["m"]


def _first(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None


def _where(filters: dict[str, object]) -> tuple[str, list[object]]:
    held = {condition: value for condition, value in filters.items() if value is not None}
    return " AND ".join(("1", *held)), [*held.values()]


def _quarantine_where(chosen: QuarantineFilter) -> tuple[str, list[object]]:
    return _where(
        {
            "reason = ?": chosen.reason,
            "biz_type = ?": chosen.biz_type,
            "account = ?": chosen.account,
            "event_id = ?": chosen.event_id,
            "stage = ?": chosen.stage,
            "at_ms >= ?": chosen.since_ms,
            "at_ms < ?": chosen.until_ms,
        }
    )


def _page(rows: list[Row], limit: int, *names: str) -> Page:
    if len(rows) <= limit:
        return Page(rows, None)
    last = json.dumps([rows[limit - 1][name] for name in names])
    return Page(rows[:limit], base64.urlsafe_b64encode(last.encode()).decode().rstrip("="))


def _cursor(text: str | None, *kinds: type) -> tuple[Any, ...] | None:
    if text is None:
        return None
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        values = None
    if (
        isinstance(values, list)
        and [type(value) for value in values] == [*kinds]
        and all(abs(value) < 1 << 63 for value in values if isinstance(value, int))
    ):
        return tuple(values)
    raise InvalidCursor("cursor: is not one that an answer has given")

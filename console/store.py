"""The console's tables: one SQLite file that is never ahead of the topics and survives a kill.

Rows and the offsets that they come from commit in one SQLite transaction. So a crash leaves the tables behind by a few
batches, and the next start reads those again. One thread writes; every other thread reads with its own connection.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired

# Increase it where a table changes: an older file is then rebuilt from the topics.
FORMAT: Final = 1
_CACHE_KBYTES: Final = 32_768
_SQL: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE positions (topic TEXT, partition INT, next INT, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE counts (topic TEXT, label TEXT, n INT, PRIMARY KEY (topic, label)) WITHOUT ROWID;
CREATE TABLE accounts (key TEXT PRIMARY KEY, partition INT, offset INT, at_ms INT, simulated INT, value BLOB);
CREATE TABLE movements (key TEXT PRIMARY KEY, account TEXT, time_us INT, alias INT, partition INT, offset INT,
  at_ms INT, simulated INT, value BLOB);
CREATE INDEX movements_of ON movements (account, alias, time_us);
CREATE TABLE active (key TEXT PRIMARY KEY, account TEXT, rule TEXT, time_us INT, partition INT, offset INT, at_ms INT,
  simulated INT, value BLOB);
CREATE INDEX active_of ON active (account);
CREATE TABLE alerts (partition INT, offset INT, id TEXT, account TEXT, event_id TEXT, rule TEXT, status TEXT, at_ms INT,
  simulated INT, value BLOB, PRIMARY KEY (partition, offset));
CREATE INDEX alert_ids ON alerts (id);
CREATE INDEX alerts_of ON alerts (account, at_ms);
CREATE INDEX alerts_from ON alerts (event_id);
CREATE INDEX alert_times ON alerts (at_ms, partition, offset);
CREATE TABLE quarantine (partition INT, offset INT, at_ms INT, reason TEXT, biz_type TEXT, event_id TEXT, account TEXT,
  stage TEXT, source TEXT, PRIMARY KEY (partition, offset));
CREATE INDEX quarantine_times ON quarantine (at_ms, partition, offset);
CREATE INDEX quarantine_events ON quarantine (event_id);
CREATE INDEX quarantine_sources ON quarantine (source);
CREATE TABLE deliveries (key TEXT PRIMARY KEY, alert TEXT, receiver TEXT, outcome TEXT, partition INT, offset INT,
  at_ms INT, value BLOB);
CREATE INDEX deliveries_of ON deliveries (alert, receiver);
CREATE TABLE replays (key TEXT PRIMARY KEY, partition INT, offset INT, at_ms INT, value BLOB);
CREATE TABLE names (name TEXT, kind TEXT, target TEXT, PRIMARY KEY (name, kind, target)) WITHOUT ROWID;
CREATE TABLE events (id TEXT, partition INT, offset INT, at_ms INT, PRIMARY KEY (id, partition, offset)) WITHOUT ROWID;
CREATE TABLE typed (partition INT, raw INT, topic TEXT, offset INT, PRIMARY KEY (partition, raw, offset)) WITHOUT ROWID;
"""

Row = sqlite3.Row
Position = tuple[str, int]
"""Topic (Kafka name) and partition."""


class Store:
    """The tables, in `folder`/console.db. `identity`: what they belong to, see `follower.store_identity`."""

    def __init__(self, folder: Path, identity: str | None) -> None:
        """Open the file, or create it if there is none or it belongs to another identity. `refusal` is then the reason.

        With None the file counts as it is: Kafka did not answer. Raises OperatorActionRequired if the folder can't be
        written or another console has it, RestartRequired if there is neither a file nor an identity.
        """
        self.path = folder / "console.db"
        setting = "PIPELINE_CONSOLE_FOLDER"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperatorActionRequired(f"{setting}: {folder} is in use by another console") from None
        except OSError as error:
            raise OperatorActionRequired(f"{setting}: {folder}: {error.strerror or error}") from None
        self._local = threading.local()
        self.refusal = self._misfit(identity)
        if self.refusal is not None:
            if identity is None:
                raise RestartRequired("Kafka does not answer, and this console has no tables yet")
            self._create(identity)
        self._writer = self._connect()
        meta = {row["name"]: row["value"] for row in self.rows("SELECT name, value FROM meta")}
        self.identity: str = meta["identity"]
        self.secret = bytes.fromhex(meta["secret"])
        """Random bytes of this file, for names that stand for a masked key."""

    def rows(self, sql: str, *values: Any) -> list[Row]:  # noqa: ANN401 (SQLite values)
        """Return the rows of a query as of now."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        found: list[Row] = connection.execute(sql, values).fetchall()
        return found

    def positions(self) -> dict[Position, int]:
        """Return the next offset to read, by topic and partition."""
        return {(row["topic"], row["partition"]): row["next"] for row in self.rows("SELECT * FROM positions")}

    def write(
        self,
        changes: Iterable[tuple[str, Sequence[Sequence[Any]]]],
        counts: Iterable[tuple[str, str, int]],
        positions: Iterable[tuple[str, int, int]],
    ) -> None:
        """Commit statements with their rows, increments of counts (topic, label, number) and next offsets, together."""
        with self._writer as transaction:
            for sql, rows in changes:
                transaction.executemany(sql, rows)
            transaction.executemany(
                "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", counts
            )
            transaction.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", positions)

    def size(self) -> int:
        """Return the bytes of the file."""
        return self.path.stat().st_size

    def close(self) -> None:
        """Close the writer's connection and release the folder."""
        self._writer.close()
        os.close(self._lock)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", f"cache_size = -{_CACHE_KBYTES}"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _misfit(self, identity: str | None) -> str | None:
        """Return why the file can't be used, None if it can."""
        if not self.path.exists():
            return "there is none"
        try:
            connection = sqlite3.connect(self.path)
            found = dict(connection.execute("SELECT name, value FROM meta").fetchall())
            connection.close()
        except sqlite3.DatabaseError as error:
            return f"it can't be read ({error})"
        if found.get("format") != str(FORMAT):
            return f"it has the format {found.get('format')}, this version writes {FORMAT}"
        return None if identity in {None, found.get("identity")} else "it belongs to other topics"

    def _create(self, identity: str) -> None:
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path)
        with connection:
            connection.executescript(_SQL)
            values = (("format", str(FORMAT)), ("identity", identity), ("secret", secrets.token_hex(32)))
            connection.executemany("INSERT INTO meta VALUES (?, ?)", values)
        connection.close()

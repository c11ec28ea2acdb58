"""Records who looked at what in the topic console.audit: first in a file of its own, so that no look is lost."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from broker_events.console.access import User
from broker_events.runtime.kafka.clients import producer_config
from broker_events.runtime.process.errors import PipelineError
from broker_events.runtime.schema_ids import resolve_schema_ids
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import Catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import ConsoleLook

log = logging.getLogger(__name__)

TOPIC: Final = "console.audit"
_MOST_PATH: Final = 1000
_BATCH: Final = 500
_SEND_S: Final = 10.0
_PAUSE_S: Final = 5.0


class AuditTrail:
    """A look is in the file before its answer is sent, and in the topic soon after, at least once.

    While Kafka does not answer, looks wait in `folder`/audit.db, also over restarts of the console.
    """

    def __init__(self, settings: Settings, catalog: Catalog, folder: Path, stop: threading.Event) -> None:
        self._settings, self._catalog, self._stop = settings, catalog, stop
        self._lock = threading.Lock()
        self._new = threading.Event()
        self._db = sqlite3.connect(folder / "audit.db", check_same_thread=False)
        with self._db:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS looks (id INTEGER PRIMARY KEY, look TEXT)")
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self, user: User, path: str, subject: str | None = None) -> None:
        """Record that a user saw whole records. Viewers see masked ones and are not recorded."""
        if user.sees_personal:
            self._keep(user, "look", path, subject, None)

    def action(self, user: User, path: str, subject: str, note: str) -> None:
        """Record that a user changed something."""
        self._keep(user, "replay", path, subject, note)

    @property
    def waiting(self) -> int:
        """Number of looks that are not in the topic yet."""
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM looks").fetchone()[0])

    def close(self) -> None:
        """Wait for the thread, after `stop` is set."""
        self._new.set()
        if self._thread.is_alive():
            self._thread.join()
        self._db.close()

    def _keep(self, user: User, action: str, path: str, subject: str | None, note: str | None) -> None:
        look = {
            "look_id": str(uuid.uuid4()),
            "at": time.time_ns() // 1000,
            "user": user.name,
            "role": user.role,
            "action": action,
            "path": path[:_MOST_PATH],
            "subject": subject,
            "note": note,
        }
        with self._lock, self._db:
            self._db.execute("INSERT INTO looks (look) VALUES (?)", (json.dumps(look),))
        self._new.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._send()
            except (KafkaException, PipelineError) as error:
                log.warning("%s: looks wait in the file: %s", self._settings.topic(TOPIC), error)
                self._stop.wait(_PAUSE_S)

    def _send(self) -> None:
        schema_id = resolve_schema_ids(self._settings, self._catalog, self._stop)[TOPIC]
        codec: Codec[ConsoleLook] = Codec(self._catalog.topics[TOPIC][0], schema_id)
        producer = Producer(producer_config(self._settings))
        while True:
            with self._lock:
                rows = self._db.execute("SELECT id, look FROM looks ORDER BY id LIMIT ?", (_BATCH,)).fetchall()
            if rows:
                self._deliver(producer, codec, rows)
            elif self._stop.is_set():
                return
            else:
                self._new.wait()
                self._new.clear()

    def _deliver(self, producer: Producer, codec: Codec[ConsoleLook], rows: list[tuple[int, str]]) -> None:
        """Produce these looks, and delete those that Kafka has."""
        delivered: list[tuple[int]] = []

        def report(number: int) -> Any:  # noqa: ANN401 (librdkafka's callback)
            return lambda error, _: delivered.append((number,)) if error is None else None

        for number, text in rows:
            look: ConsoleLook = json.loads(text)
            producer.produce(
                self._settings.topic(TOPIC), codec.encode(look), look["user"].encode(), on_delivery=report(number)
            )
        producer.flush(_SEND_S)
        with self._lock, self._db:
            self._db.executemany("DELETE FROM looks WHERE id = ?", delivered)
        if len(delivered) < len(rows):
            raise PipelineError(f"Kafka took {len(delivered)} of {len(rows)} records within {_SEND_S:g} s")

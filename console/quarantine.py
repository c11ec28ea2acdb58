"""Quarantined records: list, one whole, what a replay would do now, and the replay of one record."""

from __future__ import annotations

import threading
from typing import Final

from broker_events.console import shown
from broker_events.console.access import User
from broker_events.console.answers import QuarantineAnswer, QuarantinedAnswer, QuarantineItem
from broker_events.console.places import Place, PlaceReader
from broker_events.console.rows import QUARANTINE
from broker_events.console.service import NotFound, Service
from broker_events.console.store import Row
from broker_events.console.tables import QuarantineFilter
from broker_events.processors.replay_outcome import LEFT_OUT, ReplayOutcome
from broker_events.runtime.events.record_json import iso_millis
from broker_events.runtime.kafka.acls import verify_access
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.quarantine.replay import RECOVERIES, ROLE, Quarantined, Replay, read_recoveries
from broker_events.runtime.schema_ids import resolve_schema_ids
from broker_events.schemas.catalog import RAW
from broker_events.schemas.codec import Codec
from broker_events.schemas.models import QuarantinedEvent
from broker_events.schemas.storage_types import QuarantineRecovery

SECONDS: Final = 3.0


class NotReplayable(Exception):
    """The record was not replayed; the text says why."""


class QuarantineService:
    """Answers about the quarantine. `reader`: reads a record by its place."""

    def __init__(self, service: Service, reader: PlaceReader) -> None:
        self._service, self._reader = service, reader
        self._replaying = threading.Lock()

    def records(self, chosen: QuarantineFilter, user: User, limit: int, cursor: str | None) -> QuarantineAnswer:
        """Return quarantined records, newest first, and the number of all that the filters take."""
        age, tables = self._service.age(QUARANTINE), self._service.tables
        page = tables.quarantine(chosen, limit, cursor)
        replays = tables.replays(map(self._name, page.rows))
        return QuarantineAnswer(
            records=[self._item(row, replays.get(self._name(row)), user) for row in page.rows],
            next=page.next,
            reasons=tables.reasons(chosen),
            **age,
        )

    def record(self, partition: int, offset: int, user: User) -> QuarantinedAnswer:
        """Return one record, whole or masked, and what would happen now. Raises NotFound."""
        age, (row, replay) = self._service.age(QUARANTINE), self._find(partition, offset)
        found = self._read(partition, offset)
        skipped = [] if found else ["the record: Kafka did not return it in time, or retention has deleted it"]
        return QuarantinedAnswer(
            item=self._item(row, replay, user),
            record=None if found is None else shown.document(found.event, user),
            now=None if found is None else self._outcome(found, is_replayed=replay is not None),
            text=None if found is None or not user.sees_personal else shown.cut(found.event.value)[0],
            not_looked_at=skipped,
            **age,
        )

    def value(self, partition: int, offset: int) -> bytes:
        """Return the rejected value as received. Raises NotFound."""
        found = self._read(partition, offset)
        if found is None or found.event.value is None:
            raise NotFound("Kafka did not return a record with a value at this place")
        return found.event.value

    def replay(self, partition: int, offset: int, note: str) -> str:
        """Replay one record through the router and return the recovery id.

        Raises NotFound, NotReplayable, and what `Replay` raises. A replay that runs in another process is ended by this
        one, as by `quarantine replay`; its committed records stay replayed.
        """
        settings, catalog = self._service.settings, self._service.catalog
        self._find(partition, offset)
        found = self._read(partition, offset)
        if found is None:
            raise NotFound("Kafka did not return the record, so it is not replayed")
        with self._replaying:
            topics = [settings.topic(name) for name in (QUARANTINE, RAW, RECOVERIES)]
            verify_access(admin_client(settings), settings, ROLE, topics)
            schema_id = resolve_schema_ids(settings, catalog)[RECOVERIES]
            codec: Codec[QuarantineRecovery] = Codec(catalog.topics[RECOVERIES][0], schema_id)
            with Replay(settings, codec, note) as run:  # from here on no other replay can commit
                outcome = self._outcome(found, is_replayed=found.name in read_recoveries(settings))
                if outcome in LEFT_OUT:
                    raise NotReplayable(outcome)
                run.send([found])
                return run.recovery_id

    def _find(self, partition: int, offset: int) -> tuple[Row, Row | None]:
        row = self._service.tables.quarantined(partition, offset)
        if row is None:
            raise NotFound(f"no quarantine record at {partition}:{offset}")
        name = self._name(row)
        return row, self._service.tables.replays([name]).get(name)

    def _read(self, partition: int, offset: int) -> Quarantined | None:
        place = Place(self._service.settings.topic(QUARANTINE), partition, offset)
        record = self._reader.read([place], SECONDS).get(place)
        if record is None:
            return None
        event = self._service.decode(record.value() or b"")
        return Quarantined(record, event) if isinstance(event, QuarantinedEvent) else None

    def _outcome(self, quarantined: Quarantined, *, is_replayed: bool) -> str:
        outcome = ReplayOutcome(self._service.settings, self._service.catalog)
        return outcome.of(quarantined, is_replayed=is_replayed)

    def _name(self, row: Row) -> str:
        return f"{self._service.settings.topic(QUARANTINE)}/{row['partition']}/{row['offset']}"

    def _item(self, row: Row, replay: Row | None, user: User) -> QuarantineItem:
        account = row["account"]
        return QuarantineItem(
            id=f"{row['partition']}:{row['offset']}",
            at=iso_millis(row["at_ms"]),
            reason=row["reason"],
            stage=row["stage"],
            biz_type=row["biz_type"],
            event_id=row["event_id"],
            account_ref=None if account is None else self._service.tables.ref(account),
            account_key=shown.key(account, user),
            source=row["source"],
            replayed=None if replay is None else iso_millis(replay["at_ms"]),
        )

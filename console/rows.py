"""Turns consumed records into rows of the console's tables."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from broker_events.runtime.consume.record import KafkaRecord, place_of
from broker_events.runtime.events.pushed_event import parse_event
from broker_events.runtime.quarantine.replay import RECOVERIES
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import DELIVERIES, RAW, Catalog
from broker_events.schemas.headers import SIMULATED, raw_offset
from broker_events.schemas.invalid_event import InvalidEvent
from broker_events.schemas.models import AccountState, Alert, Delivery, MovementState, QuarantinedEvent
from broker_events.schemas.models import Record as Model

log = logging.getLogger(__name__)

ACCOUNTS: Final = "state.accounts"
MOVEMENTS: Final = "state.movements"
ACTIVE: Final = "alerts.active"
ALERTS: Final = "alerts"
QUARANTINE: Final = "quarantine"
UNDECODABLE: Final = "undecodable"

_PUT_ACCOUNT: Final = "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?)"
_PUT_MOVEMENT: Final = "INSERT OR REPLACE INTO movements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_ACTIVE: Final = "INSERT OR REPLACE INTO active VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_ALERT: Final = "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_QUARANTINED: Final = "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_DELIVERY: Final = "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_REPLAY: Final = "INSERT OR REPLACE INTO replays VALUES (?, ?, ?, ?, ?)"
_PUT_NAME: Final = "INSERT OR IGNORE INTO names VALUES (?, ?, ?)"
_PUT_EVENT: Final = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)"
_PUT_TYPED: Final = "INSERT OR IGNORE INTO typed VALUES (?, ?, ?, ?)"
_DELETE: Final = {
    ACCOUNTS: "DELETE FROM accounts WHERE key = ?",
    MOVEMENTS: "DELETE FROM movements WHERE key = ?",
    ACTIVE: "DELETE FROM active WHERE key = ?",
    DELIVERIES: "DELETE FROM deliveries WHERE key = ?",
}
_REF_BYTES: Final = 12

Decode = Callable[[bytes], Model]


def reference(secret: bytes, key: str) -> str:
    """Return the name that stands for an account key or movement id where the reader may not see it."""
    return hmac.digest(secret, key.encode("utf-8", "surrogateescape"), hashlib.sha256)[:_REF_BYTES].hex()


def text(key: bytes | None) -> str:
    """Return a record key as text; bytes that are not UTF-8 are escaped."""
    return (key or b"").decode(errors="backslashreplace")


class Rows:
    """Collects the rows of one batch: `changes` by statement, `counts` of records by topic and label.

    The topic of a count is its name without the prefix. Its label is the biz_type of typed events, the reason of
    quarantined ones, and `RULE STATUS` of alerts.
    """

    def __init__(self, secret: bytes, decode: Decode, handlers: Handlers) -> None:
        self.changes: dict[str, list[tuple[Any, ...]]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self._secret, self._decode, self._handlers = secret, decode, handlers

    def add(self, record: KafkaRecord) -> None:
        """Add a record of a followed topic. An undecodable one is counted and logged. Raises RegistryError."""
        handle, name = self._handlers[record.topic()]
        handle(self, record, name)

    def put(self, sql: str, *row: Any) -> None:  # noqa: ANN401 (SQLite values)
        self.changes.setdefault(sql, []).append(row)

    def names(self, kind: str, target: str, names: Iterable[str | None]) -> None:
        """Let a search for these names find the target."""
        for name in {name for name in names if name}:
            self.put(_PUT_NAME, name, kind, target)

    def raw(self, record: KafkaRecord, name: str) -> None:
        self.counts[name, ""] += 1
        for header, value in record.headers() or ():
            if header == "event_id" and value:
                self._event(text(value), record)
                return
        try:  # the bridge leaves the header out of an event whose id it can't read, and others may write to raw
            self._event(str(parse_event(record.value()).root["id"]), record)
        except InvalidEvent:
            return

    def _event(self, event_id: str, record: KafkaRecord) -> None:
        self.put(_PUT_EVENT, event_id, record.partition(), record.offset(), record.timestamp()[1])

    def typed(self, record: KafkaRecord, name: str) -> None:
        self.counts["typed", name] += 1
        if (raw := raw_offset(record.headers())) is not None:
            self.put(_PUT_TYPED, record.partition(), raw, record.topic(), record.offset())

    def account(self, record: KafkaRecord, name: str) -> None:
        model = self._model(record, name, AccountState)
        if model is None:
            return
        key = text(record.key())
        self.put(_PUT_ACCOUNT, key, *_stored(record))
        facts = (model.account_id, model.account_number)
        self.names("account", key, (key, *(fact.value for fact in facts if fact is not None)))
        self.names("ref", key, (reference(self._secret, key),))

    def movement(self, record: KafkaRecord, name: str) -> None:
        model = self._model(record, name, MovementState)
        if model is None:
            return
        key, alias = text(record.key()), model.alias_of is not None
        time_us = round(model.event_time.timestamp() * 1_000_000)
        self.put(_PUT_MOVEMENT, key, model.account_key, time_us, alias, *_stored(record))
        self.names("movement", key, (key, key.rpartition("/")[2], model.client_request_id, *model.system_ids.values()))
        self.names("account", model.account_key, (model.account_key, model.account_id))
        self.names("ref", key, (reference(self._secret, key),))
        self.names("ref", model.account_key, (reference(self._secret, model.account_key),))

    def active(self, record: KafkaRecord, name: str) -> None:
        model = self._model(record, name, Alert)
        if model is not None:
            time_us = round(model.event_time.timestamp() * 1_000_000)
            self.put(_PUT_ACTIVE, text(record.key()), model.account_key, model.rule, time_us, *_stored(record))

    def alert(self, record: KafkaRecord, name: str) -> None:
        model = self._model(record, name, Alert)
        if model is None:
            return
        facts = (model.alert_id, model.account_key, model.event_id, model.rule, model.status)
        partition, offset, *stored = _stored(record)
        self.put(_PUT_ALERT, partition, offset, *facts, *stored)
        self.names("account", model.account_key, (model.account_key, model.account_id, model.account_number))
        self.names("ref", model.account_key, (reference(self._secret, model.account_key),))
        self.counts[name, f"{model.rule} {model.status}"] += 1

    def quarantined(self, record: KafkaRecord, name: str) -> None:
        model = self._model(record, name, QuarantinedEvent)
        if model is None:
            return
        place, at_ms = (record.partition(), record.offset()), record.timestamp()[1]
        key = None if model.key is None else text(model.key)
        source = f"{model.topic}/{model.partition}/{model.offset}"
        self.put(
            _PUT_QUARANTINED, *place, at_ms, model.reason, model.biz_type, model.event_id, key, model.stage, source
        )
        self.counts[f"{name}.{model.stage}", model.reason] += 1

    def delivery(self, record: KafkaRecord, name: str) -> None:
        model = self._model(record, name, Delivery)
        if model is not None:
            partition, offset, at_ms, _, value = _stored(record)
            facts = (model.alert_id, model.receiver, model.outcome)
            self.put(_PUT_DELIVERY, text(record.key()), *facts, partition, offset, at_ms, value)

    def replay(self, record: KafkaRecord, name: str) -> None:
        self.counts[name, ""] += 1
        place = (record.partition(), record.offset())
        self.put(_PUT_REPLAY, text(record.key()), *place, record.timestamp()[1], record.value())

    def _model(self, record: KafkaRecord, name: str, kind: type[Any]) -> Any:  # noqa: ANN401 (of this kind)
        """Return the decoded value; None for a tombstone, whose key is deleted, and for a value of another kind."""
        value = record.value()
        if value is None:
            if name in _DELETE:
                self.put(_DELETE[name], text(record.key()))
            return None
        try:
            model = self._decode(value)
        except ValueError as error:
            log.warning("%s: skipped, cannot be decoded: %s", place_of(record), error)
            self.counts[name, UNDECODABLE] += 1
            return None
        if isinstance(model, kind):
            return model
        self.counts[name, UNDECODABLE] += 1
        return None


Handler = Callable[[Rows, KafkaRecord, str], None]
Handlers = dict[str, tuple[Handler, str]]


def handlers(settings: Settings, catalog: Catalog) -> Handlers:
    """Return, by Kafka topic, what handles its records, and the name under which they are counted."""
    kinds: dict[str, Handler] = {
        RAW: Rows.raw,
        ACCOUNTS: Rows.account,
        MOVEMENTS: Rows.movement,
        ACTIVE: Rows.active,
        ALERTS: Rows.alert,
        QUARANTINE: Rows.quarantined,
        RECOVERIES: Rows.replay,
        DELIVERIES: Rows.delivery,
    }
    typed = {
        settings.topic(contract.topics[0].name): (Rows.typed, biz_type) for biz_type, contract in catalog.events.items()
    }
    return {settings.topic(name): (handler, name) for name, handler in kinds.items()} | typed


def _stored(record: KafkaRecord) -> tuple[int, int, int, bool, bytes | None]:
    """Return partition, offset, timestamp (ms), whether it is simulated, and the value."""
    simulated = any(name == SIMULATED for name, _ in record.headers() or ())
    return record.partition(), record.offset(), record.timestamp()[1], simulated, record.value()

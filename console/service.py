"""Answers questions about the pipeline, as a user may see them. API and pages call the same functions."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from broker_events.console import shown
from broker_events.console.access import User
from broker_events.console.answers import (
    Account,
    AccountAnswer,
    AlertAnswer,
    AlertItem,
    AlertsAnswer,
    Delivery,
    EventAnswer,
    EventPlace,
    Hit,
    Movement,
    MovementAnswer,
    MovementsAnswer,
    Origin,
    RawValue,
    ReconciliationAnswer,
    SearchAnswer,
    TraceAnswer,
)
from broker_events.console.answers import Step as StepItem
from broker_events.console.follower import Follower
from broker_events.console.places import Place
from broker_events.console.rows import ACCOUNTS, ACTIVE, ALERTS, MOVEMENTS, QUARANTINE
from broker_events.console.store import Row
from broker_events.console.tables import AlertFilter, QuarantineFilter, Tables
from broker_events.console.trace import Trace, Tracer
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.events.record_json import iso_millis
from broker_events.runtime.kafka.partitioner import partition_for
from broker_events.runtime.quarantine.replay import RECOVERIES
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import DELIVERIES, RAW, Catalog
from broker_events.schemas.masking import HIDDEN
from broker_events.schemas.models import Alert, MovementState, Record

_CLOSE: Final = 10
_MOST_ALIASES: Final = 100
_MOST_NAME: Final = 10_000
_PLACE: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")
# What Kafka's clients need to go on is a retry; a person does not wait longer.
PATIENCE_S: Final = 3.0


class NotFound(LookupError):
    """Nothing has this name. The text says what was looked for and where."""


class NotReached(Exception):
    """A wanted position is not in the tables yet."""


class Undecodable(Exception):
    """A record of the tables can't be decoded now: the schema registry does not answer."""


class Wanted(NamedTuple):
    """A record that an answer must contain; `topic` without the prefix."""

    topic: str
    partition: int
    offset: int


class Service:
    """The console's answers. Thread-safe."""

    def __init__(
        self, settings: Settings, catalog: Catalog, tables: Tables, follower: Follower, tracer: Tracer
    ) -> None:
        self.settings, self.catalog, self.tables = settings, catalog, tables
        self.follower, self.tracer = follower, tracer

    def age(self, *topics: str, partition: int | None = None) -> dict[str, Any]:
        """Return the members that every answer has, for these topics (without prefix; none: all)."""
        names = {self.settings.topic(topic): topic for topic in topics}
        prefix = self.settings.topic("")
        positions: dict[str, dict[str, int]] = {}
        for (topic, number), offset in sorted(self.follower.positions.items()):
            if (not names or topic in names) and partition in {None, number}:
                positions.setdefault(topic.removeprefix(prefix), {})[str(number)] = offset
        fresh = self.follower.freshness()
        return {
            "positions": positions,
            "behind_s": None if fresh.behind_s is None else round(fresh.behind_s, 3),
            "as_of": None if fresh.as_of is None else iso_millis(round(fresh.as_of * 1000)),
            "problem": fresh.problem,
        }

    def require(self, wanted: list[Wanted]) -> None:
        """Raise NotReached unless the tables contain these records."""
        for each in wanted:
            position = self.follower.positions.get(TopicPartition(self.settings.topic(each.topic), each.partition), 0)
            if position <= each.offset:
                raise NotReached(f"{each.topic}:{each.partition} is read up to offset {position}, not {each.offset}")

    def partition(self, account: str) -> int:
        return partition_for(account.encode("utf-8", "surrogateescape"), self.settings.partitions)

    def key(self, name: str) -> str:
        """Return the account key or movement id of a name in a URL. Raises NotFound for an unknown `~` reference."""
        key = self.tables.resolve(name)
        if key is None:
            raise NotFound(f"{name} is no reference of this console: it may have been rebuilt. Search again")
        return key

    def account(self, name: str, user: User, limit: int = _CLOSE) -> AccountAnswer:
        """Return state, active alerts and the newest movements. Raises NotFound."""
        key = self.key(name)
        age = self.age(ACCOUNTS, MOVEMENTS, ACTIVE, ALERTS, partition=self.partition(key))
        row = self.tables.account(key)
        active = self.tables.active(key, None, 100, None)
        movements = self.tables.movements(key, limit, None)
        if row is None and not active.rows and not movements.rows:
            raise NotFound(
                "no account with this key: no event of it has been projected, or the name is not its account_id"
            )
        parts = [*([row] if row is not None else []), *active.rows, *movements.rows]
        account = Account(
            account_key=shown.key(key, user) or "",
            ref=self.tables.ref(key),
            simulated=any(part["simulated"] for part in parts),
            updated=None if row is None else iso_millis(row["at_ms"]),
            state=None if row is None else shown.document(self._decode(row), user),
        )
        return AccountAnswer(
            account=account,
            active_alerts=[self._alert(each, user) for each in active.rows],
            movements=[self._movement(each, user) for each in movements.rows],
            next_movements=movements.next,
            **age,
        )

    def movements(self, name: str, user: User, limit: int, cursor: str | None) -> MovementsAnswer:
        """Return movements of an account, newest event first."""
        key = self.key(name)
        age = self.age(MOVEMENTS, partition=self.partition(key))
        page = self.tables.movements(key, limit, cursor)
        return MovementsAnswer(movements=[self._movement(row, user) for row in page.rows], next=page.next, **age)

    def movement(self, name: str, user: User) -> MovementAnswer:
        """Return a movement by movement id, reference, client_request_id or the brokerage's id. Raises NotFound."""
        key, age = self.key(name), self.age(MOVEMENTS)
        row = self.tables.movement(key)
        if row is None:
            targets = [each["target"] for each in self.tables.names(key) if each["kind"] == "movement"]
            row = next((found for target in targets if (found := self.tables.movement(target)) is not None), None)
        for _ in range(_MOST_ALIASES):
            if row is None:
                break
            model: Any = self._decode(row)
            if model.alias_of is None:
                return MovementAnswer(movement=self._movement(row, user), **age)
            row = self.tables.movement(model.alias_of)
        raise NotFound("no movement with this id in state.movements")

    def alerts(self, chosen: AlertFilter, user: User, limit: int, cursor: str | None) -> AlertsAnswer:
        """Return alerts as they were written, newest first."""
        age = self.age(ALERTS)
        page = self.tables.alerts(chosen, limit, cursor)
        return AlertsAnswer(alerts=[self._alert(row, user) for row in page.rows], next=page.next, **age)

    def active_alerts(
        self, account: str | None, rule: str | None, user: User, limit: int, cursor: str | None
    ) -> AlertsAnswer:
        """Return the alerts whose condition holds now, newest event first."""
        age = self.age(ACTIVE)
        page = self.tables.active(account, rule, limit, cursor)
        return AlertsAnswer(alerts=[self._alert(row, user) for row in page.rows], next=page.next, **age)

    def alert(self, alert_id: str, user: User) -> AlertAnswer:
        """Return one alert. Raises NotFound."""
        age = self.age(ALERTS, DELIVERIES)
        row = self.tables.alert(alert_id)
        if row is None:
            raise NotFound("no alert with this id in the topic alerts")
        deliveries = None
        if self.tables.has_deliveries():
            deliveries = [
                _delivery(self.decode(each["value"]), each, user) for each in self.tables.deliveries(alert_id)
            ]
        return AlertAnswer(alert=self._alert(row, user), deliveries=deliveries, **age)

    def event(self, event_id: str, user: User) -> EventAnswer:  # noqa: ARG002 (an event id is no personal value)
        """Return where an event is in raw. Raises NotFound."""
        age = self.age(RAW)
        rows = self.tables.events(event_id)
        places = [
            EventPlace(
                place=str(Place(self.settings.topic(RAW), row["partition"], row["offset"])), at=iso_millis(row["at_ms"])
            )
            for row in rows
        ]
        skipped = self.unread(RAW)
        if not places and not skipped:
            raise NotFound("no raw record with this event id")
        return EventAnswer(event_id=event_id, received=places, not_looked_at=skipped, **age)

    def trace(self, event_id: str, user: User) -> tuple[TraceAnswer, Trace]:
        """Return all steps of an event, whole or masked. Raises NotFound."""
        age = self.age()
        trace = self.tracer.trace(event_id)
        if not trace.steps and not trace.skipped:
            raise NotFound(
                "no record with this event id. An event that was never received, or that retention has deleted, "
                "has none; an event without a readable id is in quarantine without it"
            )
        steps, before = [], None
        for step in trace.steps:
            steps.append(
                StepItem(
                    at=_micros(step.at_us),
                    since_s=None if before is None else max(0, step.at_us - before) / 1_000_000,
                    what=step.what,
                    place=step.place,
                    facts=shown.step_facts(step, trace.models.get(step.place or ""), user),
                )
            )
            before = step.at_us
        answer = TraceAnswer(
            event_id=event_id,
            account_ref=None if trace.account is None else self.tables.ref(trace.account),
            steps=steps,
            raw=[_raw_value(record, user) for record in trace.raw],
            origins=_origins(trace, user),
            not_looked_at=trace.skipped,
            took_ms=trace.took_ms,
            **age,
        )
        return answer, trace

    def reconciliation(self) -> ReconciliationAnswer:
        """Return the counts of now."""
        age, counts = self.age(), self.tables.counts()

        def by_label(topic: str) -> dict[str, int]:
            return {label: n for (name, label), n in sorted(counts.items()) if name == topic}

        typed, quarantined = by_label("typed"), by_label(f"{QUARANTINE}.router")
        received = counts.get((RAW, ""), 0)
        accounts, movements = self.tables.sizes()
        return ReconciliationAnswer(
            received=received,
            typed=typed,
            quarantined=quarantined,
            quarantined_by_projector=by_label(f"{QUARANTINE}.projector"),
            replayed=counts.get((RECOVERIES, ""), 0),
            without_output=received - sum(typed.values()) - sum(quarantined.values()),
            alerts=by_label(ALERTS),
            active_alerts=self.tables.active_by_rule(),
            accounts=accounts,
            movements=movements,
            **age,
        )

    def search(self, query: str, user: User) -> SearchAnswer:
        """Find what has exactly this name: an account, movement, alert, event or quarantined record."""
        age, query = self.age(), query.strip()
        hits: list[Hit] = []
        if len(query) > _MOST_NAME:
            raise NotFound("no id is this long")
        if (place := _PLACE.fullmatch(query)) is not None:
            row = self.tables.quarantined(int(place[1]), int(place[2]))
            if row is not None:
                hits.append(Hit(kind="quarantined", ref=query, url=f"/quarantine/{query}", text=row["reason"]))
        for row in self.tables.names(query):
            ref, key = self.tables.ref(row["target"]), shown.key(row["target"], user) or ""
            kind = "account" if row["kind"] == "account" else "movement"
            hits.append(Hit(kind=kind, ref=ref, url=f"/{kind}s/{ref}", text=key))
        if (alert := self.tables.alert(query)) is not None:
            hits.append(Hit(kind="alert", ref=query, url=f"/alerts/{query}", text=f"{alert['rule']} {alert['status']}"))
        known = self.tables.events(query) or self.tables.quarantine(QuarantineFilter(event_id=query), 1, None).rows
        if known or self.tables.alerts_from(query):
            hits.append(Hit(kind="event", ref=query, url=f"/events/{quoted(query)}", text=query))
        skipped = [] if hits else self.unread()
        return SearchAnswer(query=query, hits=hits, not_looked_at=skipped, **age)

    def unread(self, *topics: str) -> list[str]:
        """Name the offsets that are not in the tables yet, of these topics (without prefix) or of all."""
        fresh = self.follower.freshness()
        if fresh.as_of is None:
            return ["everything that Kafka got since the console's tables were written: Kafka has not answered yet"]
        if fresh.behind_s == 0:
            return []
        wanted = {self.settings.topic(topic) for topic in topics}
        left: dict[str, int] = {}
        for topic, partition in self.follower.positions:
            unread = self.follower.unread(topic, partition)
            if unread is not None and unread[1] > unread[0] and (not wanted or topic in wanted):
                left[topic] = left.get(topic, 0) + unread[1] - unread[0] + 1
        return [f"{topic}: {count:,} offsets are not read yet, try again" for topic, count in sorted(left.items())]

    def decode(self, value: bytes) -> Record:
        """Return the record of a value. Raises Undecodable."""
        model = self.tracer.decode(value)
        if model is None:
            raise Undecodable("a record can't be decoded: the schema registry does not answer or lost its schema")
        return model

    def _decode(self, row: Row) -> Record:
        return self.decode(row["value"])

    def _movement(self, row: Row, user: User) -> Movement:
        model = self._decode(row)
        assert isinstance(model, MovementState)  # noqa: S101 (the follower keeps no other)
        return Movement(
            ref=self.tables.ref(row["key"]),
            account_ref=self.tables.ref(row["account"]),
            simulated=bool(row["simulated"]),
            movement=shown.document(model, user),
        )

    def _alert(self, row: Row, user: User) -> AlertItem:
        model = self._decode(row)
        assert isinstance(model, Alert)  # noqa: S101 (the follower keeps no other)
        topic = self.settings.topic(ACTIVE if "key" in row.keys() else ALERTS)  # noqa: SIM118 (a row of SQLite)
        return AlertItem(
            place=str(Place(topic, row["partition"], row["offset"])),
            at=iso_millis(row["at_ms"]),
            account_ref=self.tables.ref(row["account"]),
            simulated=bool(row["simulated"]),
            alert=shown.document(model, user),
        )


def quoted(name: str) -> str:
    """Return a name for the path of a URL."""
    return quote(name, safe="~")


def _delivery(model: Record, row: Row, user: User) -> Delivery:
    fields = shown.document(model, user)
    taken = {name: fields[name] for name in ("receiver", "outcome", "attempts", "detail", "last_status", "last_answer")}
    return Delivery(**taken, at=iso_millis(row["at_ms"]))


def _raw_value(record: Any, user: User) -> RawValue:  # noqa: ANN401 (a KafkaRecord)
    text, is_cut = shown.cut(record.value())
    place = str(Place(record.topic(), record.partition(), record.offset()))
    return RawValue(place=place, bytes=len(record), text=text if user.sees_personal else None, is_cut=is_cut)


def _origins(trace: Trace, user: User) -> list[Origin]:
    if trace.typed is None:
        return []
    fields = shown.document(trace.typed, user)
    whole = shown.plain_json(trace.typed.model_dump())
    listed = []
    for each in trace.origins:
        value = fields.get(each.field)
        hidden = value != whole.get(each.field)
        raw = shown.plain_json({"raw": each.raw})["raw"]
        listed.append(
            Origin(field=each.field, value=value, pointer=each.pointer, raw=HIDDEN if hidden else raw, doc=each.doc)
        )
    return listed


def _micros(micros: int) -> str:
    at = datetime.fromtimestamp(micros / 1_000_000, UTC)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")

"""Finds the alerts that the events cause and the topic `alerts` lacks. Pure.

The live run may have alerted a transition under another event than the rebuild does, if an operator skipped the event
or retention has deleted it. So an alert is missing only if the live run has none for its transition:

- A condition such as LIQUIDATE_ONLY: an alert of the same account, subject and status between the rebuild's transitions
  before and after it.
- An occurrence on a movement, such as TRANSFER_RETURNED: an alert of a movement that shares an id with it, by `alerts`,
  or by `returned_alert_id` or `rules` of the live movement.
- An occurrence on an account: the alert of the same event.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from math import inf
from typing import Final, NamedTuple

from broker_events.audit.fingerprint import typed_id
from broker_events.processors.alert_record import AlertRecord
from broker_events.processors.fold import Folded
from broker_events.processors.rules import active_change
from broker_events.processors.rules.alerting import TRANSFER_RETURNED, is_condition
from broker_events.processors.rules.funding import real_id
from broker_events.processors.rules.linking import movements_of, movements_of_alert
from broker_events.processors.rules.outcome import StateReader
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition, partition_of
from broker_events.schemas.storage_types import Alert, MovementState, RestrictionsState

_DELETED: Final = -1
"""Place of an event that the typed topics no longer hold."""


_Condition = tuple[str, str, str]


class MissingAlert(NamedTuple):
    """An alert that `alerts` lacks; `key` and `received_ms` of its event. `is_known`: the state before the event is."""

    key: bytes
    alert: AlertRecord
    received_ms: int
    is_known: bool


class _Raised(NamedTuple):
    """An alert on a condition; `place`: number of its event in the rebuild."""

    place: int
    status: str
    alert_id: str


class _Live(NamedTuple):
    """An alert on a condition in `alerts`."""

    event_id: bytes
    status: str
    alert_id: str


class MissingAlerts:
    """Collects the missing alerts of one partition number.

    First `know` every alert in the topic, then `note` every event in the order of its topic, then `judge`.
    `unjudged`: number of alerts that may depend on deleted events, or may have been deleted themselves.
    """

    def __init__(self, cut: Collection[TopicPartition], max_skew_us: int, stateless: Collection[str] = ()) -> None:
        """`cut`: the typed partitions whose first events are deleted. `max_skew_us`: MAX_CLOCK_SKEW_S.

        `stateless`: names of the rules about occurrences that depend on the event alone.
        """
        self.since_ms = 0.0
        """Time of the oldest alert in the topic, where older ones may be deleted; 0 where none is."""
        self.known: set[str] = set()
        """Ids of the alerts in the topic."""
        self.missing: list[MissingAlert] = []
        self.unjudged = 0
        self._cut, self._max_skew_us, self._stateless = cut, max_skew_us, stateless
        self._conditions: dict[_Condition, list[_Live]] = defaultdict(list)
        self._on_movements: list[Alert] = []
        self._places: dict[bytes, int] = {}
        """Of the events of known alerts, by id."""
        self._events = 0
        self._raised: dict[_Condition, list[_Raised]] = defaultdict(list)
        self._candidates: dict[str, MissingAlert] = {}
        self._newest_deleted_us: dict[TopicPartition, int] = {}
        self._certain: set[bytes] = set()
        """Accounts of cut partitions whose state no longer depends on deleted events."""

    def know(self, alert: Alert) -> None:
        """Take an alert of the topic."""
        self.known.add(alert["alert_id"])
        if not is_condition(alert):
            if _is_on_movement(alert):
                self._on_movements.append(alert)
            return
        live = _Live(alert["event_id"].encode(), alert["status"], alert["alert_id"])
        self._conditions[_condition(alert)].append(live)
        self._places[live.event_id] = _DELETED

    def note(self, record: KafkaRecord, folded: Folded) -> None:
        """Take an event and its result."""
        self._events += 1
        event_id = typed_id(record.value() or b"")
        if self._places.get(event_id) == _DELETED:
            self._places[event_id] = self._events
        is_cut = (tp := partition_of(record)) in self._cut
        is_known = not is_cut or folded.state_key in self._certain
        for written in folded.alerts:
            alert = written.alert
            alert_id = alert["alert_id"]
            if is_condition(alert):
                self._raised[_condition(alert)].append(_Raised(self._events, alert["status"], alert_id))
            if alert_id not in self.known:
                candidate = MissingAlert(record.key() or b"", written, record.timestamp()[1], is_known)
                self._candidates.setdefault(alert_id, candidate)
        if is_cut:
            newest_us = self._newest_deleted_us.setdefault(
                tp, (record.timestamp()[1] + 1) * 1000 + 2 * self._max_skew_us
            )
            if "restrictions" in folded.outcome.state and self._is_certain(folded, newest_us):
                self._certain.add(folded.state_key)

    def _is_certain(self, folded: Folded, newest_deleted_us: int) -> bool:
        """Whether the snapshot in the state superseded every deleted one: it has an alert, or a later time.

        No event's place in the order is after its receipt. The clocks of two bridges differ by two skews at most.
        """
        snapshot: RestrictionsState | None = folded.outcome.state["restrictions"]
        if snapshot is None or (snapshot["arrival"] is not None and snapshot["arrival"]["order_time"] is not None):
            return False
        is_alerted = any(each.alert["alert_id"] in self.known for each in folded.alerts)
        return is_alerted or snapshot["event_time"] > newest_deleted_us

    def judge(self, movements: StateReader[MovementState], live: Iterable[MovementState]) -> None:
        """Decide on each alert that `alerts` lacks. `movements`: the rebuilt ones; `live`: every live record."""
        alerts = [each.alert.alert for each in self._candidates.values()]
        conditions = {_condition(alert) for alert in alerts if is_condition(alert)}
        paired = set[str]().union(*map(self._paired, conditions))
        on_movements = self._alerted_movements(movements, live) if any(map(_is_on_movement, alerts)) else {}
        for alert_id, each in self._candidates.items():
            alert = each.alert.alert
            if is_condition(alert):
                is_alerted, is_known = alert_id in paired, each.is_known
            elif not _is_on_movement(alert):  # its id is of its event alone, and `alerts` does not have it
                is_alerted, is_known = False, each.is_known or alert["rule"] in self._stateless
            else:  # the live movement knows of deleted events
                keys = [(alert["rule"], key) for key in movements_of_alert(movements, alert)]
                others = set[str]().union(*(on_movements.get(key, ()) for key in keys)) - {alert_id}
                is_alerted, is_known = bool(others & self.known), not (others and self.since_ms)
            if is_alerted:
                continue
            if is_known and each.received_ms >= self.since_ms:
                self.missing.append(each)
            else:
                self.unjudged += 1

    def _paired(self, condition: _Condition) -> set[str]:
        """Return the ids of the rebuild's alerts whose transition the live run alerted under another event."""
        raised = self._raised[condition]
        ids = {each.alert_id for each in raised}
        live = sorted(self._conditions[condition], key=lambda each: self._places[each.event_id])
        places = [self._places[each.event_id] for each in live]
        paired = set()
        for number, each in enumerate(raised):
            after = raised[number + 1].place if number + 1 < len(raised) else inf
            before = raised[number - 1].place if number else _DELETED - 1
            first = bisect_left(places, each.place)
            if first and places[first - 1] > before:  # what the live run had said last
                first -= 1
            if any(
                other.status == each.status and other.alert_id not in ids
                for other in live[first : bisect_left(places, after)]
            ):
                paired.add(each.alert_id)
        return paired

    def _alerted_movements(
        self, movements: StateReader[MovementState], live: Iterable[MovementState]
    ) -> dict[tuple[str, bytes], set[str]]:
        """Return the ids of the alerts that the live run raised, by rule and rebuilt movement that their ids lead to.

        A record with a placeholder in place of an id may join several movements, and its alert is about one of them.
        """
        found: dict[tuple[str, bytes], set[str]] = defaultdict(set)
        for alert in self._on_movements:
            for key in movements_of_alert(movements, alert):
                found[alert["rule"], key].add(alert["alert_id"])
        records = {state["movement_id"]: state for state in live}
        for record in records.values():
            state = record
            while state["alias_of"] is not None and state["alias_of"] in records:
                state = records[state["alias_of"]]
            if _has_placeholder(record) or _has_placeholder(state):
                continue
            if alerted := _alerts_of(state):
                for key in movements_of(movements, record):
                    for rule, alert_id in alerted.items():
                        found[rule, key].add(alert_id)
        return found

    def active_changes(
        self, live: Mapping[bytes, bytes], rebuilt: Mapping[bytes, bytes]
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield the keys of alerts.active that the missing alerts set and whose value is wrong, with the right value.

        A condition that has ended since is not in `rebuilt`, so its FIRING alert does not return.
        """
        changes = (active_change(each.alert.alert) for each in self.missing)
        for key in dict.fromkeys(change.dedup_key.encode() for change in changes if change is not None):
            if live.get(key) != rebuilt.get(key):
                yield key, rebuilt.get(key)


def _is_on_movement(alert: Alert) -> bool:
    return alert["transfer"] is not None or alert["movement"] is not None


def _alerts_of(state: MovementState) -> dict[str, str]:
    """Return the id of the last alert on a movement, by rule."""
    alerts = {rule: each["alert_id"] for rule, each in state["rules"].items()}
    if state["returned_alert_id"] is not None:
        alerts[TRANSFER_RETURNED.name] = state["returned_alert_id"]
    return alerts


def _has_placeholder(record: MovementState) -> bool:
    """Whether an id of the record, also of the one in its key, is a placeholder, as older versions kept them."""
    key = record["movement_id"].removeprefix(f"{record['account_key']}/{record['biz_type']}/")
    values = (key, record["client_request_id"], *record["system_ids"].values())
    return any(value and real_id(value) is None for value in values)


def _condition(alert: Alert) -> _Condition:
    """Return what a condition is about; an alert of an older version may have another dedup_key for it."""
    return alert["rule"], alert["account_key"], alert["subject"]

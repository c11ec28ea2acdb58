"""Whether every alert has exactly one outcome at a receiver, and what the receiver's own log has. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from broker_events.schemas.models import Delivery

_EXAMPLES: Final = 10


class AlertSeen(NamedTuple):
    """A record of alerts: its place, its id (its place as text if it can't be decoded) and its dedup key."""

    partition: int
    offset: int
    name: str
    dedup_key: str


class Reached(NamedTuple):
    """How far a receiver's group has committed a partition, and the finished offsets after that."""

    offset: int
    finished: frozenset[int]

    def covers(self, offset: int) -> bool:
        return offset < self.offset or offset in self.finished


@dataclass
class DeliveryProof:
    """The result for one receiver. `missing`, `doubled` and the problems of its log are differences."""

    receiver: str
    alerts: int = 0
    waiting: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    in_log: int | None = None
    not_in_log: list[str] = field(default_factory=list)
    wrongly_signed: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)

    @property
    def is_proved(self) -> bool:
        return not any((self.missing, self.doubled, self.not_in_log, self.wrongly_signed, self.out_of_order))

    def document(self) -> dict[str, object]:
        """Return the numbers, and at most ten examples of each difference."""
        lists = ("missing", "doubled", "given_up", "not_in_log", "wrongly_signed", "out_of_order")
        examples = {name: getattr(self, name)[:_EXAMPLES] for name in lists}
        return {
            "receiver": self.receiver,
            "alerts": self.alerts,
            "waiting": self.waiting,
            **{name: self.outcomes[name.upper()] for name in ("delivered", "given_up", "skipped")},
            **{f"{name}_count": len(getattr(self, name)) for name in lists if name != "given_up"},
            "in_log": self.in_log,
            "examples": {name: found for name, found in examples.items() if found},
        }


class Ledger:
    """The records of alerts.deliveries of one receiver, in the order of the topic."""

    def __init__(self, receiver: str) -> None:
        self._receiver = receiver
        self._last: dict[str, Delivery] = {}
        self._written: Counter[tuple[str, int]] = Counter()

    def add(self, delivery: Delivery) -> None:
        self._last[delivery.alert_id] = delivery
        if delivery.retried_by is None:
            self._written[delivery.alert_id, delivery.alert_offset] += 1

    def prove(self, alerts: Iterable[AlertSeen], reached: Mapping[int, Reached]) -> DeliveryProof:
        """Compare with the alerts; `reached`: by partition, without those that the group has not begun."""
        proof = DeliveryProof(self._receiver)
        for alert in alerts:
            proof.alerts += 1
            at = reached.get(alert.partition)
            if at is None or not at.covers(alert.offset):
                proof.waiting += 1
                continue
            found = self._last.get(alert.name)
            if found is None:
                proof.missing.append(alert.name)
                continue
            proof.outcomes[found.outcome] += 1
            if found.outcome == "GIVEN_UP":
                proof.given_up.append(alert.name)
            if self._written[alert.name, alert.offset] > 1:
                proof.doubled.append(alert.name)
        return proof

    def delivered(self, alerts: Iterable[AlertSeen]) -> Iterator[AlertSeen]:
        """Yield the alerts that were delivered by a worker, not by a later retry of an operator."""
        for alert in alerts:
            found = self._last.get(alert.name)
            if found is not None and found.outcome == "DELIVERED" and found.retried_by is None:
                yield alert


class Received(NamedTuple):
    """A request that a receiver accepted, in the order of its log."""

    webhook_id: str
    is_signed: bool


def compare_log(proof: DeliveryProof, delivered: Iterable[AlertSeen], received: Iterable[Received]) -> None:
    """Enter into `proof` how the receiver's log differs: each delivered id at least once, in order by dedup key."""
    first: dict[str, int] = {}
    count = 0
    for each in received:
        count += 1
        first.setdefault(each.webhook_id, count)
        if not each.is_signed:
            proof.wrongly_signed.append(each.webhook_id)
    proof.in_log = count
    latest: defaultdict[str, int] = defaultdict(int)
    for alert in sorted(delivered, key=lambda alert: (alert.partition, alert.offset)):
        at = first.get(alert.name)
        if at is None:
            proof.not_in_log.append(alert.name)
        elif at < latest[alert.dedup_key]:
            proof.out_of_order.append(alert.name)
        else:
            latest[alert.dedup_key] = at

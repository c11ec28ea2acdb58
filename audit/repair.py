"""Writes the findings of a rebuild into the live tables while no projector runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, NamedTuple

from broker_events.processors.projector import NAME
from broker_events.runtime.consume.offset_moves import group_members
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.kafka.clients import Headers, admin_client
from broker_events.runtime.kafka.topic_reader import committed_offsets
from broker_events.runtime.kafka.topics import DERIVED_SIZE_FACTOR
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import Settings

ROLE: Final = "repairer"
_REQUEST_TIMEOUT_S: Final = 15.0


class Output(NamedTuple):
    """A record to write; `topic` without the prefix."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: Headers | None


class Repair:
    """Raises OperatorActionRequired while the projectors' group has a member.

    A projector that starts meanwhile can't interfere. It joins the group before it reads the tables, and reads them to
    the end of every open transaction. The repair checks that the group is empty after it has written a transaction and
    before it commits, so such a projector waits for that transaction. A second repair fences the first.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._group = settings.group(NAME)
        self._admin = admin_client(settings)
        self.refuse_if_live()
        self._transaction = Transaction(settings, f"{settings.topic_prefix}.rebuild", DERIVED_SIZE_FACTOR)
        self._transaction.init()

    def refuse_if_live(self) -> None:
        """Raise OperatorActionRequired while a projector runs."""
        members = group_members(self._admin, self._settings, self._group)
        if members:
            raise OperatorActionRequired(
                f"the group {self._group} has {members} members. Stop every projector (scale to 0, or SIGTERM) and run "
                "the repair again. A killed projector counts until its session times out"
            )

    def write(self, outputs: Iterable[Output], offsets: Mapping[TopicPartition, int]) -> int:
        """Write these records in transactions and return their number.

        `offsets`: the projectors' offsets that they hold for. Raises OperatorActionRequired where the offsets have
        moved or a projector has started, RestartRequired where Kafka doesn't answer. Transactions that have committed
        before stay.
        """
        waiting, written = iter(outputs), 0
        while chunk := [*islice(waiting, self._settings.transaction_records)]:
            self._transaction.begin()
            for output in chunk:
                topic = self._settings.topic(output.topic)
                self._transaction.produce(topic, output.value, output.key, output.partition, output.headers)
            try:
                self._transaction.flush()
                self._refuse_if_moved(offsets)
            except BaseException:
                self._transaction.abort()
                raise
            self._transaction.commit()
            written += len(chunk)
        return written

    def _refuse_if_moved(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.refuse_if_live()
        found = committed_offsets(self._settings, self._group, [*offsets])
        if {tp: offset or 0 for tp, offset in found.items()} != offsets:
            raise OperatorActionRequired(
                "a projector has committed since the tables were compared: run the repair again"
            )

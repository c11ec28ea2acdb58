"""How far routers and projectors are: their committed offsets, lag in seconds, and members, from Kafka alone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from broker_events.audit.ledger import ROUTER
from broker_events.runtime.consume.lag import PartitionLag
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.kafka.clients import client_config
from broker_events.runtime.kafka.topic_reader import committed_offsets, end_offsets
from broker_events.runtime.process.errors import PipelineError
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import RAW, Catalog

log = logging.getLogger(__name__)

PROJECTOR: Final = "projector"
_EVERY_S: Final = 3.0
_TIMEOUT_S: Final = 3.0


class Member(NamedTuple):
    """A worker: its instance id or client id, host, and number of assigned partitions."""

    name: str
    host: str
    partitions: int


class WorkerGroup(NamedTuple):
    """A consumer group. `lag_s`: age of its oldest unread record; None: not known."""

    app: str
    members: tuple[Member, ...]
    lag_s: float | None
    lag_records: int | None
    problem: str | None


class Workers:
    """Asks Kafka every few seconds in a thread, until `stop` is set. `groups`: the latest answer by app."""

    def __init__(self, settings: Settings, catalog: Catalog, stop: threading.Event) -> None:
        """`settings`: with a short START_TIMEOUT_S."""
        self._settings, self._stop = settings, stop
        typed = [contract.topics[0].name for contract in catalog.events.values()]
        self._topics = {ROUTER: [RAW], PROJECTOR: typed}
        self._lags: dict[tuple[str, TopicPartition], PartitionLag] = {}
        self.groups: Mapping[str, WorkerGroup] = {}
        self._thread = threading.Thread(target=self._run, name="workers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.groups = {app: self._ask(app) for app in self._topics}
            self._stop.wait(_EVERY_S)

    def _ask(self, app: str) -> WorkerGroup:
        try:
            lag_s, records = self._lag(app)
            return WorkerGroup(app, self._members(app), lag_s, records, None)
        except (PipelineError, KafkaException) as error:
            return WorkerGroup(app, (), None, None, str(error))

    def _lag(self, app: str) -> tuple[float, int]:
        """Return the age of the oldest unread record (s), and the unread offsets."""
        topics = [self._settings.topic(name) for name in self._topics[app]]
        partitions = [TopicPartition(topic, number) for topic in topics for number in range(self._settings.partitions)]
        committed = committed_offsets(self._settings, self._settings.group(app), partitions)
        ends = end_offsets(self._settings, partitions, self._stop)
        now, waiting_s, records = time.time(), 0.0, 0
        for tp, end in ends.items():
            position = committed[tp] or 0
            lag = self._lags.setdefault((app, tp), PartitionLag())
            waiting_s = max(waiting_s, lag.seconds(position, end, None, now))
            records += max(end - position - 1, 0)  # the last offset is a transaction marker
        return waiting_s, records

    def _members(self, app: str) -> tuple[Member, ...]:
        admin = AdminClient(client_config(self._settings))
        group = self._settings.group(app)
        described = admin.describe_consumer_groups([group], request_timeout=_TIMEOUT_S)[group].result()
        members = [
            Member(
                str(member.group_instance_id or member.client_id),
                str(member.host).removeprefix("/"),
                len({(tp.topic, tp.partition) for tp in member.assignment.topic_partitions}),
            )
            for member in described.members
        ]
        return tuple(sorted(members))

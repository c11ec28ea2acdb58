"""Detects recreated topics by their ids (KIP-516), and changed partition counts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription

from broker_events.runtime.kafka.clients import client_config
from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired
from broker_events.runtime.settings import PREFIX, Settings

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 2.0

Asked = Mapping[str, Future[TopicDescription]]


class TopicIdentity:
    """Knows the ids of `topics` (Kafka names) as of the last `learn`."""

    def __init__(self, settings: Settings, topics: Iterable[str]) -> None:
        self._config = client_config(settings)
        self._admin = AdminClient(self._config)
        self._topics = TopicCollection([*topics])
        self._partitions = settings.partitions
        self.ids: dict[str, str] = {}

    def learn(self) -> None:
        """Request the ids and remember them. Raises KafkaException if Kafka doesn't answer."""
        self.ids = {topic: str(future.result().topic_id) for topic, future in self.ask().items()}

    def ask(self) -> Asked:
        """Request the ids without waiting; pass the result to `verify`."""
        return self._admin.describe_topics(self._topics, request_timeout=_TIMEOUT_S)

    def verify(self, asked: Asked) -> None:
        """Wait for the answer and compare it. A missing answer is logged only: the next Kafka call fails by itself.

        Raises OperatorActionRequired if a topic has another id or partition count, RestartRequired if it was deleted.
        """
        missing: list[str] = []
        for topic, future in asked.items():
            try:
                found = future.result()
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise RestartRequired(
                        f"{topic} was deleted while this worker read it. Later records of it are not committed"
                    ) from None
                missing.append(f"{topic}: {error.str()}")
            else:
                refuse_another(topic, self.ids[topic], str(found.topic_id))
                if len(found.partitions) != self._partitions:
                    raise OperatorActionRequired(
                        f"{topic} has {len(found.partitions)} partitions, {PREFIX}PARTITIONS says {self._partitions}: "
                        "keys would move. See docs/how-to/runbook.md, A topic has another partition count"
                    )
        if missing:
            log.warning("Kafka did not return the ids of %d topics (%s)", len(missing), missing[0])
            # An admin client looks for a new controller only every few minutes; a new one asks any broker.
            self._admin = AdminClient(self._config)


def refuse_another(topic: str, known: str, found: str) -> None:
    """Raise OperatorActionRequired unless the offsets belong to the existing topic."""
    if known != found:
        raise OperatorActionRequired(
            f"{topic} was deleted and created again: the group's offsets belong to the topic id {known}, the topic has "
            f"{found}. They are not valid for it. See docs/how-to/runbook.md, A worker refuses its offsets"
        )

"""What a plain worker could do at most: consume, produce the same bytes, commit both; nothing is looked at.

`python -m bench.limit JOB.json`: runs until SIGTERM. The outputs go round robin to the twelve typed topics, in the
partition that they came from.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from itertools import cycle
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer

from broker_events.runtime.kafka.clients import consumer_config, producer_config
from broker_events.runtime.settings import Settings, load_settings


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = load_settings(kafka_bootstrap_servers=job["bootstrap_servers"])
    topics: list[str] = [route["topic"] for route in job["routes"].values()]
    copy(settings, job["raw"], topics, job["group"], job["commit_interval_ms"] / 1000, stop)


def copy(
    settings: Settings, source: str, topics: list[str], group: str, interval_s: float, stop: threading.Event
) -> None:
    """Copy `source` until `stop` is set, committing every `interval_s` seconds."""
    consumer = Consumer(
        consumer_config(settings, group_id=group, auto_offset_reset="earliest", queued_min_messages=100_000)
    )
    producer = Producer(producer_config(settings, transactional_id=group))
    producer.init_transactions()
    consumer.subscribe([source])
    produce, target = producer.produce, cycle(topics)
    while not stop.is_set():
        producer.begin_transaction()
        until = time.monotonic() + interval_s
        while time.monotonic() < until:
            for message in consumer.consume(2000, 0.01):
                if error := message.error():
                    raise KafkaException(error)
                produce(next(target), message.value(), message.key(), message.partition() or 0)
            producer.poll(0)
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
        )
        producer.commit_transaction()
    consumer.close()


if __name__ == "__main__":
    main()

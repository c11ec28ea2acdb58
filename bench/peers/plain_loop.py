"""A plain loop: confluent-kafka, JSON to Avro by fastavro, transactions by hand. `plain_loop.py JOB.json`."""

from __future__ import annotations

import signal
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer
from events import Typing, read_job


def main() -> None:
    job = read_job(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    consumer = Consumer(
        {
            "bootstrap.servers": job["bootstrap_servers"],
            "group.id": job["group"],
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 100,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": job["bootstrap_servers"],
            "transactional.id": job["group"],
            "compression.type": "lz4",
            "linger.ms": 5,
            "batch.size": 500_000,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 500_000,
        }
    )
    producer.init_transactions()
    consumer.subscribe([job["raw"]])
    typing = Typing(job)
    interval_s = job["commit_interval_ms"] / 1000
    while not stop.is_set():
        producer.begin_transaction()
        until = time.monotonic() + interval_s
        while time.monotonic() < until:
            for message in consumer.consume(500, 0.01):
                if error := message.error():
                    raise KafkaException(error)
                topic, value = typing.encode(message.value())
                producer.produce(
                    topic,
                    value,
                    message.key(),
                    message.partition(),
                    timestamp=message.timestamp()[1],
                    headers=[("raw_offset", b"%d" % message.offset())],
                )
            producer.poll(0)
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
        )
        producer.commit_transaction()
    consumer.close()


if __name__ == "__main__":
    main()

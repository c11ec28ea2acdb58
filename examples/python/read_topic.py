"""Read topics from Python: `python read_topic.py TOPIC...`, Kafka names such as broker.event.transfer.

Prints each record as one JSON line, handles every alert once, ends after IDLE_S seconds without a record, and commits
its offsets: the next run continues there. Environment: KAFKA, REGISTRY, GROUP, HANDLED (a file), IDLE_S. Needs
`pip install broker-events`.
"""

import json
import os
import sys
import time
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Message

from broker_events.schemas.codec import EventDecoder
from broker_events.schemas.models import Alert

decoder = EventDecoder(os.environ.get("REGISTRY", "http://127.0.0.1:8081"))
handled_file = Path(os.environ.get("HANDLED", "handled-alerts.txt"))
handled = set(handled_file.read_text().split()) if handled_file.exists() else set()


def handle_alert(alert: Alert) -> None:
    """Act on an alert once, however often it is read: alert_id identifies it. Use a unique key in your database."""
    if alert.alert_id not in handled:
        handled.add(alert.alert_id)
        with handled_file.open("a") as file:
            file.write(f"{alert.alert_id}\n")


def plain(value: object) -> object:
    """Exact text for JSON: a float would lose digits of an amount."""
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case bytes():
            return value.decode(errors="replace")
    raise TypeError(type(value).__name__)


def process(message: Message) -> None:
    record = decoder.decode(message.value())  # None is a tombstone: the key is deleted
    if isinstance(record, Alert) and str(message.topic()).endswith(".alerts"):
        handle_alert(record)
    key = message.key()
    line = {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "key": None if key is None else key.decode(),
        "value": None if record is None else record.model_dump(),
    }
    print(json.dumps(line, default=plain, ensure_ascii=False))


consumer = Consumer(
    {
        "bootstrap.servers": os.environ.get("KAFKA", "127.0.0.1:9092"),
        "group.id": os.environ.get("GROUP", "broker-subscriber-python"),
        "isolation.level": "read_committed",  # librdkafka's default; say it all the same
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,  # commit what is processed, not what is fetched
    }
)
consumer.subscribe(sys.argv[1:])
idle_s = float(os.environ.get("IDLE_S", "10"))
last = time.monotonic()
count = 0
try:
    while time.monotonic() - last < idle_s:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error() is not None:
            raise KafkaException(message.error())
        process(message)
        count += 1
        last = time.monotonic()
    sys.stdout.flush()
    if count:
        consumer.commit(asynchronous=False)  # after processing: a crash repeats records and loses none
finally:
    consumer.close()

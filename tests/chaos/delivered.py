"""What the receiver of alerts has in its own log, compared with alerts and alerts.deliveries."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from evidence import Decoder
from violations import Kind, Report, Stage

from broker_events.runtime.kafka.topic_reader import read_to_end, topic_partitions
from broker_events.runtime.settings import Settings


def judge_deliveries(settings: Settings, log: Path, secret: str) -> Report:
    """Every alert is delivered: signed, in the order of its account, and with one record; no request is foreign."""
    report, decoder = Report(), Decoder()
    alerts = [record for _, record in _records(settings, decoder, "alerts")]
    requests = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    first: dict[str, int] = {}
    for number, request in enumerate(requests):
        first.setdefault(request["webhook-id"], number)
        if not _is_signed(request, secret):
            report.add(Stage.DELIVERIES, Kind.CHANGED, f"request {number} of {request['webhook-id']} is wrongly signed")
    latest: defaultdict[str, int] = defaultdict(int)
    for alert in alerts:
        alert_id, at = alert["alert_id"], first.get(alert["alert_id"])
        if at is None:
            report.add(Stage.DELIVERIES, Kind.LOST, f"alert {alert_id} was never received")
        elif at < latest[alert["account_key"]]:
            report.add(Stage.DELIVERIES, Kind.OUT_OF_ORDER, f"alert {alert_id} came before an earlier one")
        else:
            latest[alert["account_key"]] = at
    for alert_id in first.keys() - {alert["alert_id"] for alert in alerts}:
        report.add(Stage.DELIVERIES, Kind.UNEXPECTED, f"{alert_id} was received and is no alert")
    records = Counter(record["alert_id"] for _, record in _records(settings, decoder, "alerts.deliveries"))
    for alert in alerts:
        if (count := records[alert["alert_id"]]) != 1:
            kind = Kind.DOUBLED if count else Kind.LOST
            report.add(Stage.DELIVERIES, kind, f"alert {alert['alert_id']} has {count} records in alerts.deliveries")
    report.compared |= Counter({"requests": len(requests), "repeated requests": len(requests) - len(first)})
    return report


def _records(settings: Settings, decoder: Decoder, topic: str) -> Iterator[tuple[int, Any]]:
    """Yield partition and decoded value, in order within a partition."""
    starts = dict.fromkeys(topic_partitions(settings, settings.topic(topic)), 0)
    for record in chain.from_iterable(read_to_end(settings, starts)):
        yield record.partition(), decoder.decode(topic, record.value())


def _is_signed(request: dict[str, str], secret: str) -> bool:
    """By the definition of the signature: the library's verify refuses what is older than five minutes."""
    to_sign = f"{request['webhook-id']}.{request['webhook-timestamp']}.{request['body']}"
    return _signature(secret, to_sign) in request["webhook-signature"].split(" ")


def _signature(secret: str, text: str) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()

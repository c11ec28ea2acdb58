"""Alerts to a real Alertmanager: what holds is known within an interval, whatever was killed."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest
from alert_receiver import receivers_file
from alertmanager_process import AlertmanagerProcess
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, eventually
from raised_alerts import AlertTopics, alert, returned

from broker_events.schemas.models import Delivery
from broker_events.schemas.storage_types import Alert

INTERVAL_S = 2


@pytest.fixture
def pipeline(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Pipeline:
    return Pipeline(cluster, topic_prefix, tmp_path, partitions=2).made()


def table(urls: list[str]) -> str:
    quoted = ", ".join(f'"{url}"' for url in urls)
    return f'name = "on-call"\nkind = "alertmanager"\nurls = [{quoted}]\ninterval_s = {INTERVAL_S}\n'


def outcomes(pipeline: Pipeline) -> dict[str, str]:
    found = pipeline.decoded("alerts.deliveries")
    return {each.alert_id: each.outcome for each in found if isinstance(each, Delivery)}


def holds(one: AlertmanagerProcess, alert_ids: set[str]) -> bool:
    return {found["annotations"]["alert_id"] for found in one.alerts()} == alert_ids


def has_notified(one: AlertmanagerProcess, fired: Alert, statuses: list[str]) -> bool:
    return one.statuses(fired["alert_id"]) == statuses


def resolved(fired: Alert) -> Alert:
    assert fired["restriction"] is not None
    evidence = fired["restriction"] | {"fired_alert_id": fired["alert_id"], "duration_us": 0}
    return alert(fired["account_key"], "RESOLVED", market=fired["subject"], restriction=evidence)


def test_alertmanagers_hold_what_holds_and_hear_what_ends(pipeline: Pipeline, tmp_path: Path) -> None:
    topics = AlertTopics(pipeline)
    lasting, ending, transfer = alert("ACC-1"), alert("ACC-2"), returned("ACC-3")
    with AlertmanagerProcess(tmp_path / "a") as one, AlertmanagerProcess(tmp_path / "b") as other:
        file = receivers_file(tmp_path, table([one.url, other.url]))
        with pipeline.worker("deliver", delivery_receivers=file) as worker:
            topics.write([lasting, ending, transfer])
            ids = {each["alert_id"] for each in (lasting, ending, transfer)}
            for each in (one, other):
                eventually(partial(holds, each, ids), lambda: worker.log)
            end = resolved(ending)
            topics.write([end])
            for each in (one, other):
                eventually(partial(has_notified, each, ending, ["firing", "resolved"]))
            # It forgets everything, and a condition begins and ends meanwhile.
            one.kill()
            short = alert("ACC-4")
            topics.write([short])
            eventually(lambda: short["alert_id"] in outcomes(pipeline))
            topics.write([resolved(short)])
            one.start()
            left = {lasting["alert_id"], transfer["alert_id"]}
            began = time.monotonic()
            eventually(partial(holds, one, left))
            assert time.monotonic() - began < 3 * INTERVAL_S
            worker.kill()
        # Nobody holds the leases up; the next worker does, and un-resolves nothing.
        with pipeline.worker("deliver", delivery_receivers=file) as worker:
            worker.wait_ready()
            time.sleep(2 * INTERVAL_S)
            for each in (one, other):
                assert holds(each, left)
            assert worker.stop() == 0, worker.log
    assert other.statuses(ending["alert_id"]) == ["firing", "resolved"]
    assert one.statuses(lasting["alert_id"]) == ["firing"]
    assert set(outcomes(pipeline).values()) == {"DELIVERED"}
    assert len(outcomes(pipeline)) == 6


def test_what_began_and_ended_unsent_is_on_record(pipeline: Pipeline, tmp_path: Path) -> None:
    topics = AlertTopics(pipeline)
    fired = alert("ACC-1", at_us=time.time_ns() // 1000)
    end = resolved(fired)
    topics.write([fired, end])
    with AlertmanagerProcess(tmp_path / "a") as one:
        file = receivers_file(tmp_path, table([one.url]))
        with pipeline.worker("deliver", delivery_receivers=file) as worker:
            eventually(lambda: len(outcomes(pipeline)) == 2, lambda: worker.log)
            assert worker.stop() == 0, worker.log
        assert one.alerts() == []
    assert outcomes(pipeline) == {fired["alert_id"]: "SKIPPED", end["alert_id"]: "DELIVERED"}

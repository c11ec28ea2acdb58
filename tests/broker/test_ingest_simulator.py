"""The bridge on the simulated broker with its faults: everything it pushed is in the raw topic, once."""

from pathlib import Path

import orjson
from bridge_process import BridgeProcess, headers_of, raw_records, wait_for_raw, with_topics
from kafka_cluster import KafkaCluster
from simulator_process import simulator

COUNT = 20_000


def test_all_that_was_pushed_is_there_once_through_faults_and_kills(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    settings = with_topics(cluster, topic_prefix)
    consent = ("--yes-write-simulated-events-to", topic_prefix)
    journal = tmp_path / "journal.ndjson"
    faults = ("disconnect=@2000", "expired=@6000", "exhausted=@9000", "end=@12000", "malformed=0.01")
    options = ["--rate", "4000", "--count", str(COUNT), "--payload-form", "mixed", "--journal", str(journal)]
    with simulator(*options, *(part for fault in faults for part in ("--fault", fault))) as port:
        for _ in range(2):
            before = len(raw_records(settings))
            with BridgeProcess(settings, tmp_path, *consent, port=port) as bridge:
                wait_for_raw(settings, before + 2000)
                bridge.kill()
        with BridgeProcess(settings, tmp_path, port=port) as bridge:
            assert bridge.wait() == 2
            assert "is `broker-events simulate`. To write its simulated events to 127.0.0.1:" in bridge.output
        with BridgeProcess(settings, tmp_path, *consent, port=port) as bridge:
            wait_for_raw(settings, COUNT)
            assert bridge.stop() == 0
    records = raw_records(settings)
    values = {headers_of(record)["event_id"]: record.value() or b"" for record in records}
    assert len(records) == len(values) == COUNT
    for line in journal.read_bytes().splitlines():
        event = orjson.loads(line)
        text = event["payload"].encode()
        value = values[event["id"]]
        assert value == text or value.endswith(b',"simulated":true,"payload":' + text + b"}")
    assert {headers_of(record).get("simulated") for record in records} == {"true"}


def test_a_subscription_that_is_rejected_names_its_settings(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    settings = with_topics(cluster, topic_prefix)
    consent = ("--yes-write-simulated-events-to", topic_prefix)
    with simulator() as port:
        with BridgeProcess(settings, tmp_path, *consent, port=port, grpc_event_types="FOO") as bridge:
            assert bridge.wait() == 2
        assert "unknown event type FOO): check PIPELINE_GRPC_EVENT_TYPES, now FOO" in bridge.output
        with BridgeProcess(settings, tmp_path, *consent, port=port, grpc_tls=True) as bridge:
            assert bridge.wait() == 2
        assert "check PIPELINE_GRPC_TARGET and PIPELINE_GRPC_TLS: the server speaks no TLS" in bridge.output
        assert "ssl_transport_security" not in bridge.output

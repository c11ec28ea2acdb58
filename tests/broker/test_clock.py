"""A bridge whose clock is wrong, or becomes wrong, on a real Kafka."""

import subprocess
from pathlib import Path

import pytest
from bridge_process import BridgeProcess, eventually, raw_records, with_topics
from kafka_cluster import KafkaCluster
from test_ingest_file import line
from wrong_clock import wrong_clock


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in wrong_clock(tmp_path / "clock").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "clock"


def test_a_wrong_clock_writes_nothing_and_one_that_jumps_stops(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path, clock: Path
) -> None:
    settings = with_topics(cluster, topic_prefix)
    clock.write_text(str(-40 * 86_400))
    (tmp_path / "events.ndjson").write_bytes(line(1) + b"\n")
    with BridgeProcess(settings, tmp_path, "--file", str(tmp_path / "events.ndjson")) as bridge:
        assert bridge.wait() == 2, bridge.output
        assert "3,456,000 s behind" in bridge.output
    assert raw_records(settings) == []

    clock.unlink()
    with BridgeProcess(settings, tmp_path, "--file", "-", stdin=subprocess.PIPE) as bridge:
        bridge.feed(line(2) + b"\n", end=False)
        eventually(lambda: len(raw_records(settings)) == 1)
        clock.write_text(str(50 * 60))
        bridge.feed(line(3) + b"\n", end=False)
        assert bridge.wait() == 2, bridge.output
        assert "3,000 s ahead" in bridge.output
    assert [record.value() for record in raw_records(settings)] == [line(2)]

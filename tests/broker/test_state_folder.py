"""State on disk: a restart reads the tail alone, and a store that doesn't fit is rebuilt from the topics."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, Worker, envelope

PARTITIONS = 2
ACCOUNTS = [f"ACC-{number}" for number in range(40)]


@pytest.fixture(scope="module")
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("state")
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", folder, partitions=PARTITIONS).made()
    with pipeline.worker("router"):
        yield pipeline


class Rounds:
    """Sends one update of every account per round and waits for its alerts."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.number = 0

    def send(self) -> None:
        """Restrict all accounts, or lift it; each round gives one alert per account."""
        self.number += 1
        codes = ["US_STOCK_LIQUIDATE_ONLY"] if self.number % 2 else []
        for account in ACCOUNTS:
            payload = {"account_id": account, "account_number": account, "biz_type": "ACCOUNT_UPDATE"}
            at = f"2026-01-31T09:{self.number:02}:00Z"
            event = envelope(f"{account}-{self.number}", "ACCOUNT", payload | {"restrictions": codes}, at)
            self._pipeline.produce("raw", event, account)
        self._pipeline.wait_for("alerts", self.number * len(ACCOUNTS))

    def check(self) -> None:
        """Every round has given one alert per account: nothing was forgotten or doubled."""
        alerts = self._pipeline.read("alerts")
        assert len(alerts) == self.number * len(ACCOUNTS)


@pytest.fixture(scope="module")
def rounds(pipeline: Pipeline) -> Rounds:
    return Rounds(pipeline)


def restored(projector: Worker) -> int:
    return int(projector.metric("restored_records_total", table="state.accounts"))


def test_a_restart_reads_the_tail_alone(pipeline: Pipeline, rounds: Rounds, tmp_path: Path) -> None:
    with pipeline.worker("projector", state_folder=tmp_path).wait_ready() as projector:
        rounds.send()
        assert restored(projector) == 0
        assert projector.stop() == 0
    with pipeline.worker("projector", state_folder=tmp_path).wait_ready() as projector:
        assert restored(projector) == 0  # the store has everything
        rounds.send()
        projector.kill()
    with pipeline.worker("projector", state_folder=tmp_path).wait_ready() as projector:
        assert restored(projector) <= len(ACCOUNTS)  # of the last round, what was not on disk
        rounds.send()
        assert projector.stop() == 0
    copy = tmp_path / "copy"
    group = pipeline.settings.group("projector")
    shutil.copytree(tmp_path / group, copy / group)
    with pipeline.worker("projector").wait_ready() as projector:  # in memory, from the topic
        assert restored(projector) >= len(ACCOUNTS)
        rounds.send()
        assert projector.stop() == 0
    with pipeline.worker("projector", state_folder=copy).wait_ready() as projector:  # an old store, put back
        assert len(ACCOUNTS) <= restored(projector) < 2 * len(ACCOUNTS)
        rounds.send()
        assert projector.stop() == 0
    rounds.check()


def test_a_damaged_store_is_rebuilt_and_a_second_process_refused(
    pipeline: Pipeline, rounds: Rounds, tmp_path: Path
) -> None:
    with pipeline.worker("projector", state_folder=tmp_path, state_memory_mb=1).wait_ready() as projector:
        rounds.send()
        with pipeline.worker("projector", "b", state_folder=tmp_path) as second:
            assert second.wait() == 2
            assert f"PIPELINE_STATE_FOLDER: {tmp_path / pipeline.settings.group('projector')} is in use" in second.log
        assert projector.stop() == 0
    tables = [*tmp_path.rglob("*.sst")]
    assert tables
    for path in tables:
        path.write_bytes(path.read_bytes().replace(b"ACC-", b"ACD-"))
    for _ in range(3):  # damage that is found while reading ends the first life with 70
        with pipeline.worker("projector", state_folder=tmp_path, state_memory_mb=1) as projector:
            while projector.is_running and " reading " not in projector.log:
                time.sleep(0.05)
            if not projector.is_running:
                assert projector.wait() == 70, projector.log
                continue
            assert restored(projector) >= len(ACCOUNTS)
            rounds.send()
            assert projector.stop() == 0
            break
    rounds.check()

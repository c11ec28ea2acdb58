"""An event that no raw record can hold: the others go on, a marker says where it is, every command understands it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from uuid import uuid4

from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit

ACCOUNT = "ACC-1"


def test_an_event_that_is_too_large_is_in_quarantine_as_a_marker(cluster: KafkaCluster, tmp_path: Path) -> None:
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", tmp_path).made()
    large = credit("large", ACCOUNT)[:-2] + b',"note":"' + b"x" * pipeline.settings.max_message_bytes + b'"}}'
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join((credit("one", ACCOUNT), large, credit("three", ACCOUNT))))
    done = pipeline.command("ingest", "--file", str(file))
    assert done.returncode == 0, done.stderr
    with pipeline.worker("router") as router:
        pipeline.wait_for("event.credit", 2)
        pipeline.wait_for("quarantine", 1)
        assert router.stop() == 0
    digest = hashlib.sha256(large).hexdigest()
    for arguments in (("quarantine", "show", "--event-id", "large"), ("explain", "large", "--account", ACCOUNT)):
        shown = pipeline.command(*arguments).stdout
        for text in ("too_large", digest, str(len(large)), f"line 2 of {file}"):
            assert text in shown
    replay = pipeline.command("quarantine", "replay", "--all", "--yes")
    assert "a marker, left out" in replay.stdout
    assert "0 records replayed" in replay.stdout
    assert replay.returncode == 1
    assert pipeline.command("ledger", "--deep").stdout.rstrip().endswith("reconciled")

"""A record that a projector can't process stops it: counted over restarts, skipped on demand, never passed by."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, Worker, environment, headers_of
from test_projector import snapshot

from broker_events.runtime.process.operator import operator
from broker_events.schemas.models import Alert, QuarantinedEvent

ACCOUNTS = [f"ACC-{number}" for number in range(40)]
BAD = 20
REASON = "written by a test"
FAILING = (sys.executable, str(Path(__file__).with_name("failing_projector.py")))


@pytest.fixture
def pipeline(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Iterator[Pipeline]:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path, partitions=1).made()
    with pipeline.worker("router") as router:
        push(pipeline, ACCOUNTS[:BAD])
        pipeline.wait_for("event.account-update", BAD)
        yield pipeline
        assert router.stop() == 0


def push(pipeline: Pipeline, accounts: list[str]) -> None:
    pipeline.produce_all(
        "raw", [(a, snapshot(a, a, "2026-01-31T09:30:00Z", "HK_STOCK_LIQUIDATE_ONLY")) for a in accounts]
    )


def projector(pipeline: Pipeline, instance_id: str, *options: str, event_id: str = ACCOUNTS[BAD]) -> Worker:
    """Start a projector of a build that fails at an event."""
    name = f"projector-{instance_id}"
    arguments = [*FAILING, event_id, "projector", "--instance-id", name, "--http-port", "0", *options]
    return Worker(arguments, environment(pipeline.settings), pipeline.folder / f"{name}-{time.monotonic_ns()}.log")


def failing_rebuild(pipeline: Pipeline, *options: str) -> subprocess.CompletedProcess[str]:
    """Rebuild with the build that fails at an event."""
    arguments = [*FAILING, ACCOUNTS[BAD], "rebuild", *options]
    return subprocess.run(arguments, env=environment(pipeline.settings), check=False, capture_output=True, text=True)


def alerted(pipeline: Pipeline) -> list[str]:
    """Ids of the events that have an alert."""
    return [alert.event_id for alert in pipeline.decoded("alerts") if isinstance(alert, Alert)]


def run_to_its_end(pipeline: Pipeline, instance_id: str, *options: str) -> tuple[int, str]:
    with projector(pipeline, instance_id, *options) as worker:
        return worker.wait(), worker.log


def test_it_stops_every_worker_until_a_build_can_process_it(pipeline: Pipeline) -> None:
    place = f"{pipeline.settings.topic('event.account-update')}[0]@"
    with projector(pipeline, "a") as first:
        pipeline.wait_for("alerts", BAD)  # what is committed before stays
        push(pipeline, ACCOUNTS[BAD:])
        ended = [(first.wait(), first.log)]
    ended += [run_to_its_end(pipeline, instance_id) for instance_id in ("b", "a")]  # the count moves with the partition
    for attempt, (code, log) in enumerate(ended, 1):
        assert (code, f"(attempt {attempt} of 3)" in log, place in log) == (70, True, True), log
    code, log = run_to_its_end(pipeline, "b")
    last = log.splitlines()[-1]
    assert (code, place in last, "internal_error" in last, "--skip" in last) == (3, True, True, True), log
    assert alerted(pipeline) == ACCOUNTS[:BAD]
    assert pipeline.read("quarantine") == []

    with pipeline.worker("projector") as fixed:
        pipeline.wait_for("alerts", len(ACCOUNTS))
        assert fixed.stop() == 0
    assert alerted(pipeline) == ACCOUNTS

    # A build that can't apply an event that the projectors have applied doesn't repair what it lacks.
    before = {name: len(pipeline.read(name)) for name in ("state.accounts", "alerts", "alerts.active")}
    for options in ((), ("--emit-alerts",)):
        dry = failing_rebuild(pipeline, *options)
        assert (dry.returncode, f"unfolded  {place}" in dry.stdout) == (1, True), dry.stdout + dry.stderr
        done = failing_rebuild(pipeline, *options, "--apply", "--json")
        said = "1 of the events that the projectors have read can't be applied here, first"
        assert (done.returncode, done.stdout, f"{said} {place}" in done.stderr) == (2, "", True), done.stderr
    listed = [json.loads(line) for line in failing_rebuild(pipeline, "--json").stdout.splitlines()]
    assert [each["reason"] for each in listed if each.get("verdict") == "unfolded"] == ["internal_error"]
    assert {name: len(pipeline.read(name)) for name in before} == before
    assert pipeline.command("rebuild", "--apply").returncode == 0


def test_a_skipped_record_is_quarantined_alone_and_with_who_and_why(pipeline: Pipeline) -> None:
    push(pipeline, ACCOUNTS[BAD:])
    bad = pipeline.wait_for("event.account-update", len(ACCOUNTS))[BAD]
    place, good = (pipeline.place("event.account-update", 0, offset) for offset in (bad.offset(), 0))
    code, log = run_to_its_end(pipeline, "a", "--skip", place.rpartition(":")[0], "--reason", REASON)
    assert (code, place in log) == (2, True), log
    former = f"{place.rpartition(':')[0]}:{'x' * 22}"
    code, log = run_to_its_end(pipeline, "a", "--skip", former, "--reason", REASON)
    assert (code, f"{former} of PROJECTOR_SKIP has no effect" in log) == (70, True), log
    with projector(pipeline, "a", "--skip", place, "--skip", good, "--reason", REASON) as worker:
        pipeline.wait_for("alerts", len(ACCOUNTS) - 1)
        assert worker.stop() == 0
    assert alerted(pipeline) == [account for account in ACCOUNTS if account != ACCOUNTS[BAD]], "0:0 can be processed"
    [record] = pipeline.read("quarantine")
    event = pipeline.decode(record)
    assert isinstance(event, QuarantinedEvent)
    assert (event.stage, event.reason, event.offset) == ("projector", "internal_error", bad.offset())
    assert event.value == bad.value()
    assert headers_of(record) == {"skipped_by": operator(), "skip_reason": REASON}

    same = failing_rebuild(pipeline)
    assert (same.returncode, same.stdout.splitlines()[-1]) == (0, "equal"), "its projectors left it out too"
    assert failing_rebuild(pipeline, "--emit-alerts").stdout == "no alert is missing\n"

    dry = pipeline.command("rebuild", "--emit-alerts", "--json")
    assert (dry.returncode, dry.stderr.splitlines()[-1]) == (1, "1 alert missing; --apply writes"), dry.stderr
    assert json.loads(dry.stdout)["event_id"] == ACCOUNTS[BAD]
    done = pipeline.command("rebuild", "--emit-alerts", "--apply")
    assert (done.returncode, "1 alert written, and 1 record of alerts.active" in done.stdout) == (0, True), done.stderr
    late, active = pipeline.read("alerts")[-1], pipeline.read("alerts.active")[-1]
    assert pipeline.command("rebuild", "--emit-alerts").stdout == "no alert is missing\n"
    assert (late.value(), late.key(), late.partition()) == (active.value(), bad.key(), bad.partition())
    assert headers_of(late)["ce_id"] == json.loads(dry.stdout)["alert_id"]
    assert headers_of(late)["recovered_by"] == operator()
    shown = pipeline.command("quarantine", "show", f"0:{record.offset()}").stdout
    assert f"skipped_by     {operator()}" in shown

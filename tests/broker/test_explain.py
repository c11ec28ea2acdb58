"""The way of an event, told from the topics of a real pipeline."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit, envelope

ACCOUNT = "ACC-1234567"


def snapshot(event_id: str, at: str, *codes: str) -> bytes:
    payload = {"account_id": ACCOUNT, "account_number": "N1", "biz_type": "ACCOUNT_UPDATE", "restrictions": codes}
    return envelope(event_id, "ACCOUNT", payload, at)


RESTRICTED = snapshot("restricted", "2026-01-31T09:30:00.000000001Z", "HK_STOCK_LIQUIDATE_ONLY")
BAD = credit("bad", ACCOUNT, amount="1e20")


@pytest.fixture(scope="module")
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Return a pipeline that has processed a restriction, pushed twice, its end, and a bad event that was replayed."""
    folder = tmp_path_factory.mktemp("explain")
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", folder, partitions=3).made()
    received = [("event_id", b"restricted"), ("received_at", b"2026-01-31T09:30:01.500000Z")]
    with pipeline.worker("router"), pipeline.worker("projector"):
        pipeline.produce("raw", RESTRICTED, ACCOUNT, headers=[*received])
        pipeline.produce("raw", RESTRICTED, ACCOUNT)
        pipeline.produce("raw", snapshot("lifted", "2026-01-31T09:31:00Z"), ACCOUNT)
        bad = pipeline.produce("raw", BAD, ACCOUNT)
        again = [("raw_offset", b"%d" % bad.offset()), ("recovered_from", b"broker.quarantine/0/0")]
        pipeline.produce("raw", BAD, ACCOUNT, headers=[*again])
        pipeline.wait_for("quarantine", 2)
        pipeline.wait_for("alerts", 2)
    return pipeline


def explain(pipeline: Pipeline, *arguments: str) -> list[dict[str, Any]]:
    done = pipeline.command("explain", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert ACCOUNT not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("where", [(), ("--account", ACCOUNT)], ids=["everywhere", "one partition"])
def test_an_event_that_began_a_condition(pipeline: Pipeline, where: tuple[str, ...]) -> None:
    steps = explain(pipeline, "restricted", *where)
    assert [step["what"] for step in steps[:3]] == ["happened", "received", "typed"]
    assert sorted(step["what"] for step in steps[3:]) == [
        "caused alert FIRING",
        "mentioned in alert RESOLVED",
        "received",
    ]
    happened, received, typed, *later = steps
    found = {step["what"]: step for step in later}
    assert happened["event_time_text"] == "2026-01-31T09:30:00.000000001Z"
    assert (received["time"], received["since_us"]) == ("2026-01-31T09:30:01.500000Z", 1_500_000)
    assert received["outcome"] == f"typed as {typed['place']}"
    assert typed["record"]["restrictions"] == ["HK_STOCK_LIQUIDATE_ONLY"]
    assert found["received"]["outcome"] == f"duplicate of {received['place']}"
    resolved = found["mentioned in alert RESOLVED"]
    assert resolved["mentioned_in"] == ["/restriction/since_event_id"]


def test_what_the_state_still_has_from_it(pipeline: Pipeline) -> None:
    [state] = [step for step in explain(pipeline, "lifted") if step["what"] == "in state"]
    assert state["key"] == ACCOUNT
    assert state["mentioned_in"] == [
        "/account_id/event_id",
        "/account_number/event_id",
        "/restrictions/event_id",
    ]


def test_an_event_that_was_refused_and_came_back(pipeline: Pipeline) -> None:
    steps = explain(pipeline, "bad", "--account", ACCOUNT)
    assert [step["what"] for step in steps if step["what"] != "quarantined"] == [
        "received",
        "received again, from quarantine",
    ]
    refused = [step for step in steps if step["what"] == "quarantined"]
    assert [(step["reason"], step["pointer"]) for step in refused] == [("bad_amount", "/payload/amount")] * 2
    raw = [step for step in steps if step["what"].startswith("received")]
    assert [step["outcome"] for step in raw] == [f"quarantined as {step['place']}" for step in refused]
    assert [step["place"] for step in raw] == [step["source"] for step in refused]


def test_lines_for_people(pipeline: Pipeline) -> None:
    done = pipeline.command("explain", "restricted")
    assert done.returncode == 0, done.stderr
    assert "2026-01-31T09:30:01.500000Z        +1.500 s  received  " in done.stdout
    assert '    restrictions            ["HK_STOCK_LIQUIDATE_ONLY"]' in done.stdout


def test_what_is_not_there(pipeline: Pipeline) -> None:
    done = pipeline.command("explain", "nothing", "--account", ACCOUNT)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no event nothing in the partition of that account key" in done.stderr

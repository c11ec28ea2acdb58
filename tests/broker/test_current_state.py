"""`account`, `movement`, `alerts` and `tail --latest`: what holds now, from the topics of a real pipeline."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, envelope

ACCOUNT, OTHER = "ACC-1234567", "ACC-7654321"
MOVEMENT = f"{ACCOUNT}/TRANSFER/req-1"


def restricted(event_id: str, at: str, *codes: str, account: str = ACCOUNT) -> bytes:
    payload = {"account_id": account, "account_number": "N1", "biz_type": "ACCOUNT_UPDATE", "restrictions": codes}
    return envelope(event_id, "ACCOUNT", payload, at)


def transfer(event_id: str, at: str, status: str, **payload: object) -> bytes:
    members = {
        "account_id": ACCOUNT,
        "biz_type": "TRANSFER",
        "client_request_id": "req-1",
        "transfer_id": "T-1",
        "amount": "51844.86",
        "currency": "USD",
        "direction": "DEPOSIT",
        "status": status,
        "reason": "\x1b[31mR01\x07",
    }
    return envelope(event_id, "FUNDING", members | payload, at)


@pytest.fixture(scope="module")
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Return a pipeline with two restricted accounts, one of them no more, and a transfer that came back."""
    folder = tmp_path_factory.mktemp("now")
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", folder, partitions=3).made()
    simulated = [("simulated", b"true")]
    with pipeline.worker("router"), pipeline.worker("projector"):
        pipeline.produce("raw", restricted("r1", "2026-01-31T09:30:00Z", "HK_STOCK_LIQUIDATE_ONLY"), ACCOUNT)
        pipeline.produce("raw", transfer("t1", "2026-01-31T09:31:00Z", "COMPLETED"), ACCOUNT)
        pipeline.produce("raw", transfer("t2", "2026-01-31T09:32:00Z", "RETURNED"), ACCOUNT)
        late = transfer("t3", "2026-01-31T09:33:00Z", "PENDING", client_request_id="req-2", transfer_id="T-2")
        pipeline.produce("raw", late, ACCOUNT)
        other = restricted("o1", "2026-01-31T09:30:00Z", "US_STOCK_LIQUIDATE_ONLY", account=OTHER)
        marked = other.replace(b"{", b'{"simulated":true,', 1)
        pipeline.produce("raw", marked, OTHER, headers=[*simulated])
        lifted = restricted("o2", "2026-01-31T09:35:00Z", account=OTHER).replace(b"{", b'{"simulated":true,', 1)
        pipeline.wait_for("alerts", 3)
        pipeline.produce("raw", lifted, OTHER, headers=[*simulated])
        pipeline.wait_for("alerts", 4)
        pipeline.wait_for("state.movements", 2)
    return pipeline


def shown(pipeline: Pipeline, *arguments: str) -> str:
    done = pipeline.command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(pipeline: Pipeline, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shown(pipeline, *arguments, "--json").splitlines()]


def test_an_account(pipeline: Pipeline) -> None:
    [found] = documents(pipeline, "account", ACCOUNT)
    assert found["state"]["restrictions"]["codes"] == ["HK_STOCK_LIQUIDATE_ONLY"]
    assert [alert["rule"] for alert in found["active_alerts"]] == ["LIQUIDATE_ONLY"]
    assert {movement["movement_id"]: movement["status"] for movement in found["movements"]} == {
        MOVEMENT: "RETURNED",
        f"{ACCOUNT}/TRANSFER/req-2": "PENDING",
    }
    assert "simulated" not in found["state"]
    text = shown(pipeline, "account", ACCOUNT)
    assert text.startswith(f"account {ACCOUNT}\n")
    assert "HK since 2026-01-31T09:30:00Z or earlier: may sell but not buy" in text
    assert "51,844.86 USD  RETURNED" in text
    assert "active alerts:\n" in text


def test_an_account_that_is_free_again_and_simulated(pipeline: Pipeline) -> None:
    text = shown(pipeline, "account", OTHER)
    assert text.startswith(f"account {OTHER} (simulated)\n")
    assert "active alerts: none\nmovements: none\n" in text
    [found] = documents(pipeline, "account", OTHER)
    assert found["state"]["simulated"] is True


@pytest.mark.parametrize("name", [MOVEMENT, "req-1", "T-1"])
@pytest.mark.parametrize("where", [(), ("--account", ACCOUNT)])
def test_a_movement_by_any_of_its_ids(pipeline: Pipeline, name: str, where: tuple[str, ...]) -> None:
    [found] = documents(pipeline, "movement", name, *where)
    assert (found["movement_id"], found["amount"]) == (MOVEMENT, "51844.860000000000000000")
    assert [event["status"] for event in found["history"]] == ["COMPLETED", "RETURNED"]


def test_a_movement_for_people_has_no_control_characters(pipeline: Pipeline) -> None:
    text = shown(pipeline, "movement", "T-1")
    assert r"\x1b[31mR01\x07" in text
    assert text.isprintable() or set(text) - {"\n"} == {char for char in text if char.isprintable()}


def test_alerts(pipeline: Pipeline) -> None:
    assert [found["account_key"] for found in documents(pipeline, "alerts", "active")] == [ACCOUNT]
    listed = documents(pipeline, "alerts", "list")
    assert (listed[0]["status"], listed[0]["account_key"], len(listed)) == ("RESOLVED", OTHER, 4)
    assert documents(pipeline, "alerts", "list", "--limit", "1") == listed[:1]
    of_account = documents(pipeline, "alerts", "list", "--account", ACCOUNT)
    assert {found["rule"] for found in of_account} == {"LIQUIDATE_ONLY", "TRANSFER_RETURNED"}
    text = shown(pipeline, "alerts", "list")
    assert "(simulated)" in text.splitlines()[0]
    assert "FIRING    TRANSFER_RETURNED" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("account", "nobody"),
        ("movement", "nothing"),
        ("movement", MOVEMENT + "0"),
        ("movement", "T-1", "--account", OTHER),
    ],
)
def test_what_is_not_there(pipeline: Pipeline, arguments: tuple[str, ...]) -> None:
    done = pipeline.command(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no {arguments[0]} {arguments[1]}" in done.stderr


def test_no_alert_is_no_error(pipeline: Pipeline) -> None:
    done = pipeline.command("alerts", "active", "--account", "nobody")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no active alerts\n")


def test_tail_shows_the_latest_value_of_each_key(pipeline: Pipeline) -> None:
    lines = shown(pipeline, "tail", "alerts.active", "--latest").splitlines()
    assert [json.loads(line)["key"] for line in lines] == [f"LIQUIDATE_ONLY/{ACCOUNT}/HK"]
    [line] = shown(pipeline, "tail", "state.movements", "--latest", "--key", MOVEMENT).splitlines()
    assert json.loads(line)["value"]["status"] == "RETURNED"


@pytest.mark.parametrize("arguments", [("raw", "--latest"), ("state.accounts", "--latest", "--follow")])
def test_latest_needs_a_compacted_topic_and_an_end(pipeline: Pipeline, arguments: tuple[str, ...]) -> None:
    done = pipeline.command("tail", *arguments)
    assert done.returncode == 2
    assert "--latest" in done.stderr

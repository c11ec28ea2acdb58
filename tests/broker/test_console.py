"""The console on a real pipeline: answers, masking on the wire, roles, audit, replay, restart."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from console_process import Answered, Client, ConsoleProcess, tokens
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, envelope, eventually

from broker_events.console.access import Role
from broker_events.schemas.models import AccountState, Alert, ConsoleLook, MovementState

ACCOUNT, OTHER = "ACC-1234567", "ACC-7654321"
NUMBER, REQUEST, REASON = "NUM-998877", "request-5544", "R01 <script>alert(1)</script> \u202e\x1b[31mdrawkcab"
# What a viewer must never receive, as bytes: values of personal fields of the events below.
PERSONAL = (ACCOUNT, OTHER, NUMBER, REQUEST, "R01", "drawkcab", "secret-remark", "unknown-owner")
HOSTILE = b'{"id": "evil", "event_type": "FUNDING", "timestamp": "x", "payload": {"account_id": "unknown-owner", "x": "'


def restricted(event_id: str, at: str, *codes: str, account: str = ACCOUNT) -> bytes:
    payload = {"account_id": account, "account_number": NUMBER, "biz_type": "ACCOUNT_UPDATE", "restrictions": codes}
    return envelope(event_id, "ACCOUNT", payload, at)


def transfer(event_id: str, at: str, status: str, **payload: object) -> bytes:
    members = {
        "account_id": ACCOUNT,
        "biz_type": "TRANSFER",
        "client_request_id": REQUEST,
        "transfer_id": "T-1",
        "amount": "12345678901234567890.123456789012345678",
        "currency": "USD",
        "direction": "DEPOSIT",
        "status": status,
        "reason": REASON,
        "remark": "secret-remark",
    }
    return envelope(event_id, "FUNDING", members | payload, at)


@pytest.fixture(scope="module")
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Return a pipeline with two restricted accounts, a returned transfer, a duplicate and rejected events."""
    folder = tmp_path_factory.mktemp("console-pipeline")
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", folder, partitions=3).made()
    with pipeline.worker("router"), pipeline.worker("projector"):
        pipeline.produce("raw", restricted("r1", "2026-01-31T09:30:00Z", "HK_STOCK_LIQUIDATE_ONLY"), ACCOUNT)
        pipeline.produce("raw", transfer("t1", "2026-01-31T09:31:00Z", "COMPLETED"), ACCOUNT)
        pipeline.produce("raw", transfer("t2", "2026-01-31T09:32:00Z", "RETURNED"), ACCOUNT)
        pipeline.produce("raw", transfer("t2", "2026-01-31T09:32:00Z", "RETURNED"), ACCOUNT)
        for number in range(30):
            more = transfer(f"m{number}", "2026-01-31T09:33:00Z", "COMPLETED", client_request_id=f"r-{number}")
            pipeline.produce("raw", more.replace(b"T-1", b"T-9%d" % number), ACCOUNT)
        pipeline.produce("raw", restricted("o1", "2026-01-31T09:30:00Z", "US_STOCK_NO_TRADE", account=OTHER), OTHER)
        pipeline.produce("raw", HOSTILE + b"A" * 3_000_000 + b'<script>alert(2)</script>"}}', "unknown-owner")
        pipeline.produce("raw", b"\x00\x1b]0;not json", None, 0)
        pipeline.wait_for("quarantine", 2)
        pipeline.wait_for("alerts", 2)
        pipeline.wait_for("state.movements", 31)
        pipeline.wait_for("state.accounts", 2)
    return pipeline


@pytest.fixture(scope="module")
def made(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Role, Client]]:
    """Return a client of each role of a console with tokens."""
    folder = tmp_path_factory.mktemp("console")
    file, secrets = tokens(folder)
    with ConsoleProcess(pipeline, folder, console_tokens=file, console_actions="true") as console:
        eventually(lambda: "console on http" in console.log, lambda: console.log)
        clients = {role: Client(console.address, secret) for role, secret in secrets.items()}
        console.wait_current(clients["operator"])
        yield clients


@pytest.fixture(scope="module")
def investigator(made: dict[Role, Client]) -> Client:
    return made["investigator"]


def paths(client: Client) -> list[str]:
    """Return every page and answer that has something of the events above."""
    alerts = client.api("/alerts")["alerts"]
    account = alerts[0]["account_ref"]
    movements = client.api(f"/accounts/{account}")["movements"]
    rejected = [item["id"] for item in client.api("/quarantine")["records"]]
    pages = ["/", "/alerts", "/alerts?show=active", "/quarantine", f"/accounts/{account}", "/contracts/event.transfer"]
    pages += [f"/accounts/{each['account_ref']}" for each in alerts]
    pages += [f"/movements/{each['ref']}" for each in movements]
    pages += [f"/alerts/{each['alert']['alert_id']}" for each in alerts]
    pages += [f"/events/{event}" for event in ("r1", "t1", "t2", "o1", "evil")]
    pages += [f"/quarantine/{place}" for place in rejected]
    answers = ["/alerts", "/alerts/active", "/quarantine", "/reconciliation", f"/accounts/{account}"]
    answers += [f"/accounts/{account}/movements"]
    answers += [f"/movements/{each['ref']}" for each in movements]
    answers += [f"/trace/{event}" for event in ("r1", "t1", "t2", "o1", "evil")]
    answers += [f"/quarantine/{place.replace(':', '/')}" for place in rejected]
    return [*pages, *(f"/api/v1{path}" for path in answers)]


def test_an_account_has_its_state_with_every_digit(pipeline: Pipeline, investigator: Client) -> None:
    answer = investigator.api(f"/accounts/{ACCOUNT}")
    state = next(s for s in pipeline.decoded("state.accounts") if getattr(s, "account_key", "") == ACCOUNT)
    assert isinstance(state, AccountState)
    assert state.restrictions is not None
    assert answer["account"]["state"]["restrictions"]["codes"] == list(state.restrictions.codes)
    assert answer["account"]["state"]["account_number"]["value"] == NUMBER
    assert [alert["alert"]["rule"] for alert in answer["active_alerts"]] == ["LIQUIDATE_ONLY"]
    assert len(answer["movements"]) == 10
    movement = investigator.api(f"/movements/{REQUEST}")["movement"]["movement"]
    assert movement["amount"] == "12345678901234567890.123456789012345678"
    assert movement["status"] == "RETURNED"
    assert [event["event_id"] for event in movement["history"]] == ["t1", "t2"]
    partition = next(iter(answer["positions"]["state.accounts"]))
    assert answer["positions"]["state.accounts"][partition] >= 1
    assert answer["behind_s"] == 0


def test_cursors_lead_over_all_movements_once(pipeline: Pipeline, investigator: Client) -> None:
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        page = investigator.api(f"/accounts/{ACCOUNT}/movements?limit=7{more}")
        seen += [each["movement"]["movement_id"] for each in page["movements"]]
        cursor = page["next"]
    assert sorted(seen) == sorted(
        state.movement_id for state in pipeline.decoded("state.movements") if isinstance(state, MovementState)
    )


def test_the_counts_are_those_of_the_topics(pipeline: Pipeline, investigator: Client) -> None:
    counts = investigator.api("/reconciliation")
    assert counts["received"] == len(pipeline.read("raw")) == 37
    assert counts["typed"] == {"ACCOUNT_UPDATE": 2, "TRANSFER": 32}
    assert sum(counts["quarantined"].values()) == 2
    assert counts["without_output"] == 1  # the repetition of t2
    assert counts["alerts"] == {"LIQUIDATE_ONLY FIRING": 1, "TRANSFER_RETURNED FIRING": 1}
    assert counts["active_alerts"] == {"LIQUIDATE_ONLY": 1}


def test_a_trace_has_every_step_and_the_origin_of_each_field(investigator: Client) -> None:
    trace = investigator.api("/trace/t2")
    assert trace["not_looked_at"] == []
    whats = [step["what"] for step in trace["steps"]]
    assert whats.count("received") == 2
    assert {"happened", "typed", "in state", "caused alert FIRING"} <= {*whats}
    outcomes = [step["facts"]["outcome"] for step in trace["steps"] if step["what"] == "received"]
    assert any(outcome.startswith("typed as ") for outcome in outcomes)
    assert any(outcome.startswith("duplicate of ") for outcome in outcomes)
    origins = {each["field"]: each for each in trace["origins"]}
    assert origins["amount"]["pointer"] == "/payload/amount"
    assert origins["amount"]["raw"] == "12345678901234567890.123456789012345678"
    assert origins["event_time"]["pointer"] == "/timestamp"
    assert trace["took_ms"] < 5000


@pytest.mark.parametrize("query", [ACCOUNT, NUMBER, REQUEST, "T-1", "t1"])
def test_a_search_finds_what_has_exactly_this_name(investigator: Client, query: str) -> None:
    found = investigator.api(f"/search?q={query}")
    assert found["hits"], found
    assert {200} == {investigator.get(hit["url"]).status for hit in found["hits"]}
    assert investigator.api("/search?q=nothing-has-this")["hits"] == []


def test_an_alert_is_found_by_its_id(pipeline: Pipeline, investigator: Client) -> None:
    alert = next(each for each in pipeline.decoded("alerts") if isinstance(each, Alert))
    assert investigator.api(f"/alerts/{alert.alert_id}")["alert"]["alert"]["event_id"] == alert.event_id
    assert [hit["kind"] for hit in investigator.api(f"/search?q={alert.alert_id}")["hits"]] == ["alert"]


def test_a_viewer_never_receives_a_masked_byte(made: dict[Role, Client]) -> None:
    everything = paths(made["investigator"])
    whole = [made["investigator"].get(path) for path in everything]
    assert {answer.status for answer in whole} == {200}
    leaks = {
        (path, secret)
        for path in everything
        for secret in PERSONAL
        if secret.encode() in b"".join((made["viewer"].get(path).body, repr(made["viewer"].get(path).headers).encode()))
    }
    assert leaks == set()
    for secret in PERSONAL:  # the test can fail: an investigator receives each of them
        assert any(secret.encode() in answer.body for answer in whole), secret
    rejected = next(path for path in everything if path.startswith("/quarantine/"))
    assert made["viewer"].get(f"{rejected}/value").status == 403
    assert made["viewer"].get("/events/t2?raw").headers["content-type"].startswith("text/html")


def test_hostile_payloads_are_shown_harmlessly(investigator: Client) -> None:
    for path in paths(investigator):
        answer = investigator.get(path)
        assert len(answer.body) < 1_000_000, path
        if path.startswith("/api/"):
            assert answer.headers["content-type"] == "application/json"
            continue
        assert b"<script>alert" not in answer.body, path
        assert b"\x1b" not in answer.body
        assert "\u202e".encode() not in answer.body
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_large_value_is_cut_on_the_page_and_whole_in_the_download(pipeline: Pipeline, investigator: Client) -> None:
    large = next(r for r in investigator.api("/quarantine")["records"] if r["account_key"] == "unknown-owner")
    value = investigator.get(f"/quarantine/{large['id']}/value")
    assert value.headers["content-disposition"].startswith("attachment")
    assert value.body.startswith(HOSTILE)
    assert len(value.body) > 3_000_000
    assert len(pipeline.read("quarantine")) >= 2


def test_who_has_no_token_gets_nothing(made: dict[Role, Client]) -> None:
    nobody = Client(made["viewer"].address)
    assert nobody.get("/").status == 303
    assert nobody.get("/login").status == 200
    refused = nobody.get("/api/v1/alerts")
    assert (refused.status, refused.headers["content-type"]) == (401, "application/problem+json")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert Client(nobody.address, "wrong").get("/api/v1/alerts").status == 401
    spoofed = {"X-Forwarded-Email": "root", "X-Forwarded-Groups": "admins"}
    assert nobody.get("/api/v1/alerts", **spoofed).status == 401
    assert made["viewer"].get("/api/v1/alerts", Host="evil.example").status == 421


def session(client: Client, token_of: Client) -> str:
    token = token_of._headers["Authorization"].removeprefix("Bearer ")
    logged_in = client.post("/login", {"token": token})
    assert logged_in.status == 303
    cookie = logged_in.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    return cookie.partition(";")[0]


def test_only_an_operator_replays_and_only_by_the_page_itself(pipeline: Pipeline, made: dict[Role, Client]) -> None:
    browser = Client(made["operator"].address)
    record = next(r for r in made["operator"].api("/quarantine")["records"] if r["reason"] == "not_json")
    path = f"/quarantine/{record['id']}"
    cookie = session(browser, made["operator"])
    page = browser.get(path, Cookie=cookie).body.decode()
    csrf = page.partition('action="' + path + '/replay"')[2].partition('name="csrf" value="')[2].partition('"')[0]
    assert len(csrf) == 64
    before = len(pipeline.read("raw"))
    form = {"csrf": csrf, "confirm": "yes", "note": "by the test"}
    refusals: list[Answered] = [
        browser.post(f"{path}/replay", form),
        browser.post(f"{path}/replay", form | {"csrf": "0" * 64}, Cookie=cookie),
        browser.post(f"{path}/replay", form, Cookie=cookie, Origin="https://evil.example"),
        browser.post(f"{path}/replay", {"csrf": csrf}, Cookie=cookie),
        browser.post(f"{path}/replay", form, Cookie=session(browser, made["investigator"])),
    ]
    assert [each.status for each in refusals] == [401, 403, 403, 400, 403]
    assert len(pipeline.read("raw")) == before
    done = browser.post(f"{path}/replay", form, Cookie=cookie)
    assert (done.status, done.headers["location"].partition("?")[0]) == (303, path)
    assert len(pipeline.read("raw")) == before + 1
    eventually(lambda: made["operator"].api(f"/quarantine/{record['id'].replace(':', '/')}")["item"]["replayed"])
    assert browser.post(f"{path}/replay", form, Cookie=cookie).status == 409
    assert len(pipeline.read("raw")) == before + 1


def test_every_look_of_an_investigator_is_in_the_audit_topic(pipeline: Pipeline, made: dict[Role, Client]) -> None:
    made["viewer"].api(f"/accounts/{OTHER}")
    made["investigator"].api(f"/accounts/{OTHER}")
    made["investigator"].get("/events/o1")

    def looks() -> list[Any]:
        return [look for look in pipeline.decoded("console.audit") if isinstance(look, ConsoleLook)]

    def seen(subject: str) -> set[tuple[str, str]]:
        return {(look.user, look.path) for look in looks() if look.subject == subject}

    eventually(lambda: ("investigator", "/events") in seen("o1"))
    eventually(lambda: ("investigator", f"/api/v1/accounts/{OTHER}") in seen(OTHER))
    assert {look.role for look in looks()} <= {"investigator", "operator"}
    assert len({look.look_id for look in looks()}) == len(looks())


def test_an_answer_waits_for_a_wanted_position(pipeline: Pipeline, investigator: Client) -> None:
    path = f"/api/v1/accounts/{ACCOUNT}"
    positions = investigator.get(path).json["positions"]["state.accounts"]
    partition, position = next(iter(positions.items()))
    assert investigator.get(f"{path}?min_position={partition}:{position - 1}").status == 200
    waiting = investigator.get(f"{path}?min_position=state.accounts:{partition}:{position + 5}")
    assert (waiting.status, waiting.headers["retry-after"]) == (503, "1")
    assert waiting.headers["content-type"] == "application/problem+json"
    assert investigator.get(f"{path}?min_position=1").status == 400
    assert pipeline.settings.partitions == 3


def test_an_unchanged_answer_is_not_sent_again(investigator: Client) -> None:
    first = investigator.get(f"/api/v1/accounts/{OTHER}")
    again = investigator.get(f"/api/v1/accounts/{OTHER}", **{"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


def test_a_killed_console_continues_from_its_tables(
    pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("console-killed")
    with ConsoleProcess(pipeline, folder) as first:
        first.wait_current()
        before = Client(first.address).api("/reconciliation")
        os.kill(first.pid, signal.SIGKILL)
    pipeline.produce("raw", transfer("after-the-kill", "2026-01-31T09:40:00Z", "COMPLETED"), ACCOUNT)
    with ConsoleProcess(pipeline, folder) as second:
        second.wait_current()
        assert "filled again" not in second.log
        counts = Client(second.address).api("/reconciliation")
        assert counts["received"] == before["received"] + 1
        assert counts["typed"] == before["typed"]
        assert Client(second.address).api("/events/after-the-kill")["received"]
        assert second.stop() == 0


def test_the_tables_answer_while_kafka_is_away(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("console-away")
    with ConsoleProcess(pipeline, folder) as first:
        first.wait_current()
        assert first.stop() == 0
    nowhere = {"kafka_bootstrap_servers": "127.0.0.1:9", "start_timeout_s": 2}
    with ConsoleProcess(pipeline, folder, **nowhere) as second:
        eventually(lambda: "console on http" in second.log, lambda: second.log)
        client = Client(second.address)
        answer = client.api(f"/accounts/{ACCOUNT}")
        assert answer["account"]["state"]["account_number"]["value"] == NUMBER
        assert answer["as_of"] is None
        assert client.get("/").status == 200
        trace = client.api("/trace/t1")
        assert any("Kafka did not return" in each for each in trace["not_looked_at"])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"console_host": "0.0.0.0"}, "PIPELINE_CONSOLE_HOST"),  # noqa: S104 (it is refused)
        ({"console_tokens": "/dev/null/none"}, "console_tokens"),
        ({"console_proxy_addresses": "everywhere"}, "PIPELINE_CONSOLE_PROXY_ADDRESSES"),
    ],
)
def test_an_unsafe_or_wrong_setting_stops_the_start(
    pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str], text: str
) -> None:
    with ConsoleProcess(pipeline, tmp_path_factory.mktemp("refused"), **settings) as console:
        assert console.wait() == 2
        assert text.lower() in console.log.lower()

"""The broker simulator as its clients see it: a real process, a real gRPC client."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker_events.ingest.sources.event_push_pb2 import SubscribeEvent, SubscribeRequest, SubscribeResponse
from broker_events.ingest.sources.signature import TIMESTAMP_FORMAT, SignatureAlgorithm, signed_metadata

# Not the pooled connection of an earlier stream, which may just be breaking.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]

Kind = SubscribeResponse.Type
Metadata = tuple[tuple[str, str], ...]
Simulate = Callable[..., int]
KEY = "demo-key"
OTHER_SECRET = "not-the-secret"  # noqa: S105  on purpose no secret


@pytest.fixture
def simulate() -> Iterator[Simulate]:
    """Start simulators; each gives its port. All are asked to stop at the end, and must do so well."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "broker_events.cli", "simulate", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")},
        )
        processes.append(process)
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("listening on 127.0.0.1:")
        return int(line.rsplit(":", 1)[1])

    yield start
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(timeout=10) for process in processes] == [0] * len(processes)


def _request(positions: dict[str, str]) -> bytes:
    events = [SubscribeEvent(eventType=event_type, position=position) for event_type, position in positions.items()]
    return SubscribeRequest(events=events, timestamp="2026-01-01T00:00:00Z").SerializeToString()


def _sign(
    request: bytes,
    *,
    secret: str = "demo-secret",  # noqa: S107  public by design
    algorithm: SignatureAlgorithm = SignatureAlgorithm.HMAC_SHA256,
    nonce: str = "",
    timestamp: str = "",
) -> Metadata:
    return signed_metadata(
        request,
        app_key=KEY,
        app_secret=secret,
        algorithm=algorithm,
        nonce=nonce or str(uuid.uuid4()),
        timestamp=timestamp or datetime.now(UTC).strftime(TIMESTAMP_FORMAT),
    )


@contextmanager
def _stream(
    port: int, metadata: Metadata | None = None, channel: grpc.Channel | None = None, **positions: str
) -> Iterator[Iterator[SubscribeResponse]]:
    request = _request(positions or {"ACCOUNT": "", "FUNDING": ""})
    with channel or grpc.insecure_channel(f"127.0.0.1:{port}", options=OWN_CONNECTION) as opened:
        subscribe = opened.unary_stream(
            "/grpc.event.EventService/Subscribe",
            request_serializer=bytes,
            response_deserializer=SubscribeResponse.FromString,
        )
        call = subscribe(request, metadata=metadata or _sign(request), timeout=30)
        yield call
        call.cancel()


def _all(port: int, **options: Any) -> list[SubscribeResponse]:
    """Everything up to a clean end."""
    with _stream(port, **options) as stream:
        return list(stream)


def _until_the_end(port: int, **options: Any) -> tuple[list[SubscribeResponse], grpc.StatusCode]:
    messages: list[SubscribeResponse] = []
    with _stream(port, **options) as stream:
        try:
            for message in stream:
                messages.append(message)  # noqa: PERF402  what came before the error counts
        except grpc.RpcError as error:
            return messages, error.code()
    return messages, grpc.StatusCode.OK


def _events(messages: list[SubscribeResponse]) -> list[SubscribeResponse]:
    return [message for message in messages if message.type == SubscribeResponse.Event]


def _report(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def test_a_position_gives_exactly_the_rest(simulate: Simulate) -> None:
    port = simulate("--count", "2000", "--rate", "50000", "--end", "close")
    messages = _all(port)
    assert messages[0].type == SubscribeResponse.SubscribeSuccess
    events = _events(messages)
    assert len({event.id for event in events}) == len(events) == 2000
    account = [event for event in events if event.eventType == "ACCOUNT"]
    funding = [event for event in events if event.eventType == "FUNDING"]
    assert _events(_all(port, FUNDING="")) == funding
    assert _events(_all(port, FUNDING=funding[700].position)) == funding[701:]
    both = _events(_all(port, ACCOUNT=account[40].position, FUNDING=funding[700].position))
    assert [event for event in both if event.eventType == "ACCOUNT"] == account[41:]
    assert [event for event in both if event.eventType == "FUNDING"] == funding[701:]
    assert _events(_all(port, ACCOUNT=account[-1].position, FUNDING=funding[-1].position)) == []


def test_positions_stay_good_after_a_restart_with_the_same_seed(simulate: Simulate) -> None:
    options = ("--count", "3000", "--end", "close", "--fixed-times", "--seed", "5")
    events = _events(_all(simulate(*options, "--rate", "50000")))
    last: dict[str, Any] = {event.eventType: event.position for event in events[:2500]}
    # At this rate the log would need longer than a call may take to get there.
    with _stream(simulate(*options, "--rate", "50"), **last) as stream:
        assert next(stream).type == SubscribeResponse.SubscribeSuccess
        assert [next(stream) for _ in range(20)] == events[2500:2520]


def test_an_unknown_position_or_event_type_is_refused(simulate: Simulate) -> None:
    port = simulate()
    for positions in ({"ACCOUNT": "CJO1fxACGAAgADAB"}, {"TRADE": ""}):
        assert _until_the_end(port, **positions) == ([], grpc.StatusCode.INVALID_ARGUMENT)


def test_the_newest_end_can_be_the_start(simulate: Simulate) -> None:
    port = simulate("--count", "100", "--rate", "50000", "--end", "close", "--start", "newest")
    assert len(_events(_all(port))) == 100
    assert _events(_all(port)) == []


@pytest.mark.parametrize("algorithm", list(SignatureAlgorithm))
def test_both_algorithms_are_accepted(simulate: Simulate, algorithm: SignatureAlgorithm) -> None:
    port = simulate("--count", "1", "--end", "close")
    metadata = _sign(_request({"ACCOUNT": ""}), algorithm=algorithm)
    assert _all(port, metadata=metadata, ACCOUNT="")[0].type == SubscribeResponse.SubscribeSuccess


def test_bad_signatures_get_an_auth_error_and_the_end(simulate: Simulate, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    port = simulate("--report", str(report), "--count", "1", "--end", "close")
    request = _request({"ACCOUNT": ""})
    used = _sign(request, nonce="once")
    assert _all(port, metadata=used, ACCOUNT="")[0].type == SubscribeResponse.SubscribeSuccess
    refused = {
        "nonce": used,
        "x-signature": _sign(request, secret=OTHER_SECRET),
        "x-timestamp": _sign(request, timestamp="2025-01-01T00:00:00Z"),
        "x-app-key": tuple((name, "stranger" if name == "x-app-key" else value) for name, value in _sign(request)),
        "no x-signature": _sign(request)[:-1],
    }
    for what, metadata in refused.items():
        (message,) = _all(port, metadata=metadata, ACCOUNT="")
        assert message.type == SubscribeResponse.AuthError
        assert what in message.payload
    other_request = _sign(_request({"FUNDING": ""}))
    assert [message.type for message in _all(port, metadata=other_request, ACCOUNT="")] == [Kind.AuthError]
    _eventually(lambda: _report(report)["pushed"]["auth_errors"] == 6)


def test_too_many_connections_are_refused(simulate: Simulate) -> None:
    port = simulate("--max-connections", "1")
    with _stream(port) as first:
        assert next(first).type == SubscribeResponse.SubscribeSuccess
        assert [message.type for message in _all(port)] == [Kind.NumOfConnExceed]
    _eventually(lambda: _first(port) == Kind.SubscribeSuccess)


def test_pings_and_expiry(simulate: Simulate) -> None:
    port = simulate("--count", "1", "--ping-every", "0.2", "--lifetime", "1")
    kinds = [message.type for message in _all(port)]
    assert kinds[0] == SubscribeResponse.SubscribeSuccess
    assert kinds[-1] == SubscribeResponse.SubscribeExpired
    assert 3 <= kinds.count(Kind.Ping) <= 5


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("disconnect", grpc.StatusCode.UNAVAILABLE),
        ("exhausted", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("end", grpc.StatusCode.OK),
        ("expired", grpc.StatusCode.OK),
    ],
)
def test_streams_end_as_asked_and_resume_exactly(simulate: Simulate, fault: str, code: grpc.StatusCode) -> None:
    port = simulate("--count", "1000", "--rate", "50000", "--end", "close", "--fault", f"{fault}=@300", "--fixed-times")
    messages, ended = _until_the_end(port)
    assert ended == code
    events = _events(messages)
    if fault != "disconnect":  # which may overtake what was sent
        assert len(events) == 300
    assert (messages[-1].type == SubscribeResponse.SubscribeExpired) == (fault == "expired")
    last = {"ACCOUNT": "", "FUNDING": ""} | {event.eventType: event.position for event in events}
    assert len(events) + len(_events(_all(port, **last))) == 1000
    assert len(_events(_all(port))) == 1000


def test_silence_means_nothing_at_all(simulate: Simulate) -> None:
    port = simulate("--rate", "1000", "--count", "3000", "--ping-every", "0.1", "--fault", "silence:1.5s=@500")
    times: list[float] = []
    with _stream(port) as stream:
        for message in stream:
            if message.type == SubscribeResponse.Event:
                times.append(time.monotonic())
                if len(times) == 1000:
                    break
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps.index(max(gaps)) == 499
    assert max(gaps) > 1.3


def test_duplicates_and_replays_repeat_the_same_messages(simulate: Simulate, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    faults = ("--fault", "duplicate:2=@10", "--fault", "replay:50=@200")
    port = simulate("--count", "500", "--rate", "50000", "--end", "close", "--report", str(report), *faults)
    events = _events(_all(port))
    assert events[9] == events[10] == events[11]
    assert events[202:252] == events[152:202]
    assert len(events) == 552
    assert len({event.id for event in events}) == 500
    _eventually(lambda: _report(report)["pushed"]["duplicates"] == 52)
    assert _report(report)["faults"] == {"duplicate": 1, "replay": 1}


def test_report_and_journal_tell_what_was_pushed(simulate: Simulate, tmp_path: Path) -> None:
    report, journal = tmp_path / "report.json", tmp_path / "journal.ndjson"
    options = ("--count", "3000", "--rate", "50000", "--end", "close", "--fault", "malformed=0.05")
    port = simulate(*options, "--report", str(report), "--journal", str(journal), "--payload-form", "mixed")
    events = _events(_all(port))
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
    assert [(line["id"], line["event_type"], line["position"], line["payload"]) for line in lines] == [
        (event.id, event.eventType, event.position, event.payload) for event in events
    ]
    for event_type in ("ACCOUNT", "FUNDING"):
        indexes = [line["index"] for line in lines if line["event_type"] == event_type]
        assert indexes == list(range(len(indexes)))
    _eventually(lambda: _report(report)["pushed"]["pushed_events"] == 3000)
    log = _report(report)["log"]
    malformed = [line for line in lines if line["malformed"]]
    wrapped = ['"event_type":' in line["payload"] for line in lines]
    assert {True, False} == set(wrapped)
    assert 100 < len(malformed) == sum(log["malformed"].values())
    assert sum(log["by_biz_type"].values()) + len(malformed) == 3000 == log["events"]
    assert log["complete"]
    assert (
        log["by_event_type"]["FUNDING"]["last_position"] == [e for e in events if e.eventType == "FUNDING"][-1].position
    )


def test_payload_forms(simulate: Simulate) -> None:
    options = ("--count", "400", "--rate", "50000", "--end", "close", "--fixed-times")
    inner = _events(_all(simulate(*options)))
    envelope = _events(_all(simulate(*options, "--payload-form", "envelope", "--without-position")))
    missing = 0
    for bare, wrapped in zip(inner, envelope, strict=True):
        whole = json.loads(wrapped.payload)
        assert whole["payload"] == json.loads(bare.payload)
        assert (whole["id"], whole["event_type"], whole["timestamp"]) == (bare.id, bare.eventType, bare.timestamp)
        assert whole.get("position", "") == wrapped.position
        assert bare.position
        missing += not wrapped.position
    assert missing > 20


def test_the_log_waits_for_the_first_subscriber(simulate: Simulate, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    port = simulate("--rate", "1000", "--report", str(report))
    time.sleep(1)
    assert _report(report)["log"]["events"] == 0
    assert _first(port) == Kind.SubscribeSuccess
    _eventually(lambda: _report(report)["log"]["events"] > 100)


def test_tls(simulate: Simulate, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    openssl = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    made = subprocess.run([*openssl.split(), "-keyout", key, "-out", certificate], check=False, capture_output=True)
    assert made.returncode == 0, made.stderr
    port = simulate("--tls-cert", str(certificate), "--tls-key", str(key), "--count", "5", "--end", "close")
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials)
    assert len(_events(_all(port, channel=channel))) == 5


def _first(port: int) -> int:
    with _stream(port) as stream:
        return next(stream).type


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)

"""A simulator that is asked to end hands out its log first."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker_events.ingest.sources.event_push_pb2 import SubscribeEvent, SubscribeRequest, SubscribeResponse
from broker_events.ingest.sources.signature import TIMESTAMP_FORMAT, SignatureAlgorithm, signed_metadata


@contextmanager
def simulator(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "broker_events.cli",
            "simulate",
            "--app-key",
            "demo-key",
            "--app-secret",
            "demo-secret",
            *arguments,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        yield process, int(process.stdout.readline().rsplit(":", 1)[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def subscribed(port: int, positions: dict[str, str]) -> Iterator[Any]:
    events = [SubscribeEvent(eventType=name, position=positions.get(name, "")) for name in ("ACCOUNT", "FUNDING")]
    timestamp = time.strftime(TIMESTAMP_FORMAT, time.gmtime())
    request = SubscribeRequest(events=events, timestamp=timestamp).SerializeToString()
    metadata = signed_metadata(
        request,
        app_key="demo-key",
        app_secret="demo-secret",  # noqa: S106  public by design
        algorithm=SignatureAlgorithm.HMAC_SHA256,
        nonce=str(uuid.uuid4()),
        timestamp=timestamp,
    )
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        subscribe: grpc.UnaryStreamMultiCallable[bytes, SubscribeResponse] = channel.unary_stream(
            "/grpc.event.EventService/Subscribe", response_deserializer=SubscribeResponse.FromString
        )
        call = subscribe(request, metadata=metadata, timeout=60)
        yield call
        call.cancel()


def ids(messages: list[SubscribeResponse]) -> list[str]:
    return [message.id for message in messages if message.type == SubscribeResponse.Event]


def log_length(report: Path) -> int:
    content = json.loads(report.read_bytes())
    assert content["running"] is False
    length: int = content["log"]["events"]
    return length


def test_a_subscriber_gets_the_rest_and_a_clean_end(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    options = ("--rate", "20000", "--report", str(report), "--fault", "silence:60s=@10000", "--fault", "end=@15000")
    with simulator(*options) as (process, port), subscribed(port, {}) as stream:
        messages = [next(stream)]
        time.sleep(1.5)  # unread, so that most of the log waits behind the window of the stream
        process.send_signal(signal.SIGTERM)
        messages += list(stream)
        assert stream.code() is grpc.StatusCode.OK
        assert process.wait(10) == 0
    got = ids(messages)
    assert len(got) == len(set(got)) == log_length(report) > 15_000


def test_a_subscriber_that_is_away_is_waited_for_with_patience(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with simulator("--rate", "1000", "--report", str(report), "--patience", "20") as (process, port):
        with subscribed(port, {}) as stream:
            first = [next(stream) for _ in range(200)]
        positions = {message.eventType: message.position for message in first if message.position}
        process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        with subscribed(port, positions) as stream:
            rest = list(stream)
        assert process.wait(10) == 0
    assert len(set(ids(first)) | set(ids(rest))) == log_length(report)
    assert not set(ids(first)) & set(ids(rest))


@pytest.mark.parametrize("patience", [0, 60])
def test_nobody_is_waited_for_without_patience_or_after_a_second_signal(patience: int) -> None:
    with simulator("--rate", "1000", "--patience", str(patience)) as (process, port):
        with subscribed(port, {}) as stream:
            next(stream)
        process.send_signal(signal.SIGTERM)
        if patience:
            time.sleep(1.0)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
        assert process.wait(3) == 0

"""The bridge on the broker's push: real gRPC, real Kafka, the bridge a process of its own."""

import hashlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import orjson
import pytest
from bridge_process import BridgeProcess, headers_of, raw_records, wait_for_raw, with_topics
from kafka_cluster import KafkaCluster
from push_server import APP_KEY, APP_SECRET, PushServer, inner_event, push, steady, whole_event

from broker_events.ingest.cursors import read_positions
from broker_events.ingest.sources.event_push_pb2 import SubscribeRequest, SubscribeResponse
from broker_events.runtime.settings import Settings

ACCOUNTS = [f"ACC-{number}" for number in range(20)]


@pytest.fixture
def settings(cluster: KafkaCluster, topic_prefix: str) -> Settings:
    return with_topics(cluster, topic_prefix)


def traffic(count: int) -> list[SubscribeResponse]:
    """Both event types and both payload forms, over several accounts."""
    make = random.Random(7)  # noqa: S311 (traffic, not a secret)
    return [
        make.choice((inner_event, whole_event))(number, make.choice(("ACCOUNT", "FUNDING")), make.choice(ACCOUNTS))
        for number in range(count)
    ]


def numbers(settings: Settings) -> list[int]:
    return [orjson.loads(record.value() or b"")["payload"]["n"] for record in raw_records(settings)]


def test_raw_is_what_was_pushed_byte_for_byte(settings: Settings, tmp_path: Path) -> None:
    broken = SubscribeResponse(
        type=SubscribeResponse.Event,
        id="broken",
        eventType="ACCOUNT",
        position="p-broken",
        timestamp="t",
        payload="{no",
    )
    not_utf8 = b'\x08\x02\x12\x03bad\x1a\x07ACCOUNT\x22\x05p-bad\x3a\x0a{"a":"\xff\xfe"}'
    untyped = inner_event(3, account="C")
    untyped.type = SubscribeResponse.SubscribeSuccess
    events = [inner_event(1, account="A"), whole_event(2, "FUNDING", account="B"), broken, untyped]

    def stream(
        server: PushServer, _: SubscribeRequest, context: grpc.ServicerContext
    ) -> Iterator[SubscribeResponse | bytes]:
        yield from events
        yield SubscribeResponse(type=SubscribeResponse.Ping)
        yield not_utf8
        yield from steady(server, SubscribeRequest(), context)

    with PushServer([], stream) as server, BridgeProcess(settings, tmp_path, port=server.port) as bridge:
        records = {headers_of(record)["event_id"]: record for record in wait_for_raw(settings, 5)}
        assert bridge.stop() == 0
    assert len(records) == 5
    assert records["event-1"].key() == b"A"
    assert records["event-1"].value() == (
        b'{"id":"event-1","event_type":"ACCOUNT","position":"p1","timestamp":"2026-01-01T00:00:00.123456789Z","payload":'
        + events[0].payload.encode()
        + b"}"
    )
    assert records["event-2"].key() == b"B"
    assert records["event-2"].value() == events[1].payload.encode()
    assert records["event-3"].key() == b"C"
    assert records["broken"].key() is None
    assert records["broken"].value() == b"{no"
    assert headers_of(records["broken"])["error"].startswith("not_json")
    assert headers_of(records["broken"])["timestamp"] == "t"
    assert records["bad"].value() == b'{"a":"\xff\xfe"}'
    assert headers_of(records["bad"])["error"].startswith("not_utf8")
    assert {
        name: headers_of(records["event-2"])[name] for name in ("event_type", "biz_type", "position", "source")
    } == {
        "event_type": "FUNDING",
        "biz_type": "ACCOUNT_UPDATE",
        "position": "p2",
        "source": "grpc",
    }
    assert read_positions(settings, "grpc") == {"ACCOUNT": "p-bad", "FUNDING": "p2"}


def test_killed_under_load_each_event_is_there_once_and_in_order(settings: Settings, tmp_path: Path) -> None:
    events = traffic(12_000)
    with PushServer(events, steady, pause_s=0.0002) as server:
        for lifetime_s in (2.5, 2.0, 2.2):
            with BridgeProcess(settings, tmp_path, port=server.port) as bridge:
                bridge.wait_for("the push stream is open")
                time.sleep(lifetime_s - 1.5)
                bridge.kill()
        assert 0 < len(raw_records(settings)) < len(events), "the kills have to hit in the middle"
        with BridgeProcess(settings, tmp_path, port=server.port) as bridge:
            records = wait_for_raw(settings, len(events))
            assert bridge.stop() == 0
    assert sorted(numbers(settings)) == list(range(len(events)))
    last: dict[bytes | None, int] = {}
    for record in records:
        number = orjson.loads(record.value() or b"")["payload"]["n"]
        assert last.get(record.key(), -1) < number
        last[record.key()] = number
    assert all(server.positions(number) for number in range(1, len(server.requests)))


def test_a_second_bridge_of_the_same_source_takes_over(settings: Settings, tmp_path: Path) -> None:
    events = traffic(20_000)
    with (
        PushServer(events, steady, pause_s=0.0005) as server,
        BridgeProcess(settings, tmp_path, port=server.port) as first,
    ):
        first.wait_for("the push stream is open")
        with BridgeProcess(settings, tmp_path, port=server.port) as second:
            assert first.wait() == 4, first.output
            assert "another bridge of source grpc has taken over" in first.output
            wait_for_raw(settings, len(events))
            assert second.stop() == 0
    assert sorted(numbers(settings)) == list(range(len(events)))


def test_a_refused_secret_ends_it_with_a_line_that_names_the_settings(settings: Settings, tmp_path: Path) -> None:
    with (
        PushServer([]) as server,
        BridgeProcess(settings, tmp_path, port=server.port, app_secret="another-secret") as bridge,  # noqa: S106
    ):
        assert bridge.wait() == 2
    line = next(line for line in bridge.output.splitlines() if "refused" in line)
    assert "PIPELINE_APP_SECRET" in line
    assert "PIPELINE_SIGNATURE_ALGORITHM" in line
    assert "another-secret" not in bridge.output
    assert APP_KEY not in bridge.output


def test_what_was_received_before_a_refusal_is_committed(settings: Settings, tmp_path: Path) -> None:
    def stream(
        server: PushServer, request: SubscribeRequest, context: grpc.ServicerContext
    ) -> Iterator[SubscribeResponse]:
        yield from push(server, request)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{APP_SECRET} is withdrawn")

    with PushServer(traffic(50), stream) as server, BridgeProcess(settings, tmp_path, port=server.port) as bridge:
        assert bridge.wait() == 2
    assert len(raw_records(settings)) == 50
    assert APP_SECRET not in bridge.output


def expired(server: PushServer, request: SubscribeRequest, _: grpc.ServicerContext) -> Iterator[SubscribeResponse]:
    yield from push(server, request, 10)
    yield SubscribeResponse(type=SubscribeResponse.SubscribeExpired)
    time.sleep(30)


def clean_end(server: PushServer, request: SubscribeRequest, _: grpc.ServicerContext) -> Iterator[SubscribeResponse]:
    yield from push(server, request, 10)


def exhausted(
    server: PushServer, request: SubscribeRequest, context: grpc.ServicerContext
) -> Iterator[SubscribeResponse]:
    yield from push(server, request, 10)
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")


def too_many(_: PushServer, __: SubscribeRequest, ___: grpc.ServicerContext) -> Iterator[SubscribeResponse]:
    yield SubscribeResponse(type=SubscribeResponse.NumOfConnExceed)


def silent(server: PushServer, request: SubscribeRequest, context: grpc.ServicerContext) -> Iterator[SubscribeResponse]:
    yield from push(server, request, 10)
    while context.is_active() and not server.closing.wait(0.05):
        pass


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (expired, "expired"),
        (clean_end, "closed"),
        (exhausted, "resource_exhausted"),
        (too_many, "connection_limit"),
        (silent, "silence"),
    ],
    ids=["expired", "clean-end", "resource-exhausted", "too-many-connections", "silence"],
)
def test_after_whatever_ended_the_stream_it_goes_on_after_the_last_event(
    settings: Settings, tmp_path: Path, stream: object, reason: str
) -> None:
    events = traffic(30)
    with (
        PushServer(events, stream, steady) as server,  # type: ignore[arg-type]  # one of the streams above
        BridgeProcess(
            settings, tmp_path, port=server.port, grpc_silence_s=1.5, grpc_connection_limit_wait_s=1.5
        ) as bridge,
    ):
        wait_for_raw(settings, len(events))
        bridge.wait_for(f"the push stream ended: {reason}")
        assert bridge.stop() == 0
    assert sorted(numbers(settings)) == list(range(len(events)))
    pushed = 0 if stream is too_many else 10
    expected = {event.eventType: event.position for event in events[:pushed]}
    assert server.positions(1) == {"ACCOUNT": "", "FUNDING": ""} | expected
    assert len(set(server.nonces)) == len(server.nonces), "every attempt is signed anew"


def test_a_broker_that_is_away_is_waited_for(settings: Settings, tmp_path: Path) -> None:
    with PushServer([]) as server:
        port = server.port
    with BridgeProcess(settings, tmp_path, port=port) as bridge:
        bridge.wait_for("the push stream ended: unavailable")
        started = time.monotonic()
        assert bridge.stop() == 0
        assert time.monotonic() - started < 5


def test_an_event_too_large_for_the_topic_leaves_a_marker_and_the_others_go_on(
    settings: Settings, tmp_path: Path
) -> None:
    large = inner_event(2)
    large.payload = '{"text":"' + "x" * (settings.max_message_bytes + 1) + '"}'
    with (
        PushServer([inner_event(1), large, inner_event(3)]) as server,
        BridgeProcess(settings, tmp_path, port=server.port) as bridge,
    ):
        records = {headers_of(record)["event_id"]: headers_of(record) for record in wait_for_raw(settings, 3)}
        assert 'broker_events_oversized_total{event_type="ACCOUNT"} 1.0' in bridge.get("/metrics")
        assert bridge.stop() == 0
    assert records["event-2"]["content_sha256"] == hashlib.sha256(large.payload.encode()).hexdigest()
    assert [records[f"event-{number}"].get("position") for number in (1, 2, 3)] == ["p1", "p2", "p3"]
    assert read_positions(settings, "grpc") == {"ACCOUNT": "p3"}


def test_a_message_that_grpc_refuses_ends_it_with_a_line_that_says_what_to_do(
    settings: Settings, tmp_path: Path
) -> None:
    huge = inner_event(2)
    huge.payload = "x" * 17_000_000
    with (
        PushServer([inner_event(1), huge, inner_event(3)]) as server,
        BridgeProcess(
            settings, tmp_path, port=server.port, max_message_bytes=8_388_608, grpc_max_message_bytes=16_777_216
        ) as bridge,
    ):
        assert bridge.wait() == 2
    assert "Raise PIPELINE_GRPC_MAX_MESSAGE_BYTES" in bridge.output
    assert "Traceback" not in bridge.output
    assert numbers(settings) == [1]


def test_without_kafka_it_still_ends_when_asked(settings: Settings, tmp_path: Path) -> None:
    with PushServer([]) as server:
        bridge = BridgeProcess(settings, tmp_path, port=server.port, kafka_bootstrap_servers="127.0.0.1:1")
        with bridge:
            bridge.wait_for("does not answer")
            started = time.monotonic()
            assert bridge.stop() == 0
            assert time.monotonic() - started < 10


def test_missing_settings_are_named(settings: Settings, tmp_path: Path) -> None:
    with BridgeProcess(settings, tmp_path, app_key="", app_secret="") as bridge:
        assert bridge.wait() == 2
    assert "PIPELINE_GRPC_TARGET, PIPELINE_APP_KEY, PIPELINE_APP_SECRET" in bridge.output

"""Native code and plain Python make the same of hostile bytes: raw records, typed records, reasons, duplicates."""

from __future__ import annotations

import json
import random

import pytest
from rules_events import CATALOG

from broker_events.ingest.raw_record import to_raw
from broker_events.ingest.sources.source import Received
from broker_events.native import extension
from broker_events.processors.routing import Routing
from broker_events.runtime.events.duplicate_window import DuplicateWindow, PythonDuplicateWindow, duplicate_window
from broker_events.schemas.invalid_event import InvalidEvent

IDS = {name: number for number, name in enumerate(CATALOG.topics, 1)}
SAMPLES = [
    path.read_bytes()
    for contract in CATALOG.events.values()
    for path in sorted(contract.folder.glob("samples/accept/*.json"))
    if not path.name.endswith(".record.json")
]
TOKENS = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"1e5", b"-0", b"0", b".5", b"E+2", b".00"),
    *(b"\\u0041", b"\\ud800", b"\\/", b" ", b"\n", b"\x00", b"\xef\xbb\xbf", b"\xc3\xa9", b"\xff", b"\x7f"),
    *(
        b'"payload"',
        b'"id"',
        b'"account_id":null,',
        b'"extra~/":1,',
        b'"x":{"y":[1,2],"z":1.0},',
        b'"biz_type":"TRANSFER",',
    ),
    *(b'"amount":"1",', b'"client_request_id":"2",', b'"account_number":"3",', b'"status":"RETURNED",', b"9" * 23),
    *(b'"code":"' + b"x" * 4090, b"e" + b"9" * 50, b"[" * 70 + b"]" * 70 + b","),
    b'"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",',
)


class Source:
    """Seeded samples with a few changes of their bytes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 (repeatable)

    def value(self) -> bytes:
        sample = self.random.choice(SAMPLES)
        if self.random.random() < 0.6:
            event = json.loads(sample)
            shuffled = self.random.sample(list(event["payload"].items()), len(event["payload"]))
            event = dict(self.random.sample(list((event | {"payload": dict(shuffled)}).items()), len(event)))
            sample = json.dumps(event, ensure_ascii=self.random.random() < 0.5).encode()
        value = bytearray(sample)
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 3))):
            at, change = self.random.randrange(len(value) + 1), self.random.random()
            if change < 0.4:
                value[at:at] = self.random.choice(TOKENS)
            elif change < 0.7:
                self._repeat_member(value)
            elif change < 0.85:
                del value[at : at + self.random.randrange(1, 6)]
            else:
                value[at : at + 1] = bytes([self.random.randrange(256)])
        return bytes(value)

    def _repeat_member(self, value: bytearray) -> None:
        """Put a member, or something like it, in front of another one."""
        starts = [at for at in range(len(value) - 1) if value[at : at + 1] == b'"' and value[at - 1 : at] in b"{, \n"]
        if starts:
            start, to = self.random.choice(starts), self.random.choice(starts)
            end = value.find(b",", start)
            value[to:to] = value[start : end if end > 0 else len(value)] + b","


def outcome(routing: Routing, value: bytes, window: DuplicateWindow) -> object:
    try:
        route, typed, traced = routing.type(value, b"key", window)
    except InvalidEvent as problem:
        return problem.args
    return route and route.biz_type, typed, traced


@pytest.mark.parametrize("seed", range(4))
def test_no_difference(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    native, source = extension.native, Source(seed)
    fast, fast_window = Routing(CATALOG.events, IDS, str, 100_000), duplicate_window(300)
    monkeypatch.setattr(extension, "native", None)
    plain, plain_window = Routing(CATALOG.events, IDS, str, 100_000), PythonDuplicateWindow(300)
    for _ in range(1000):
        value = source.value()
        names = ("event_id", "event_type", "position", "timestamp", "version")
        beside = {name: source.random.choice(("", 'é"x', "evt-1", "ACCOUNT")) for name in names}
        received = Received(value, 1_700_000_000_000_000)._replace(**beside)  # type: ignore[arg-type]
        monkeypatch.setattr(extension, "native", None)
        expected = outcome(plain, value, plain_window), to_raw(received, "grpc")
        monkeypatch.setattr(extension, "native", native)
        assert (outcome(fast, value, fast_window), to_raw(received, "grpc")) == expected, value
        assert fast.duplicate_keys == plain.duplicate_keys, value

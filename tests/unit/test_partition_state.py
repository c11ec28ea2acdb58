"""The state of a partition: what was put is there, sizes are exact, a large state isn't encoded at every change."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_events.runtime.kafka.clients import Headers
from broker_events.runtime.process.errors import OperatorActionRequired, RestartRequired
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import load_settings
from broker_events.runtime.state.partition_state import LARGE_BYTES, PartitionState
from broker_events.runtime.state.state_folder import StateFolder
from broker_events.runtime.state.state_tables import StateTables, TableKind
from broker_events.schemas.invalid_event import InvalidEvent

LIMIT = 10 * LARGE_BYTES
GROWTH = 1000


class Text:
    """A codec that counts."""

    def __init__(self) -> None:
        self.times = 0

    def encode(self, record: str) -> bytes:
        self.times += 1
        return record.encode("ascii")

    def decode(self, value: bytes) -> str:
        self.times += 1
        return value.decode("ascii")


def put(states: PartitionState[str], key: bytes, record: str, name: str = "") -> None:
    states.put(key, record, [("name", name.encode())] if name else [], growth=GROWTH, limit=LIMIT)


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, GROWTH // 10), st.booleans()), max_size=60),
    st.sampled_from([0, LARGE_BYTES - 300, LIMIT - 2000]),
)
def test_what_was_put_is_there(steps: list[tuple[bytes, int, bool]], size: int) -> None:
    states = PartitionState(Text())
    expected: dict[bytes, str] = {}
    changed: dict[bytes, Headers] = {}
    for number, (key, growth, settles) in enumerate(steps):
        before = expected.get(key, "x" * size)
        assert states.get(key) == expected.get(key)
        record = before + "y" * growth
        if len(key) + len(record) > LIMIT:
            with pytest.raises(InvalidEvent, match=f"{len(key) + len(record)} bytes as a state, the limit is {LIMIT}"):
                put(states, key, record)
            continue
        put(states, key, record, str(number))
        expected[key], changed[key] = record, [("name", str(number).encode())]
        if settles:
            assert states.settle() == changed
            changed = {}
    assert {key: states.get(key) for key in expected} == expected
    assert states.is_settled == (not changed)
    assert states.settle() == changed
    assert states.values == {key: record.encode() for key, record in expected.items()}


def test_a_large_one_is_coded_now_and_then_only() -> None:
    codec = Text()
    states = PartitionState(codec)
    put(states, b"a", "x" * (LIMIT // 2))
    for _ in range(2000):
        record = states.get(b"a")
        assert record is not None
        put(states, b"a", record + "y")
    assert codec.times < 60  # once for each 1,000 bytes that it may have grown, of the half that was left
    states.settle()
    assert len(states.values[b"a"]) == LIMIT // 2 + 2000


def test_what_the_codec_refuses_changes_nothing() -> None:
    states = PartitionState(Text())
    put(states, b"a", "x")
    states.settle()
    with pytest.raises(UnicodeEncodeError):
        put(states, b"a", "ä")
    assert states.get(b"a") == "x"
    assert states.is_settled


def test_a_change_that_is_in_no_transaction_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("read_to_end", "end_offsets"):
        monkeypatch.setattr(f"broker_events.runtime.state.state_tables.{name}", lambda *_arguments, **_named: {})
    settings = load_settings(kafka_bootstrap_servers="localhost:1", schema_registry_url="http://localhost:1")
    kinds = {"state.accounts": TableKind(Text())}
    tables = StateTables(settings, "projector", kinds, Metrics(), threading.Event())
    tables.restore({0, 1}, set())
    states = tables.states["state.accounts"]
    put(states[1], b"a", "x")
    with pytest.raises(RestartRequired, match="no transaction contains"):
        tables.restore({0, 1}, {1})
    states[1].settle()
    tables.restore({1, 2}, {1})
    assert states[1].get(b"a") == "x"


def test_a_restore_that_fails_leaves_nothing_to_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The store would have a checkpoint behind states that it lacks."""
    module = "broker_events.runtime.state.state_tables"
    monkeypatch.setattr(f"{module}.end_offsets", lambda *_arguments, **_named: {})
    settings = load_settings(
        kafka_bootstrap_servers="localhost:1", schema_registry_url="http://localhost:1", state_folder=tmp_path
    )
    tables = StateTables(settings, "projector", {"state.accounts": TableKind(Text())}, Metrics(), threading.Event())
    written = []
    monkeypatch.setattr(tables, "_write", lambda **_: written.append(1))
    monkeypatch.setattr(tables, "_open", lambda _: (_ for _ in ()).throw(RestartRequired("Kafka is away")))
    with pytest.raises(RestartRequired, match="Kafka is away"):
        tables.restore({0}, set())
    written.clear()
    tables.close()
    assert not written


def test_closing_leaves_the_stores_to_a_restore_that_still_runs(tmp_path: Path) -> None:
    settings = load_settings(
        kafka_bootstrap_servers="localhost:1", schema_registry_url="http://localhost:1", state_folder=tmp_path
    )
    tables = StateTables(settings, "projector", {"state.accounts": TableKind(Text())}, Metrics(), threading.Event())
    with tables._restoring:
        tables.close()
        with pytest.raises(OperatorActionRequired):  # the folder is still in use
            StateFolder(tmp_path, settings, "projector")
    tables.close()
    StateFolder(tmp_path, settings, "projector").close()

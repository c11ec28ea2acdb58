"""A store on disk is never trusted where it doesn't fit, and never ahead of what was written to it."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_events.runtime.process.errors import OperatorActionRequired, StateFolderFull
from broker_events.runtime.settings import load_settings
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.runtime.state.partition_store import (
    FORMAT,
    PartitionStore,
    StoreBatch,
    StoreDamaged,
    StoreIdentity,
    StoreMemory,
)
from broker_events.runtime.state.state_folder import StateFolder

TOPIC = "broker.state.accounts"
IDENTITY = StoreIdentity("cluster", "broker", 8, {TOPIC: "topic-id"})
MEMORY = StoreMemory(8_000_000)
LIMIT = 1_000_000


class Text:
    def encode(self, record: str) -> bytes:
        return record.encode()

    def decode(self, value: bytes) -> str:
        return value.decode()


class OneTable:
    """The part of a store that a table sees."""

    def __init__(self, store: PartitionStore) -> None:
        self._store = store

    def get(self, key: bytes) -> bytes | None:
        return self._store.get(0, key)

    def holder(self, index_key: bytes) -> bytes | None:
        return self._store.holder(0, index_key)


def index_keys(record: str) -> list[bytes]:
    """Return the letters of a record."""
    return [letter.encode() for letter in sorted(set(record))]


def opened(folder: Path, identity: StoreIdentity = IDENTITY) -> PartitionStore:
    return PartitionStore(folder, identity, MEMORY)


def write(store: PartitionStore, values: dict[bytes, bytes | None], offset: int) -> None:
    batch = StoreBatch()
    batch.put_all(0, values.items())
    store.write(batch, {TOPIC: offset})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a store of 3,000 keys at offset 3000, closed."""
    store = opened(tmp_path / "0")
    assert store.refusal == "there is none"
    random = Random(1)  # noqa: S311 (reproducible on purpose)
    write(store, {b"%d" % number: random.randbytes(100) for number in range(3000)}, 3000)
    store.close()
    return tmp_path / "0"


def test_it_is_there_again(folder: Path) -> None:
    store = opened(folder)
    assert store.refusal is None
    assert store.checkpoint is not None
    assert store.checkpoint.offsets == {TOPIC: 3000}
    assert len(dict(store.items(0))) == 3000
    assert store.get(0, b"absent") is None
    store.close()


@pytest.mark.parametrize(
    "other",
    [
        IDENTITY._replace(cluster_id="another"),
        IDENTITY._replace(prefix="another"),
        IDENTITY._replace(partitions=9),
        IDENTITY._replace(topic_ids={TOPIC: "recreated"}),
    ],
)
def test_another_pipeline_does_not_get_it(folder: Path, other: StoreIdentity) -> None:
    store = opened(folder, other)
    assert store.refusal is not None
    assert store.checkpoint is None
    assert not [*store.items(0)]
    store.close()


def test_another_format_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker_events.runtime.state.partition_store.FORMAT", FORMAT + 1)
    store = opened(folder)
    assert store.refusal == f"it has the format {FORMAT}, this version writes {FORMAT + 1}"
    assert not [*store.items(0)]
    store.close()


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_file_is_noticed(folder: Path, harm: str) -> None:
    """Whatever is read is what was written, or the store is rebuilt."""
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    random = Random(harm)  # noqa: S311 (reproducible on purpose)
    expected = dict(opened_items(folder))
    noticed = 0
    for name in sorted(name for name in before if name.endswith(".sst") or name.startswith(("MANIFEST", "CURRENT"))):
        for times in range(12 if harm != "remove" else 2):
            shutil.rmtree(folder)
            folder.mkdir()
            for each, content in before.items():
                (folder / each).write_bytes(content)
            if harm == "remove":
                (folder / name).unlink()
            elif harm == "cut":
                (folder / name).write_bytes(before[name][: random.randrange(len(before[name]))])
            else:
                flipped = bytearray(before[name])
                flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
                (folder / name).write_bytes(flipped)
            noticed += is_noticed(folder, expected, by_key=times % 2 == 0)
    assert noticed


def is_noticed(folder: Path, expected: dict[bytes, bytes], *, by_key: bool) -> bool:
    """Read all keys; return whether the store was found damaged. Otherwise it has what was written."""
    store = opened(folder)
    try:
        found = {key: store.get(0, key) for key in expected} if by_key else dict(store.items(0))
    except StoreDamaged:
        found = None
    if found is None:  # here: the error holds an iterator, and the iterator the folder
        store.close()
        again = opened(folder)
        assert again.refusal == "it was found damaged"
        again.close()
        return True
    store.close()
    if store.checkpoint is None:
        assert not any(found.values())
        return True  # it is read from the topics
    assert found == expected
    return False


def opened_items(folder: Path) -> list[tuple[bytes, bytes]]:
    store = opened(folder)
    items = [*store.items(0)]
    store.close()
    return items


def write_until_full(store: PartitionStore) -> None:
    for number in range(100):
        write(store, {b"more%d" % number: os.urandom(1_000_000)}, 4000 + number)
        store.sync()


def test_a_full_disk_says_so(folder: Path) -> None:
    store = opened(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StateFolderFull, match=f"{folder}.*Nothing is lost"):
            write_until_full(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    store.close()
    store = opened(folder)  # what was there before is complete
    assert {b"%d" % number for number in range(3000)} <= dict(store.items(0)).keys()
    store.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    first = StateFolder(tmp_path, load_settings(), "projector")
    with pytest.raises(OperatorActionRequired, match=r"PIPELINE_STATE_FOLDER: .* is in use by another process"):
        StateFolder(tmp_path, load_settings(), "projector")
    first.close()
    StateFolder(tmp_path, load_settings(), "projector").close()


def test_stores_of_former_partitions_are_deleted_when_they_are_old(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, load_settings(), "projector")
    for number in range(3):
        folder.open(number, IDENTITY).close()
    for path in (folder.path / "2").iterdir():
        os.utime(path, (0, 0))
    folder.remove_unused({0}, before_s=1_000_000_000)
    assert sorted(path.name for path in folder.path.iterdir()) == ["0", "1", "lock"]
    folder.close()


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorActionRequired, match=r"PIPELINE_STATE_FOLDER: .*file"):
        StateFolder(tmp_path / "file", load_settings(), "projector")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["a", "b", "c", "d"]), st.text("xyz", max_size=3)),
        st.tuples(st.just("tombstone"), st.just("d"), st.just("")),
        st.tuples(st.sampled_from(["commit", "write", "forget", "restart"]), st.just(""), st.just("")),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=30)
@given(STEPS)
def test_memory_and_disk_together_are_the_topic(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    """After any steps, states read from memory, disk and the tail of the topic are those of the whole topic."""
    topic: list[tuple[bytes, bytes | None]] = []  # committed records
    store = opened(tmp_path_factory.mktemp("model") / "0")
    states = PartitionState(Text(), index_keys, OneTable(store))
    for kind, name, letters in steps:
        key = name.encode()
        if kind == "put":
            record = "".join(sorted({*(states.get(key) or ""), *letters}))  # no record loses a letter
            states.put(key, record, [], growth=0, limit=LIMIT)
            states.lead(index_keys(record), key)
        elif kind == "restart":
            states = restarted(store, topic)
        elif kind == "tombstone":  # written by a repair while no worker runs
            topic.append((key, None))
            states = restarted(store, topic)
        else:
            topic += [(key, states.values[key]) for key in states.settle()]
            if kind != "commit":
                save(store, states, len(topic))
            if kind == "forget":
                states.forget()
    states = restarted(store, topic)
    agree(states, latest(topic))
    store.close()


def agree(states: PartitionState[str], expected: dict[bytes, bytes]) -> None:
    """Check values and index."""
    for key in (b"a", b"b", b"c", b"d"):
        value = expected.get(key)
        assert states.get(key) == (None if value is None else value.decode())
        assert (key in states) == (key in expected)
    for letter in b"wxyz":
        holders = {key for key, value in expected.items() if letter in value}
        assert states.holder(bytes([letter])) in holders or not holders


def latest(topic: list[tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    return {key: value for key, value in dict(topic).items() if value is not None}


def save(store: PartitionStore, states: PartitionState[str], offset: int) -> None:
    values, index = states.take_unstored()
    batch = StoreBatch()
    batch.put_all(0, values.items())
    batch.lead_all(0, index.items())
    store.write(batch, {TOPIC: offset})


def restarted(store: PartitionStore, topic: list[tuple[bytes, bytes | None]]) -> PartitionState[str]:
    """Return states that have forgotten all but the store, and have read the tail of the topic."""
    states = PartitionState(Text(), index_keys, OneTable(store))
    begin = 0
    if store.checkpoint is not None:
        begin = store.checkpoint.offsets[TOPIC]
        states.forget()
    for key, value in topic[begin:]:
        states.restore(key, value)
    states.index(states.unstored)
    if states.lacks_holders:
        states.index([key for key, _ in store.items(0)])
    return states


def test_a_restore_that_was_interrupted_has_no_age(folder: Path) -> None:
    """Deletions that the topics drop before the next start would be missed."""
    store = opened(folder.parent / "1")
    store.write(StoreBatch(), {TOPIC: 10}, is_partial=True)
    assert store.checkpoint is not None
    assert store.checkpoint.at_s == 0
    store.write(StoreBatch(), {TOPIC: 20})
    complete = store.checkpoint.at_s
    assert complete > 0
    store.write(StoreBatch(), {TOPIC: 30}, is_partial=True)
    assert store.checkpoint.at_s == complete
    store.close()


def test_a_store_that_can_not_be_deleted_is_not_opened_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(folder)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(OperatorActionRequired, match=r"Permission denied\. Delete this folder"):
        store.empty()


def test_a_checkpoint_that_is_no_json(folder: Path) -> None:
    store = opened(folder)
    store._db.put(b"\0", b"{")
    store.close()
    assert opened(folder).refusal == "it can't be read (its checkpoint is no JSON)"


def test_the_checkpoint_names_what_it_belongs_to(folder: Path) -> None:
    store = opened(folder)
    found: dict[str, object] = json.loads(store._db.get(b"\0") or b"")
    assert found.keys() == {"format", "cluster_id", "prefix", "partitions", "topic_ids", "offsets", "at_s"}
    store.close()

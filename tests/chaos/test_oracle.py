"""The oracle finds what it is there for: one flaw in flawless evidence is one violation of the right kind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from evidence import PartitionEvidence, Stored
from expected_events import TYPED_TOPICS
from ideal_evidence import EVENTS, PREFIX, ideal_evidence, write_journal
from journal import Journal
from oracle import conclude, examine
from violations import Kind, Report, Stage

SMALLEST = Decimal(1).scaleb(-18)

Evidence = list[PartitionEvidence]


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    journal = write_journal(tmp_path_factory.mktemp("journal") / "journal.ndjson")
    yield journal
    journal.close()


@pytest.fixture(scope="module")
def flawless(journal: Journal) -> Evidence:
    return ideal_evidence(journal)


@pytest.fixture
def evidence(flawless: Evidence) -> Evidence:
    return copy.deepcopy(flawless)


def judge(journal: Journal, evidence: Evidence, repeats: int = 0) -> Report:
    return conclude(journal, (examine(journal, PREFIX, partition) for partition in evidence), repeats)


def records(evidence: Evidence, topic: str, number: int = 1) -> list[Stored]:
    return evidence[number].topics[topic]


def drop(topic: str) -> Callable[[Evidence], None]:
    return lambda evidence: records(evidence, topic).__delitem__(5)


def double(topic: str) -> Callable[[Evidence], None]:
    return lambda evidence: records(evidence, topic).insert(6, records(evidence, topic)[5])


def swap(topic: str, key: Callable[[Stored], object]) -> Callable[[Evidence], None]:
    """Let the first two records that share a key change places."""

    def flaw(evidence: Evidence) -> None:
        found = records(evidence, topic)
        pairs = ((i, j) for j, later in enumerate(found) for i in range(j) if key(found[i]) == key(later))
        first, second = next(pairs)
        found[first], found[second] = found[second], found[first]

    return flaw


def change(topic: str, *path: str | int, to: Any = None, by: Decimal | None = None) -> Callable[[Evidence], None]:
    """Set, or alter by an amount, what is at `path` in the first record that has something there."""

    def flaw(evidence: Evidence) -> None:
        for stored in records(evidence, topic):
            at = stored.record
            for name in path[:-1]:
                at = at.get(name) if isinstance(at, dict) else at and at[name]
            if at and at[path[-1]] is not None:
                at[path[-1]] = to if by is None else at[path[-1]] + by
                return
        raise LookupError(path)

    return flaw


def move(topic: str) -> Callable[[Evidence], None]:
    """Let a record be in the partition of another number."""
    return lambda evidence: records(evidence, topic, 2).append(records(evidence, topic).pop(5))


def set_header(topic: str, name: str, value: bytes) -> Callable[[Evidence], None]:
    return lambda evidence: records(evidence, topic)[5].headers.update({name: value})


def set_value(topic: str, value: Any) -> Callable[[Evidence], None]:
    return lambda evidence: setattr(records(evidence, topic)[5], "value", value)


def set_key(topic: str, key: str) -> Callable[[Evidence], None]:
    return lambda evidence: setattr(records(evidence, topic)[5], "key", key)


def reopen(evidence: Evidence) -> None:
    """Let the last tombstone of the active alerts be missing: the condition would hold for ever."""
    active = records(evidence, "alerts.active")
    last = {stored.key: index for index, stored in enumerate(active)}
    active.pop(next(index for index in last.values() if active[index].value is None))


def close_all(evidence: Evidence) -> None:
    """Let an alert that is active have a tombstone."""
    active = records(evidence, "alerts.active")
    last = {stored.key: stored for stored in active}
    open_one = next(stored for stored in last.values() if stored.value is not None)
    tombstone = copy.copy(open_one)
    tombstone.value = None
    active.append(tombstone)


def test_flawless_evidence_is_clean(journal: Journal, flawless: Evidence) -> None:
    report = judge(journal, flawless)
    assert report.is_clean, report
    assert report.compared["events"] == EVENTS
    present = [topic for partition in flawless for topic, found in partition.topics.items() if found]
    assert {*TYPED_TOPICS, "raw", "quarantine", "alerts", "alerts.active"} <= {*present}
    assert f"events {EVENTS}" in str(report)


def test_a_repeat_that_the_broker_pushed_is_a_duplicate(journal: Journal, evidence: Evidence) -> None:
    double("raw")(evidence)
    report = judge(journal, evidence, repeats=1)
    assert report.is_clean, report
    assert report.compared["duplicates"] == 1


FLAWS = {
    "raw record lost": (drop("raw"), Stage.RAW, Kind.LOST),
    "raw record doubled": (double("raw"), Stage.RAW, Kind.DOUBLED),
    "raw records swapped": (swap("raw", lambda stored: stored.key), Stage.RAW, Kind.OUT_OF_ORDER),
    "raw byte changed": (set_value("raw", b"{}"), Stage.RAW, Kind.CHANGED),
    "raw key changed": (set_key("raw", "another"), Stage.RAW, Kind.CHANGED),
    "raw position changed": (set_header("raw", "position", b"?"), Stage.RAW, Kind.CHANGED),
    "raw record of nobody": (set_header("raw", "event_id", b"?"), Stage.RAW, Kind.UNEXPECTED),
    "typed record lost": (drop("event.transfer"), Stage.TYPED, Kind.LOST),
    "typed record doubled": (double("event.transfer"), Stage.TYPED, Kind.DOUBLED),
    "typed records swapped": (swap("event.transfer", lambda stored: stored.key), Stage.TYPED, Kind.OUT_OF_ORDER),
    "typed record in another partition": (move("event.transfer"), Stage.TYPED, Kind.UNEXPECTED),
    "typed record lost, balance": (drop("event.credit"), Stage.BALANCE, Kind.CHANGED),
    "amount off by 1e-18": (change("event.transfer", "amount", by=SMALLEST), Stage.TYPED, Kind.CHANGED),
    "rate off by 1e-18": (change("event.exchange", "fx_rate", by=SMALLEST), Stage.TYPED, Kind.CHANGED),
    "nanoseconds cut": (
        change("event.transfer", "event_time_text", to="2026-01-01T00:00:00Z"),
        Stage.TYPED,
        Kind.CHANGED,
    ),
    "restriction dropped": (change("event.account-update", "restrictions", to=["US"]), Stage.TYPED, Kind.CHANGED),
    "unknown field invented": (change("event.credit", "extra", to={"/payload/x": "1"}), Stage.TYPED, Kind.CHANGED),
    "raw offset changed": (set_header("event.transfer", "raw_offset", b"0"), Stage.TYPED, Kind.CHANGED),
    "quarantine record lost": (drop("quarantine"), Stage.QUARANTINE, Kind.LOST),
    "quarantine record doubled": (double("quarantine"), Stage.QUARANTINE, Kind.DOUBLED),
    "quarantine of a valid one": (change("quarantine", "offset", to=0), Stage.QUARANTINE, Kind.UNEXPECTED),
    "wrong reason": (change("quarantine", "reason", to="no_value"), Stage.QUARANTINE, Kind.CHANGED),
    "quarantined value cut": (change("quarantine", "value", to=b"{"), Stage.QUARANTINE, Kind.CHANGED),
    "alert lost": (drop("alerts"), Stage.ALERTS, Kind.LOST),
    "alert doubled": (double("alerts"), Stage.ALERTS, Kind.DOUBLED),
    "alerts swapped": (swap("alerts", lambda stored: stored.record["dedup_key"]), Stage.ALERTS, Kind.OUT_OF_ORDER),
    "alert's status changed": (change("alerts", "status", to="?"), Stage.ALERTS, Kind.CHANGED),
    "alert's evidence changed": (
        change("alerts", "transfer", "amount", by=-SMALLEST),
        Stage.ALERTS,
        Kind.CHANGED,
    ),
    "alert of nothing": (change("alerts", "alert_id", to="?"), Stage.ALERTS, Kind.UNEXPECTED),
    "active alert never closed": (reopen, Stage.ACTIVE, Kind.UNEXPECTED),
    "active alert closed too early": (close_all, Stage.ACTIVE, Kind.LOST),
    "account state lost": (drop("state.accounts"), Stage.ACCOUNTS, Kind.LOST),
    "account state stale": (change("state.accounts", "restrictions", "codes", to=["?"]), Stage.ACCOUNTS, Kind.CHANGED),
    "restrict infos stale": (change("state.accounts", "restrict_infos", "infos", to=[]), Stage.ACCOUNTS, Kind.CHANGED),
    "bcan stale": (change("state.accounts", "bcan", "CN", "status", to="?"), Stage.ACCOUNTS, Kind.CHANGED),
    "close stale": (change("state.accounts", "close", "event_id", to="?"), Stage.ACCOUNTS, Kind.CHANGED),
    "account state of nobody": (set_key("state.accounts", "?"), Stage.ACCOUNTS, Kind.UNEXPECTED),
    "movement state deleted": (set_value("state.movements", None), Stage.MOVEMENTS, Kind.LOST),
    "movement stale": (change("state.movements", "status", to="?"), Stage.MOVEMENTS, Kind.CHANGED),
    "movement amount off": (change("state.movements", "amount", by=SMALLEST), Stage.MOVEMENTS, Kind.CHANGED),
    "history doubled": (change("state.movements", "history", 0, "event_id", to="?"), Stage.MOVEMENTS, Kind.CHANGED),
}


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_found(journal: Journal, evidence: Evidence, name: str) -> None:
    flaw, stage, kind = FLAWS[name]
    flaw(evidence)
    report = judge(journal, evidence)
    assert report.found(stage, kind) == 1, report
    assert report.details[stage, kind], "says where"


def test_a_cursor_that_lags_is_found(journal: Journal, evidence: Evidence) -> None:
    records(evidence, "ingest.cursors", 0)[-1].record["position"] = "earlier"
    assert judge(journal, evidence).found(Stage.CURSORS, Kind.CHANGED) == 1


def test_an_event_in_two_partitions_is_found(journal: Journal, evidence: Evidence) -> None:
    elsewhere = copy.copy(records(evidence, "raw")[5])
    elsewhere.partition = 2
    records(evidence, "raw", 2).append(elsewhere)
    assert judge(journal, evidence, repeats=1).found(Stage.RAW, Kind.OUT_OF_ORDER) == 1

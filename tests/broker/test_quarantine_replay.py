"""Events that had no contract when they came are replayed into their new topic, each once, whatever happens."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from awards import award, catalog_with_awards, command_line, make, router
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit, environment, eventually, headers_of

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.process.errors import Fenced
from broker_events.runtime.quarantine.replay import Quarantined, Replay, read_recoveries
from broker_events.runtime.schema_ids import resolve_schema_ids
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec
from broker_events.schemas.models import QuarantinedEvent, QuarantineRecovery

MANY = 400
HEADERS: list[tuple[str, str | bytes | None]] = [("source", b"test"), ("odd", b"\xff"), ("empty", None)]


class Replayed:
    """A pipeline whose first router knew no awards, and whose second one does."""

    def __init__(self, pipeline: Pipeline, root: Path, first: KafkaRecord) -> None:
        self.pipeline = pipeline
        self.first = first
        self._root = root

    def command(self, *arguments: str, code: int = 0) -> str:
        """Output of `broker-events quarantine ...` of a version that knows awards."""
        done = subprocess.run(
            command_line(self._root, "quarantine", *arguments),
            env=environment(self.pipeline.settings),
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def replaying(self, *arguments: str, **settings: object) -> subprocess.Popen[str]:
        """Start a replay, whose progress can be read."""
        line = command_line(self._root, "quarantine", "replay", "--yes", *arguments)
        variables = environment(self.pipeline.settings, **settings)
        return subprocess.Popen(line, env=variables, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    def typed(self, account: str) -> list[KafkaRecord]:
        return [record for record in self.pipeline.read("event.test-award") if record.key() == account.encode()]

    def quarantined(self, account: str) -> list[Quarantined]:
        found = []
        for record in self.pipeline.read("quarantine"):
            event = self.pipeline.decode(record)
            assert isinstance(event, QuarantinedEvent)
            if event.key == account.encode():
                found.append(Quarantined(record, event))
        return found

    def recoveries(self, account: str) -> list[QuarantineRecovery]:
        names = {each.name for each in self.quarantined(account)}
        found = [self.pipeline.decode(each) for each in self.pipeline.read("quarantine.recoveries")]
        mine = [each for each in found if isinstance(each, QuarantineRecovery) and each.recovered_from in names]
        return sorted(mine, key=lambda each: each.offset)  # they are in several partitions

    def wait_for_typed(self, account: str, count: int) -> None:
        eventually(lambda: len(self.typed(account)) >= count, lambda: f"{count} awards of {account}")


@pytest.fixture(scope="module")
def run(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    folder = tmp_path_factory.mktemp("replay")
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", folder).made()
    first = pipeline.produce("raw", award("one", "ACC-1"), "ACC-1", headers=HEADERS)
    pipeline.produce("raw", credit("credit-1"), "ACC-1")
    for event in (award("two", "ACC-1"), award("one", "ACC-1"), award("bad", "ACC-1", amount="1e20")):
        pipeline.produce("raw", event, "ACC-1")
    pipeline.produce_all("raw", [("ACC-2", award(f"many-{number}", "ACC-2")) for number in range(MANY)])
    pipeline.produce_all("raw", [("ACC-3", award(f"fenced-{number}", "ACC-3")) for number in range(2)])
    pipeline.produce("raw", award("again", "ACC-4"), "ACC-4")
    with pipeline.worker("router") as old:
        pipeline.wait_for("quarantine", 4 + MANY + 2 + 1)
        pipeline.wait_for("event.credit", 1)
        assert old.stop() == 0
    root = folder / "schemas"
    make(pipeline, catalog_with_awards(root))
    with router(pipeline, root) as new:
        new.wait_ready()
        yield Replayed(pipeline, root, first)
        assert new.stop() == 0


def lines(output: str) -> dict[str, int]:
    """How many of which outcome a replay foretells."""
    rows = [re.split(r"  +", line) for line in output.splitlines()]
    return {row[3]: int(row[0]) for row in rows if len(row) == 4 and row[0].isdecimal()}


def test_an_unknown_type_is_replayed_into_its_topic_once_it_has_one(run: Replayed) -> None:
    topic = run.pipeline.settings.topic("event.test-award")
    chosen = ("--account", "ACC-1")
    expected = {f"typed into {topic}": 2, "duplicate of an earlier record": 1, "rejected again: bad_amount": 1}
    foretold = run.command("replay", *chosen, "--dry-run")
    assert lines(foretold) == expected
    assert "1 record would be rejected again, left out: 1 bad_amount (--include-rejected)" in foretold
    assert "3 records would be replayed" in foretold
    assert not run.typed("ACC-1")
    assert not run.recoveries("ACC-1"), "a dry run changes nothing"

    done = run.command("replay", *chosen, "--include-rejected", "--yes", "--note", "the contract is there")
    assert lines(done) == expected
    match = re.search(r"^4 records replayed, recovery_id (\S+)$", done, re.MULTILINE)
    assert match is not None
    run.wait_for_typed("ACC-1", 2)
    eventually(lambda: len(run.quarantined("ACC-1")) == 5)

    raw = [record for record in run.pipeline.read("raw") if record.key() == b"ACC-1"]
    again = raw[5]
    before = run.quarantined("ACC-1")
    assert (again.value(), again.partition()) == (run.first.value(), run.first.partition())
    assert again.headers() == [
        *HEADERS,
        ("recovered_from", before[0].name.encode()),
        ("recovery_id", match[1].encode()),
        ("raw_offset", str(run.first.offset()).encode()),
    ]
    assert [headers_of(record) for record in run.typed("ACC-1")] == [
        {"raw_offset": str(raw[at].offset())} for at in (5, 6)
    ]
    audit = run.recoveries("ACC-1")
    assert [(each.recovered_from, each.offset) for each in audit] == [
        (each.name, each.event.offset) for each in before[:4]
    ]
    assert {(each.recovery_id, each.note, each.reason) for each in audit} == {
        (match[1], "the contract is there", "unknown_biz_type")
    }


def test_a_second_replay_finds_nothing_left_and_what_was_refused_again(run: Replayed) -> None:
    """Goes on from the test before: alone it replays first."""
    if not run.recoveries("ACC-1"):
        run.command("replay", "--account", "ACC-1", "--include-rejected", "--yes")
    eventually(lambda: len(run.quarantined("ACC-1")) == 5)
    bad = run.quarantined("ACC-1")[4]
    assert (bad.event.reason, bad.event.event_id) == ("bad_amount", "bad")
    assert bad.event.recovered_from == run.quarantined("ACC-1")[3].name
    assert bad.event.recovery_id == run.recoveries("ACC-1")[3].recovery_id

    again = run.command("replay", "--account", "ACC-1", "--reason", "unknown_biz_type", "--yes", code=1)
    assert lines(again) == {"replayed already, left out": 4}
    assert "0 records replayed" in again

    run.command("replay", "--event-id", "bad", "--reason", "bad_amount", "--yes", code=1)
    run.command("replay", "--event-id", "bad", "--reason", "bad_amount", "--yes", "--include-rejected")
    eventually(lambda: len(run.quarantined("ACC-1")) == 6)
    assert run.quarantined("ACC-1")[5].event.recovered_from == bad.name
    assert len(run.typed("ACC-1")) == 2
    listed: list[dict[str, Any]] = [
        json.loads(line) for line in run.command("list", "--json", "--account", "ACC-1").splitlines()
    ]
    assert [each["replayed"] is not None for each in listed] == [True] * 5 + [False]


def test_a_replay_that_was_killed_is_repeated(run: Replayed) -> None:
    chosen = ("--account", "ACC-2")
    with run.replaying(*chosen, transaction_records=5) as killed:
        assert killed.stderr is not None
        assert killed.stderr.readline() == f"5 of {MANY} replayed\n"
        killed.kill()
    done = run.command("replay", *chosen, "--yes")
    first = lines(done)["replayed already, left out"]
    assert 5 <= first < MANY
    assert first % 5 == 0, "transactions are replayed whole or not at all"
    run.wait_for_typed("ACC-2", MANY)
    ids = Counter(record.value() for record in run.typed("ACC-2"))
    assert (len(ids), set(ids.values())) == (MANY, {1})
    runs = Counter(each.recovery_id for each in run.recoveries("ACC-2"))
    assert [*runs.values()] == [first, MANY - first]
    raw = [record for record in run.pipeline.read("raw") if record.key() == b"ACC-2"]
    assert len(raw) == 2 * MANY


def test_what_was_refused_is_typed_when_it_is_pushed_again(run: Replayed) -> None:
    """A router that starts with the contract doesn't take for typed what it could type now."""
    for value in (award("again", "ACC-4"), award("again", "ACC-4"), award("last", "ACC-4")):
        run.pipeline.produce("raw", value, "ACC-4")
    run.wait_for_typed("ACC-4", 2)

    assert len(run.typed("ACC-4")) == 2


def test_limit_takes_the_oldest(run: Replayed) -> None:
    before = len(run.recoveries("ACC-3"))
    run.command("replay", "--account", "ACC-3", "--limit", "1", "--yes")
    assert [each.event_id for each in run.recoveries("ACC-3")][: before + 1] == ["fenced-0"]


def test_a_newer_run_ends_an_older_one(run: Replayed) -> None:
    settings = run.pipeline.settings
    catalog = load_catalog()
    schema_id = resolve_schema_ids(settings, catalog)["quarantine.recoveries"]
    codec: Codec[Any] = Codec(catalog.contracts["quarantine-recovery"], schema_id)
    record = run.quarantined("ACC-3")[-1]
    with Replay(settings, codec, None) as older:
        before = read_recoveries(settings)
        with Replay(settings, codec, None):
            with pytest.raises(Fenced):
                older.send([record])
            assert read_recoveries(settings) == before


def test_without_a_terminal_it_asks_for_yes(run: Replayed) -> None:
    done = run.pipeline.command("quarantine", "replay")
    assert done.returncode == 2
    assert "--yes" in done.stderr

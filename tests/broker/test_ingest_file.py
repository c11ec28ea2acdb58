"""The bridge on files and standard input, on a real Kafka."""

import gzip
import os
import shutil
import subprocess
import time
from pathlib import Path

import orjson
import pytest
from bridge_process import BridgeProcess, errors_in, eventually, headers_of, raw_records, with_topics
from kafka_cluster import KafkaCluster

from broker_events.ingest.cursors import read_positions
from broker_events.runtime.settings import Settings


@pytest.fixture
def settings(cluster: KafkaCluster, topic_prefix: str) -> Settings:
    return with_topics(cluster, topic_prefix)


def line(number: int) -> bytes:
    return orjson.dumps(
        {
            "id": f"event-{number}",
            "event_type": "FUNDING",
            "timestamp": "2026-01-01T00:00:00Z",
            "payload": {"account_id": f"A{number % 7}", "biz_type": "CREDIT", "n": number},
        }
    )


def values(settings: Settings) -> list[bytes]:
    return [record.value() or b"" for record in raw_records(settings)]


def numbers(settings: Settings) -> list[int]:
    return [orjson.loads(value)["payload"]["n"] for value in values(settings)]


def run(settings: Settings, folder: Path, *arguments: object) -> str:
    """Import to the end; return what was logged."""
    with BridgeProcess(settings, folder, *map(str, arguments)) as bridge:
        assert bridge.wait() == 0, bridge.output
        return bridge.output


def test_every_line_becomes_a_record_as_it_is(settings: Settings, tmp_path: Path) -> None:
    spaced = b'  {"id" : "s", "event_type":"FUNDING","payload": {"account_id":"A", "amount": 1.10}}'
    file = tmp_path / "events.ndjson"
    file.write_bytes(line(1) + b"\n\n" + spaced + b"\r\n \t \nnot json\n" + line(2))  # the last line has no end
    output = run(settings, tmp_path, "--file", file)
    records = raw_records(settings)
    assert sorted(record.value() or b"" for record in records) == sorted([line(1), spaced, b"not json", line(2)])
    assert [error.split(":")[0] for error in errors_in(records)] == ["not_json"]
    assert {headers_of(record)["source"] for record in records} == {"file"}
    assert "4 events imported" in output


def test_gzip_and_plain_files_one_after_the_other(settings: Settings, tmp_path: Path) -> None:
    plain, packed = tmp_path / "1.ndjson", tmp_path / "2.ndjson.gz"
    plain.write_bytes(b"".join(line(number) + b"\n" for number in range(100)))
    halves = [b"".join(line(number) + b"\n" for number in part) for part in (range(100, 150), range(150, 200))]
    packed.write_bytes(b"".join(map(gzip.compress, halves)))  # two members: what appending to a .gz gives
    run(settings, tmp_path, "--file", plain, "--file", packed)
    assert sorted(numbers(settings)) == list(range(200))


def test_standard_input(settings: Settings, tmp_path: Path) -> None:
    content = gzip.compress(b"".join(line(number) + b"\n" for number in range(50)))
    with BridgeProcess(settings, tmp_path, "--file", "-", stdin=subprocess.PIPE) as bridge:
        bridge.feed(content)
        assert bridge.wait() == 0
    assert sorted(numbers(settings)) == list(range(50))


def test_standard_input_that_stays_open_is_committed_as_it_comes_and_ends_when_asked(
    settings: Settings, tmp_path: Path
) -> None:
    with BridgeProcess(settings, tmp_path, "--file", "-", stdin=subprocess.PIPE) as bridge:
        bridge.feed(line(1) + b"\n", end=False)
        eventually(lambda: numbers(settings) == [1])
        started = time.monotonic()
        assert bridge.stop() == 0
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_import_that_was_killed_goes_on_after_the_last_committed_line(
    settings: Settings, tmp_path: Path, *, packed: bool
) -> None:
    count = 150_000
    content = b"".join(line(number) + b"\n" for number in range(count))
    file = tmp_path / "events.ndjson"
    file.write_bytes(gzip.compress(content, 1) if packed else content)
    with BridgeProcess(settings, tmp_path, "--file", str(file), transaction_records=200) as bridge:
        eventually(lambda: len(raw_records(settings)) > 0)
        bridge.kill()
    assert 0 < len(raw_records(settings)) < count, "the kill has to hit in the middle"
    output = run(settings, tmp_path, "--file", file)
    assert "resuming after line" in output
    found = numbers(settings)
    assert len(found) == count
    assert set(found) == set(range(count))


def test_a_file_that_has_grown_gives_its_new_lines_and_another_one_all_of_them(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(line(1) + b"\n" + line(2) + b"\n")
    run(settings, tmp_path, "--file", file)
    assert "0 events imported; the first 2 lines" in run(settings, tmp_path, "--file", file)
    with file.open("ab") as more:
        more.write(line(3) + b"\n")
    run(settings, tmp_path, "--file", file)
    assert sorted(numbers(settings)) == [1, 2, 3]
    file.write_bytes(line(4) + b"\n" + line(5) + b"\n" + line(6) + b"\n")
    assert "content differs from the earlier import" in run(settings, tmp_path, "--file", file)
    assert sorted(numbers(settings)) == [1, 2, 3, 4, 5, 6]
    run(settings, tmp_path, "--file", file, "--from-start")
    assert sorted(numbers(settings)) == [1, 2, 3, 4, 4, 5, 5, 6, 6]


def test_a_last_line_that_is_still_being_written_is_read_again_whole(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(line(1) + b"\n" + line(2)[:40])
    run(settings, tmp_path, "--file", file)
    run(settings, tmp_path, "--file", file)
    assert sorted(values(settings)) == sorted([line(1), line(2)[:40]]), "what has not grown is not read again"
    with file.open("ab") as more:
        more.write(line(2)[40:] + b"\n" + line(3))
    run(settings, tmp_path, "--file", file)
    with file.open("ab") as more:
        more.write(b"\n" + line(4) + b"\n")
    run(settings, tmp_path, "--file", file)
    assert sorted(values(settings)) == sorted([line(1), line(2)[:40], line(2), line(3), line(4)])


def test_any_name_once_and_a_pipe_by_its_path(settings: Settings, tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.ndjson"))
    file.write_bytes(line(1) + b"\n" + line(2) + b"\n")
    copy = Path(shutil.copy(file, tmp_path / "copy.ndjson"))
    output = run(settings, tmp_path, "--file", file, "--file", file, "--file", copy)
    assert "2 events imported; the first 4 lines had been imported before" in output
    assert sorted(numbers(settings)) == [1, 2]
    positions = read_positions(settings, "file")
    assert "caf\\xe9.ndjson" in "".join(positions)
    with BridgeProcess(settings, tmp_path, "--file", "/dev/stdin", stdin=subprocess.PIPE) as bridge:
        bridge.feed(b"".join(line(number) + b"\n" for number in range(3, 2500)))
        assert bridge.wait() == 0, bridge.output
    assert sorted(numbers(settings)) == list(range(1, 2500))
    assert read_positions(settings, "file") == positions


def test_a_damaged_file_is_named_with_the_line_and_what_came_before_is_kept(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson.gz"
    file.write_bytes(gzip.compress(b"".join(line(number) + b"\n" for number in range(20_000)), 1)[:-50_000])
    with BridgeProcess(settings, tmp_path, "--file", str(file)) as bridge:
        assert bridge.wait() == 2
    committed = len(raw_records(settings))
    assert committed > 0
    assert f"{file}: can't be read after line {committed}" in bridge.output

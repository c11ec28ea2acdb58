"""Reading a file on: its last line may have had no end, and may have become another line since."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.sources.ndjson import NdjsonFiles, Place


def read_on(file: Path, position: str = "") -> tuple[list[bytes], str]:
    """What a run yields that goes on at a position, and its own last position."""
    received = list(NdjsonFiles([file]).receive(lambda: {str(file.resolve()): position} if position else {}))
    last = received[-1].checkpoint if received else None
    return [one.payload for one in received], last.position if last else position


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (b"a\nb", []),
        (b"a\nb\n", []),
        (b"a\nb\nc\n", [b"c"]),
        (b"a\nbc\n", [b"bc"]),
        (b"a\nc\nd\n", [b"c", b"d"]),
        (b"x\nb\n", [b"x", b"b"]),
    ],
)
def test_a_last_line_without_an_end(tmp_path: Path, since: bytes, expected: list[bytes]) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"a\nb")
    payloads, position = read_on(file)
    assert payloads == [b"a", b"b"]
    file.write_bytes(since)
    assert read_on(file, position)[0] == expected


def test_positions_of_former_versions_are_read(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"a\nb")
    position = read_on(file)[1].rpartition(":")[0]
    assert Place.parse(position) == Place(1, 2, Place().after(b"a\n").crc, 1)
    file.write_bytes(b"a\nb\nc\n")
    assert read_on(file, position)[0] == [b"c"]


@pytest.mark.parametrize("place", [Place(), Place().after(b"a\n"), Place().after(b"a\n").after(b"b")])
def test_a_position_is_read_as_it_was_written(place: Place) -> None:
    assert Place.parse(str(place)) == place

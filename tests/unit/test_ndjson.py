"""Files of events: read to the end or rejected by name, identified by content, and never held whole."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from broker_events.ingest.sources.ndjson import FilePosition, NdjsonFiles
from broker_events.ingest.sources.source import Received
from broker_events.runtime.process.errors import OperatorActionRequired

LIMIT = 1000
EVENT = b'{"id":"e1","event_type":"FUNDING","payload":{"account_id":"A"}}'


class Imports:
    """Imports one after the other, whose cursors are committed as the bridge does it."""

    def __init__(self) -> None:
        self.positions: dict[str, str] = {}

    def read(self, *paths: Path, from_start: bool = False, events: int | None = None) -> list[Received]:
        """Import the files, or only their first events."""
        received: list[Received] = []
        for one in NdjsonFiles(paths, limit=LIMIT, from_start=from_start).receive(lambda: dict(self.positions)):
            if len(received) == events:
                break
            received.append(one)
            assert one.checkpoint is not None
            if one.checkpoint.stream and one.checkpoint.position:
                self.positions[one.checkpoint.stream] = one.checkpoint.position
        return received

    def payloads(self, *paths: Path, from_start: bool = False, events: int | None = None) -> list[bytes]:
        return [one.payload for one in self.read(*paths, from_start=from_start, events=events)]


@pytest.fixture
def imports() -> Imports:
    return Imports()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


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
def test_a_last_line_without_an_end(imports: Imports, tmp_path: Path, since: bytes, expected: list[bytes]) -> None:
    file = written(tmp_path / "events.ndjson", b"a\nb")
    assert imports.payloads(file) == [b"a", b"b"]
    assert imports.payloads(written(file, since)) == expected


@pytest.mark.parametrize("position", ["1:2:{crc}:1", "1:2:{crc}:1:{open}"])
def test_positions_of_former_versions_are_read(imports: Imports, tmp_path: Path, position: str) -> None:
    file = written(tmp_path / "events.ndjson", b"a\nb\nc\n")
    crcs = {name: f"{zlib.crc32(text):08x}" for name, text in (("crc", b"a\n"), ("open", b"b"))}
    imports.positions[str(file.resolve())] = position.format(**crcs)
    assert imports.payloads(file) == [b"c"]
    assert imports.payloads(file) == []
    other = written(tmp_path / "other.ndjson", b"x\nb\n")
    imports.positions[str(other.resolve())] = position.format(**crcs)
    assert imports.payloads(other) == [b"x", b"b"]


@pytest.mark.parametrize(
    "place", [FilePosition(0, 0, "ab" * 32), FilePosition(1, 2, "ab" * 32), FilePosition(1, 2, "ab" * 32, 1, "c" * 64)]
)
def test_a_position_is_read_as_it_was_written(place: FilePosition) -> None:
    assert FilePosition.parse(str(place)) == place


def test_the_same_file_twice_is_once(imports: Imports, tmp_path: Path) -> None:
    file, copy = (written(tmp_path / name, b"a\nb\nc\n") for name in ("a", "b"))
    link = tmp_path / "link"
    link.symlink_to(file)
    packed = written(tmp_path / "a.gz", gzip.compress(b"a\nb\nc\n"))
    assert imports.payloads(file, file, copy, link, packed) == [b"a", b"b", b"c"]
    assert imports.payloads(file, copy, packed) == []
    assert imports.payloads(file, file, from_start=True) == [b"a", b"b", b"c"]


def test_a_file_that_was_moved_goes_on_where_it_ended(imports: Imports, tmp_path: Path) -> None:
    log = written(tmp_path / "log", b"a\nb\n")
    assert imports.payloads(log) == [b"a", b"b"]
    log.rename(tmp_path / "log.1")
    written(log, b"c\n")
    assert imports.payloads(log) == [b"c"]
    with (tmp_path / "log.1").open("ab") as more:
        more.write(b"late\n")
    assert imports.payloads(tmp_path / "log.1", log) == [b"late"]


def test_files_that_begin_alike_are_told_apart(imports: Imports, tmp_path: Path) -> None:
    one, other = written(tmp_path / "1", b"a\nb\nc\n"), written(tmp_path / "2", b"a\nx\n")
    longer = written(tmp_path / "3", b"a\nb\nc\nd\n")
    assert imports.payloads(one, other) == [b"a", b"b", b"c", b"a", b"x"]
    assert imports.payloads(longer, other, one) == [b"d"]


def test_a_file_that_was_rewritten_is_read_from_its_beginning(imports: Imports, tmp_path: Path) -> None:
    file = written(tmp_path / "f", b"a\nb\nc\n")
    imports.payloads(file)
    assert imports.payloads(written(file, b"a\nb\n")) == [b"a", b"b"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress], ids=["plain", "gzip", "bzip2"])
def test_an_import_that_ended_early_goes_on(imports: Imports, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    file = written(tmp_path / "f", pack(b"a\n\nb\nc\n"))
    assert imports.payloads(file, events=2) == [b"a", b"b"]
    assert [(one.payload, one.line) for one in imports.read(file)] == [(b"c", 4)]


def test_byte_order_marks_line_ends_and_blank_lines_are_no_part_of_events(imports: Imports, tmp_path: Path) -> None:
    bom = b"\xef\xbb\xbf"
    file = written(tmp_path / "f", bom + EVENT + b"\r\n\n \t\r\n" + bom + EVENT + b"\n\0\n" + bom)
    found = imports.read(file)
    assert [(one.payload, one.line) for one in found] == [(EVENT, 1), (EVENT, 4), (b"\0", 5)]
    assert imports.read(file) == []


def test_a_file_name_is_bytes(imports: Imports, tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.ndjson"))
    found = imports.read(written(file, b"a\n"))
    assert found[0].file.endswith("caf\\xe9\\n.ndjson")
    found[0].file.encode()
    assert found[0].checkpoint is not None
    found[0].checkpoint.stream.encode()
    assert imports.read(file) == []


def test_what_is_no_regular_file_is_read_without_a_cursor(imports: Imports, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    content = b"".join(b"%d\n" % number for number in range(2500))
    for _ in range(2):
        writer = threading.Thread(target=fifo.write_bytes, args=(content,))
        writer.start()
        assert len(imports.payloads(fifo)) == 2500
        writer.join()
    assert imports.positions == {}


def archive(name: str) -> bytes:
    """A zip or tar archive with an event in it."""
    file = io.BytesIO()
    if name == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("events.ndjson", EVENT)
    else:
        with tarfile.open(fileobj=file, mode="w") as packed_tar:
            member = tarfile.TarInfo("events.ndjson")
            member.size = len(EVENT)
            packed_tar.addfile(member, io.BytesIO(EVENT))
    return file.getvalue()


TEXT = EVENT.decode() + "\n" + EVENT.decode() + "\n"
ONE_A_LINE = "one event per line, as a JSON object"
REFUSED = {
    "zip": (archive("zip"), "a zip archive", "unzip -p"),
    "tar": (archive("tar"), "a tar archive", "tar -xO"),
    "xz": (lzma.compress(EVENT), "xz", "xz -dc"),
    "lzma": (lzma.compress(EVENT, lzma.FORMAT_ALONE), "lzma", "xz --format=lzma -dc"),
    "zstd": (b"\x28\xb5\x2f\xfd" + os.urandom(50), "zstd", "zstd -dc"),
    "UTF-16": (TEXT.encode("utf-16"), "UTF-16 text", "iconv -f UTF-16 -t UTF-8"),
    "UTF-16LE": (TEXT.encode("utf-16le"), "UTF-16LE", "iconv -f UTF-16LE"),
    "UTF-16BE": (TEXT.encode("utf-16be"), "UTF-16BE", "iconv -f UTF-16BE"),
    "UTF-32": (TEXT.encode("utf-32"), "UTF-32 text", "iconv -f UTF-32 -t UTF-8"),
    "UTF-32LE": (TEXT.encode("utf-32le"), "UTF-32LE", "iconv -f UTF-32LE"),
    "UTF-32BE": (TEXT.encode("utf-32be"), "UTF-32BE", "iconv -f UTF-32BE"),
    "array": (b"\n [" + EVENT + b",\n" + EVENT + b"]", "a JSON array", "jq -c '.[]'"),
    "pretty": (b'{\n  "id": "e1",\n  "payload": {}\n}\n', "JSON that spans several lines", "jq -c ."),
    "pretty, in two": (b'{ "id": "e1", "payload": {}\n}\n', "JSON that spans several lines", "jq -c ."),
    "pretty, a list": (b'{"events": [\n{"id": 1}\n]}\n', "JSON that spans several lines", "jq -c ."),
    "CR": (b"\r".join([EVENT] * 3), "CR for line ends", r"sed 's/\r/\n/g'"),
    "binary": (b"\x7fELF\x15\x00\x15" + bytes(100), "binary data", ONE_A_LINE),
    "binary without zeros": (b"GRIB\x1a\n" + b"\x01\x02" * 50, "binary data", ONE_A_LINE),
    "parquet": (b"PAR1\x15\x04" + b"x" * 100, "a Parquet file", ONE_A_LINE),
    "avro": (b"Obj\x01\x04\x14avro.codec\x08null\n{", "an Avro file", ONE_A_LINE),
    "pdf": (b"%PDF-1.7\n{\n", "a PDF document", ONE_A_LINE),
    "html": (b"<!DOCTYPE html>\n<html>\n", "XML or HTML", ONE_A_LINE),
    "csv": (b"id,event_type,amount\n1,FUNDING,2\n2,FUNDING,3\n", "a table, such as CSV", ONE_A_LINE),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_what_is_not_ndjson_is_refused_by_name_before_anything_is_read(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    content, what, command = REFUSED[name]
    good, bad = written(tmp_path / "good", EVENT), written(tmp_path / "bad", pack(content))
    with pytest.raises(OperatorActionRequired) as refused:
        NdjsonFiles([good, bad], limit=LIMIT)
    line = str(refused.value)
    assert str(bad) in line
    assert what in line
    assert command in line
    assert "\n" not in line


def test_a_pipe_is_judged_by_its_first_bytes_too(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(REFUSED["zip"][0],))
    writer.start()
    with pytest.raises(OperatorActionRequired, match="a zip archive"):
        list(NdjsonFiles([fifo], limit=LIMIT).receive(dict))
    writer.join()


@pytest.mark.parametrize("first", [b"not json", b'{"id":"cut off', b'{"id":"cut",', b"\xff\xfehalf"[2:], b"{}}"])
def test_a_broken_first_line_is_kept(imports: Imports, tmp_path: Path, first: bytes) -> None:
    assert imports.payloads(written(tmp_path / "f", first + b"\n" + EVENT + b"\n")) == [first, EVENT]


@pytest.mark.parametrize("first", [b"<html>\nout of order\nx\n", b"a,b\n1,2\n3,4\n", b"\x1b[0m\n\x1e"])
def test_text_before_the_first_event_is_kept(imports: Imports, tmp_path: Path, first: bytes) -> None:
    assert imports.payloads(written(tmp_path / "f", first + EVENT + b"\n"))[-1].endswith(EVENT)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT * 2, 200_000, 3_000_000])
def test_a_line_too_long_is_hashed_and_skipped(imports: Imports, tmp_path: Path, size: int, end: bytes) -> None:
    long = b"\xef\xbb\xbf" + b"x" * size
    file = written(tmp_path / "f", EVENT + b"\n" + long + end)
    one, large = imports.read(file)
    assert (one.payload, one.whole, one.line) == (EVENT, None, 1)
    assert large.whole == (size, hashlib.sha256(b"x" * size).hexdigest())
    assert large.payload == b"x" * len(large.payload)
    assert len(large.payload) <= 65_536
    assert large.line == 2
    assert imports.read(file) == []
    with file.open("ab") as more:
        more.write(b"\n" * (not end) + EVENT)
    assert [(again.payload, again.line) for again in imports.read(file)] == [(EVENT, 3)]


def test_a_line_of_just_the_limit_is_an_event(imports: Imports, tmp_path: Path) -> None:
    found = imports.read(written(tmp_path / "f", b"x" * LIMIT + b"\n" + b"y" * LIMIT))
    assert [one.whole for one in found] == [None, None]


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    cut = written(tmp_path / "cut", gzip.compress(b'"' + os.urandom(300_000).hex().encode())[:100_000])
    for path in (cut, tmp_path / "missing", tmp_path, cut / "below a file"):
        with pytest.raises(OperatorActionRequired) as refused:
            list(NdjsonFiles([path], limit=LIMIT).receive(dict))
        assert str(refused.value).startswith(f"{path}: ")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("pack", ["plain", "gzip", "bzip2"])
def test_a_line_of_100_mb_is_read_in_little_memory(tmp_path: Path, pack: str) -> None:
    program = """
import resource, sys
from pathlib import Path
from broker_events.ingest.sources.ndjson import NdjsonFiles
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reader = NdjsonFiles([Path(sys.argv[1])], limit=8_000_000)
print([one.whole and one.whole[0] for one in reader.receive(dict)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    size, file = 100_000_000, tmp_path / "bomb"
    with {"plain": io.FileIO, "gzip": gzip.GzipFile, "bzip2": bz2.BZ2File}[pack](file, "wb") as out:
        for _ in range(size // 1_000_000):
            out.write(b"x" * 1_000_000)
        out.write(b"\n" + EVENT)
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True)
    found, grown_kib = done.stdout.splitlines()
    assert found == f"[{size}, None]"
    assert int(grown_kib) < 50_000


def test_an_oversized_line_that_begins_with_blanks_is_marked(imports: Imports, tmp_path: Path) -> None:
    line = b" " * 70_000 + b'{"x":"' + b"y" * LIMIT + b'"}'
    (marked,) = imports.read(written(tmp_path / "a", line + b"\n"))
    assert marked.whole == (len(line), hashlib.sha256(line).hexdigest())


def test_what_a_writer_adds_to_an_open_line_is_not_read_as_a_line(tmp_path: Path) -> None:
    path = written(tmp_path / "a", b"1\n2")
    lines = NdjsonFiles([path], limit=LIMIT).receive(dict)
    assert next(lines).payload == b"1"
    assert next(lines).payload == b"2"
    with path.open("ab") as writer:
        writer.write(b"3\n4\n")
    assert [*lines] == []

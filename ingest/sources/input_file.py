"""Opens one input of an import: NDJSON, plain or packed with gzip or bzip2. Rejects every other format by name.

The first bytes decide the format, not the file's name. Unpacking uses bounded memory.
"""

import bz2
import gzip
import io
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from broker_events.runtime.process.errors import OperatorActionRequired

STANDARD_INPUT: Final = Path("-")
HEAD_BYTES: Final = 64 * 1024
BOM: Final = b"\xef\xbb\xbf"
_STDIN_FD: Final = 0
_BUFFER_BYTES: Final = 1024 * 1024
_BLANK: Final = b" \t\r\n"

# First bytes of formats that another program must unpack, and its command.
_PACKED: Final = (
    (b"PK\x03\x04", "a zip archive", "unzip -p"),
    (b"PK\x05\x06", "an empty zip archive", "unzip -p"),
    (b"\xfd7zXZ\0", "packed with xz", "xz -dc"),
    (b"\x5d\0\0", "packed with lzma", "xz --format=lzma -dc"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "zstd -dc"),
    (b"\x04\x22\x4d\x18", "packed with lz4", "lz4 -dc"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x -so"),
    (b"Rar!\x1a\x07", "a rar archive", "unrar p -inul"),
    (b"\x1f\x9d", "packed with compress", "zcat"),
)
Unpack = Callable[[BinaryIO], AbstractContextManager[Any]]
_UNPACKED: Final[tuple[tuple[re.Pattern[bytes], Unpack, str], ...]] = (
    (re.compile(rb"\x1f\x8b"), lambda file: gzip.GzipFile(fileobj=file), "zcat"),
    (re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), bz2.BZ2File, "bzcat"),
)
_MAGIC_BYTES: Final = 10
# Byte order marks, or the zero bytes of ASCII characters. UTF-32 comes first: its mark begins like UTF-16's.
_ENCODINGS: Final = (
    ("UTF-32", re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff")),
    ("UTF-16", re.compile(rb"\xff\xfe|\xfe\xff")),
    ("UTF-32LE", re.compile(rb"[\t-~]\0\0\0")),
    ("UTF-32BE", re.compile(rb"\0\0\0[\t-~]")),
    ("UTF-16LE", re.compile(rb"[\t-~]\0[\t-~]\0")),
    ("UTF-16BE", re.compile(rb"\0[\t-~]\0[\t-~]")),
)
# Formats that hold no events, by the first bytes.
_OTHERS: Final = (
    (b"PAR1", "a Parquet file"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"%PDF-", "a PDF document"),
)
_MEANINGLESS: Final = bytes(range(0x21))  # control characters and blanks around an event mean nothing
_CONTROL: Final = re.compile(rb"[\0-\x08\x0e-\x1f]")
_SEPARATORS: Final = (b",", b";", b"\t")
_TAR: Final = (257, b"ustar")


def shown(path: Path) -> str:
    """Return the path as printable UTF-8 text: file names are bytes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class Input:
    """An open input. `text`: its unpacked content. `first_line`: the first that isn't blank, stripped, <= 64 KiB."""

    def __init__(self, text: BinaryIO, first_line: bytes, file: BinaryIO) -> None:
        self.text = text
        self.first_line = first_line
        self._file = file

    def done_bytes(self) -> int:
        """Return how many bytes of the file on disk are read."""
        return self._file.tell()


def is_regular(path: Path) -> bool:
    """Whether this is a file that can be rewound and resumed; pipes, terminals and `-` can't.

    Raises OperatorActionRequired for what can't be opened.
    """
    if path == STANDARD_INPUT:
        return False
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise OperatorActionRequired(f"{shown(path)}: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise OperatorActionRequired(
            f"{shown(path)}: is a directory. Name its files: {shlex.quote(shown(path))}/*.ndjson"
        )
    if stat.S_ISSOCK(mode):
        raise OperatorActionRequired(f"{shown(path)}: is a socket. Pipe its data into: broker-events ingest --file -")
    return stat.S_ISREG(mode)


@contextmanager
def open_input(path: Path) -> Iterator[Input]:
    """Open an input and unpack it.

    Raises OperatorActionRequired for what can't be NDJSON, OSError or EOFError as reading does. From a pipe it reads
    only the bytes that decide the format.
    """
    is_path = path != STANDARD_INPUT
    with ExitStack() as stack:
        file = stack.enter_context(open(path if is_path else _STDIN_FD, "rb", closefd=is_path))
        text, head = _peeked(file)
        unpack = ""
        for magic, reader, command in _UNPACKED:
            if magic.match(head):
                text, head = _peeked(stack.enter_context(reader(text)))
                unpack = command
                break
        _refuse(path, head, unpack)
        yield Input(text, _lines(head)[0], file)


def _peeked(file: BinaryIO) -> tuple[BinaryIO, bytes]:
    """Return the file from its beginning, and its first bytes: the first line, or enough to decide the format."""
    head = b""
    while len(head) < HEAD_BYTES and not _is_enough(head):
        block = file.read1(HEAD_BYTES - len(head))  # type: ignore[attr-defined]
        if not block:
            break
        head += block
    return io.BufferedReader(_Rejoined(head, file), _BUFFER_BYTES), head


def _is_enough(head: bytes) -> bool:
    if len(head) >= _MAGIC_BYTES and any(magic.match(head) for magic, *_ in _UNPACKED):
        return True
    first, rest = _lines(head)
    has_end = b"\n" in head.lstrip(_BLANK)
    return has_end and (bool(rest) or not _is_open(first))


def _lines(head: bytes) -> tuple[bytes, bytes]:
    """Return the first line that isn't blank, and the text after it, both stripped."""
    first, _, rest = head.removeprefix(BOM).lstrip(_BLANK).partition(b"\n")
    return first.rstrip(_BLANK), rest.strip(_BLANK)


def _is_open(line: bytes) -> bool:
    """Whether this may be the first line of a JSON object that spans several lines."""
    if not line.startswith(b"{"):
        return False
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return True
    return False


def _refuse(path: Path, head: bytes, unpack: str) -> None:
    """Raise OperatorActionRequired for what can't be NDJSON, with the command that converts it."""
    found = _packing(head, nested=bool(unpack)) or _writing(head)
    if found is None:
        return
    what, command = found
    name = "FILE" if path == STANDARD_INPUT else shlex.quote(shown(path))
    inside = "inside, it is " if unpack else ""
    advice = "the import reads one event per line, as a JSON object"
    if command:
        advice = f"convert it: {unpack} {name} | {command}" if unpack else f"convert it: {command} {name}"
        advice += " | broker-events ingest --file -"
    raise OperatorActionRequired(f"{shown(path)}: {inside}{what}, not NDJSON; {advice}")


def _packing(head: bytes, *, nested: bool) -> tuple[str, str] | None:
    """Return a packed format that is not read here, and the command that unpacks it."""
    for begin, what, command in _PACKED:
        if head.startswith(begin):
            return what, command
    for magic, _, command in _UNPACKED if nested else ():
        if magic.match(head):
            return "packed once more", command
    at, tar = _TAR
    return ("a tar archive", "tar -xO -f -" if nested else "tar -xO -f") if head[at:].startswith(tar) else None


def _writing(head: bytes) -> tuple[str, str] | None:
    """Return a format that is not NDJSON, and the command that converts it ("": there is none)."""
    for encoding, pattern in _ENCODINGS:
        if pattern.match(head):
            return f"{encoding} text", f"iconv -f {encoding} -t UTF-8"
    first, rest = _lines(head)
    for begin, what in _OTHERS:
        if first.startswith(begin):
            return what, ""
    if first.startswith(b"["):
        return "a JSON array (jq 1.7 or newer keeps its numbers as they are)", "jq -c '.[]'"
    goes_on = rest.startswith((b'"', b"}", b"]", b",", b":")) or (first[-1:] in b"[:" and rest.startswith(b"{"))
    if goes_on and _is_open(first):
        return "JSON that spans several lines (jq 1.7 or newer keeps its numbers as they are)", "jq -c ."
    if b"\n" not in head and b"}\r{" in head:
        return "text with CR for line ends", "sed 's/\\r/\\n/g'"
    return _no_json(first, head)


def _no_json(first: bytes, head: bytes) -> tuple[str, str] | None:
    """Return what the input is if it holds no JSON object. A few broken lines before the first event are kept."""
    lines = [line.lstrip(_MEANINGLESS) for line in head.removeprefix(BOM).splitlines() if line.strip(_BLANK)]
    has_object = [line.startswith((b"{", BOM)) for line in lines]
    if not lines or has_object[0]:
        return None
    if b"\0" in first:
        return "binary data", ""
    if any(has_object):
        return None
    if _CONTROL.search(first):
        return "binary data", ""
    if first.startswith(b"<"):
        return "markup, such as XML or HTML", ""
    columns = [[line.count(separator) for separator in _SEPARATORS] for line in lines[:2]]
    is_table = len(columns) > 1 and any(one and one == other for one, other in zip(*columns, strict=True))
    return ("a table, such as CSV", "") if is_table else None


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes have been read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._head:
            count = min(len(buffer), len(self._head))
            buffer[:count], self._head = self._head[:count], self._head[count:]
            return count
        return self._rest.readinto1(buffer)  # type: ignore[attr-defined, no-any-return]

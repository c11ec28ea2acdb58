"""Files of events as a source: NDJSON, one envelope per line, plain or packed; `-` is standard input.

A file is identified by its content, not by its path: moved, copied or named twice, it is read once. A cursor's stream
is `sha256:<of the first line>/<path>`. Its position is the number of lines and bytes read (unpacked) and their SHA-256.

An import resumes a file after the longest stored position whose content the file begins with, under any path. So it
reads the new lines of a file that has grown, and all of a file that was rewritten. A last line without a line end is
read again, whole, if it has changed. Inputs that are no regular file are read like standard input, without a cursor.
"""

import builtins
import hashlib
import logging
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Self

from broker_events.ingest.marker import HEAD_BYTES
from broker_events.ingest.sources.input_file import BOM, Input, is_regular, open_input, shown
from broker_events.ingest.sources.source import Checkpoint, Received, Resume
from broker_events.runtime.process.errors import OperatorActionRequired

log = logging.getLogger(__name__)

_BLOCK: Final = 1024 * 1024
_PROGRESS_LINES: Final = 1000
_CRC_DIGITS: Final = 8


class FilePosition(NamedTuple):
    """How far a file is read: lines, their bytes (unpacked, with line ends), and the SHA-256 of these (hexadecimal).

    `open`: bytes of a last line without an end, and `open_digest` its SHA-256; 0 and "" without such a line. Positions
    of former versions have CRC-32 digests, and may lack that of the open line.
    """

    lines: int
    bytes: int
    digest: str
    open: int = 0
    open_digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse the result of `str`; None for any other text."""
        try:
            lines, size, digest, *rest = text.split(":")
            int(digest, 16)
            return cls(int(lines), int(size), digest, int(rest[0]) if rest else 0, "".join(rest[1:]))
        except ValueError:
            return None

    @property
    def _is_former(self) -> bool:
        return len(self.digest) == _CRC_DIGITS

    def is_after(self, read: "_Read") -> bool:
        """Whether `read` has come to this position."""
        return self.bytes == read.bytes and self.digest == (f"{read.crc:08x}" if self._is_former else read.digest())

    def is_open_line(self, line: builtins.bytes, whole: tuple[int, str] | None) -> bool:
        """Whether this line, without its end, is the open line; `whole` as in `Received`."""
        if whole is not None:
            return whole == (self.open, self.open_digest)
        found = f"{zlib.crc32(line):08x}" if self._is_former else _sha256(line)
        return len(line) == self.open and self.open_digest in ("", found)

    def __str__(self) -> str:
        text = f"{self.lines}:{self.bytes}:{self.digest}"
        return f"{text}:{self.open}:{self.open_digest}" if self.open else text


class _Read:
    """How far an input is read: whole lines, their bytes and digests. Only `skip` updates `crc`."""

    def __init__(self) -> None:
        self.lines = 0
        self.bytes = 0
        self.sha = hashlib.sha256()
        self.crc = 0

    def digest(self) -> str:
        return self.sha.hexdigest()

    def skip(self, text: BinaryIO, size: int) -> None:
        """Read `size` bytes, or up to the end of the text."""
        while size and (block := text.read(min(size, _BLOCK))):
            self.sha.update(block)
            self.crc = zlib.crc32(block, self.crc)
            self.bytes += len(block)
            size -= len(block)


class _Known:
    """Positions of files, from earlier imports and this one, by the first line of the file."""

    def __init__(self, positions: Mapping[str, str]) -> None:
        self._by_line: defaultdict[str, list[tuple[FilePosition, str]]] = defaultdict(list)
        self._former: dict[str, FilePosition] = {}  # by path
        self._paths: set[str] = set()
        for stream, position in positions.items():
            if (place := FilePosition.parse(position)) is not None:
                self.add(stream, place)

    def add(self, stream: str, place: FilePosition) -> None:
        line, slash, path = stream.partition("/")
        if line:
            self._by_line[line].append((place, path))
        else:
            path = slash + path
            self._former[path] = place
        self._paths.add(path)

    def has_path(self, path: str) -> bool:
        return path in self._paths

    def longest(self, stream: str, text: BinaryIO) -> tuple[FilePosition | None, str]:
        """Return the longest position whose content the text begins with, and the path it was stored under."""
        line, _, path = stream.partition("/")
        candidates = [*self._by_line[line]]
        if path in self._former:
            candidates.append((self._former[path], path))
        found: tuple[FilePosition | None, str] = (None, "")
        read = _Read()
        for place, where in sorted(candidates, key=lambda each: (each[0].bytes, each[0].open)):
            read.skip(text, place.bytes - read.bytes)
            if place.is_after(read):
                found = place, where
        return found


class NdjsonFiles:
    """Yields each line of each file in order, without its line end; skips blank lines, but not malformed ones.

    Drops a UTF-8 byte order mark before a line. Holds only the beginning of a line above `limit` bytes. `total_bytes`
    and `done_bytes` (on disk, of regular files) and `resumed_lines` give the progress. Raises OperatorActionRequired at
    once for a regular file that can't be read or isn't NDJSON, and later, with the line, for one that fails midway.
    """

    def __init__(self, paths: Sequence[Path], *, limit: int, from_start: bool = False, name: str = "file") -> None:
        self.name = name
        self.total_bytes = 0
        self.done_bytes = 0
        self.resumed_lines = 0
        self._paths = paths
        self._limit = limit
        self._from_start = from_start
        self._stopping = threading.Event()
        for path in paths:
            if is_regular(path):
                with _naming(path, _Read()), open_input(path):
                    self.total_bytes += path.stat().st_size

    def receive(self, resume: Resume) -> Iterator[Received]:
        known = _Known({} if self._from_start else resume())
        for path in self._paths:
            read = _Read()
            with _naming(path, read):
                if is_regular(path):
                    yield from self._file(path, read, known)
                else:
                    with open_input(path) as source:
                        yield from self._lines(source, read, shown(path))

    def stop(self) -> None:
        self._stopping.set()

    def _file(self, path: Path, read: _Read, known: _Known) -> Iterator[Received]:
        name, where = shown(path), shown(path.resolve())
        with open_input(path) as source:
            stream = f"sha256:{_sha256(source.first_line)}/{where}"
            place, before = known.longest(stream, source.text)
        if place is not None:
            of = "" if before == where else f", up to which {before} was imported"
            log.info("%s: resuming after line %d%s", name, place.lines, of)
        elif known.has_path(where):
            log.info("%s: content differs from the earlier import; reading it from the beginning", name)
        with open_input(path) as source:
            if place is not None:
                read.skip(source.text, place.bytes)
                if not place.is_after(read):
                    raise OperatorActionRequired(f"{name}: changed while it was read. Run the import again")
                read.lines = place.lines
                self.resumed_lines += place.lines
            last = yield from self._lines(source, read, name, stream, place)
        if last is not None:
            known.add(stream, last)

    def _lines(
        self, source: Input, read: _Read, name: str, stream: str = "", place: FilePosition | None = None
    ) -> Generator[Received, None, FilePosition | None]:
        """Yield the next lines; return the position after them, None where the import was stopped.

        `stream`: that of the checkpoints, "" for none. `place`: where an earlier import ended.
        """
        text, limit, before, end = source.text, self._limit, self.done_bytes, place
        is_ended = True
        while is_ended and (line := text.readline(limit + 1)):  # what a writer adds to an open line belongs to it
            whole, is_ended = None, line.endswith(b"\n")
            if is_ended:
                read.sha.update(line)
                read.bytes += len(line)
            elif len(line) > limit:
                whole, is_ended = self._long(text, line, read)
                line = line[:HEAD_BYTES]
            if self._stopping.is_set():
                return None
            read.lines += is_ended
            line = line.removesuffix(b"\n")
            is_read = place is not None and place.open > 0 and place.is_open_line(line, whole)
            place = None
            if stream:
                end = FilePosition(read.lines, read.bytes, read.digest())
                if not is_ended:
                    size, digest = whole or (len(line), _sha256(line))
                    end = end._replace(open=size, open_digest=digest)
                if read.lines % _PROGRESS_LINES == 0:
                    self.done_bytes = before + source.done_bytes()
            value = line.removesuffix(b"\r").removeprefix(BOM)
            # The head of an oversized line may be blank: the line is not.
            if (whole or (value and not value.isspace())) and not is_read:
                checkpoint = Checkpoint(stream, str(end)) if stream else Checkpoint("", "")
                number = read.lines if is_ended else read.lines + 1
                yield Received(value, time.time_ns() // 1000, "", "", "", "", "", checkpoint, name, number, whole)
        if stream:
            self.done_bytes = before + source.done_bytes()
        return end

    def _long(self, text: BinaryIO, line: bytes, read: _Read) -> tuple[tuple[int, str], bool]:
        """Read the rest of a line too long to hold; return its size and SHA-256, and whether it has an end."""
        sha, content, size, last = read.sha.copy(), hashlib.sha256(), len(line), line.removeprefix(BOM)
        sha.update(line)
        length = len(last)
        while not last.endswith(b"\n") and not self._stopping.is_set() and (more := text.readline(_BLOCK)):
            sha.update(more)
            size += len(more)
            length += len(more)
            content.update(last[:-1])  # the last byte may be the CR of the line end
            last = last[-1:] + more
        is_ended = last.endswith(b"\n")
        rest = last.removesuffix(b"\n").removesuffix(b"\r")
        content.update(rest)
        if is_ended:
            read.sha, read.bytes = sha, read.bytes + size
        return (length - len(last) + len(rest), content.hexdigest()), is_ended


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


@contextmanager
def _naming(path: Path, read: _Read) -> Iterator[None]:
    """Raise OperatorActionRequired that names the file, and the line after which reading failed."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        after = f" after line {read.lines}" if read.lines else ""
        raise OperatorActionRequired(f"{shown(path)}: can't be read{after}: {reason}") from None

"""Files of events as a source: NDJSON, one envelope a line, plain or gzip; `-` is standard input.

A file is resumed after its last committed line. The position holds how many lines and bytes that were (uncompressed)
and their CRC-32: a file that begins otherwise is another file under the same name and is read from its beginning, one
that has grown goes on where it ended. A last line without a line end that is another one since is read again, whole.
Standard input can't be wound back and is always read from its beginning.
"""

import builtins
import gzip
import io
import logging
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Self

from ingest.sources.source import Checkpoint, Received, Resume
from runtime.errors import SettingsError

log = logging.getLogger(__name__)

STANDARD_INPUT: Final = Path("-")
_STDIN_FD: Final = 0
_GZIP_MAGIC: Final = b"\x1f\x8b"
_BLOCK: Final = 1024 * 1024
_PROGRESS_LINES: Final = 1000


class Place(NamedTuple):
    """How far a file is read: lines, their bytes (uncompressed, line ends included), the CRC-32 of those.

    `open`: bytes of a line without an end, read as one after those, and `open_crc` its CRC-32; 0 where there was none.
    """

    lines: int = 0
    bytes: int = 0
    crc: int = 0
    open: int = 0
    open_crc: int | None = None  # positions of former versions have none

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what `str` gives; None when it is something else."""
        try:
            lines, size, crc, *rest = text.split(":")
            length, line_crc = int(rest[0]) if rest else 0, int(rest[1], 16) if len(rest) > 1 else None
            return cls(int(lines), int(size), int(crc, 16), length, line_crc)
        except ValueError:
            return None

    def after(self, line: builtins.bytes) -> Self:
        """Where reading this line leads to."""
        if not line.endswith(b"\n"):
            return self._replace(open=len(line), open_crc=zlib.crc32(line))
        return type(self)(self.lines + 1, self.bytes + len(line), zlib.crc32(line, self.crc))

    def is_open_line(self, line: builtins.bytes) -> bool:
        """Whether this is the line, without its end, that was read without one."""
        return len(line) == self.open and self.open_crc in (None, zlib.crc32(line))

    def __str__(self) -> str:
        text = f"{self.lines}:{self.bytes}:{self.crc:08x}"
        return text if self.open_crc is None else f"{text}:{self.open}:{self.open_crc:08x}"


class NdjsonFiles:
    """Yields each line of each file in order, without its line end; blank lines are left out, broken ones are not.

    `total_bytes`, `done_bytes` (on disk, of the files that have a size), `resumed_lines` tell how far it is.
    Raises SettingsError with file and line when a file can't be read (on).
    """

    def __init__(self, paths: Sequence[Path], *, from_start: bool = False, name: str = "file") -> None:
        self.name = name
        self.total_bytes = sum(path.stat().st_size for path in paths if path.is_file())
        self.done_bytes = 0
        self.resumed_lines = 0
        self._paths = paths
        self._from_start = from_start
        self._stopping = threading.Event()

    def receive(self, resume: Resume) -> Iterator[Received]:
        positions = {} if self._from_start else resume()
        for path in self._paths:
            is_file = path != STANDARD_INPUT
            stream = str(path.resolve()) if is_file else str(path)
            place = Place()
            try:
                with path.open("rb") if is_file else open(_STDIN_FD, "rb", closefd=False) as file:
                    text = _uncompressed(file)
                    committed = Place.parse(positions.get(stream, "")) if is_file else None
                    if committed is not None:
                        if _crc_of(text, committed.bytes) == committed.crc:
                            log.info("%s: going on after line %d", path, committed.lines)
                            place = committed
                            self.resumed_lines += committed.lines
                        else:
                            log.info("%s: not the file that was read before; reading it from its beginning", path)
                            file.seek(0)
                            text = _uncompressed(file)
                    before = self.done_bytes
                    for number, line in enumerate(text, place.lines + 1):
                        if self._stopping.is_set():
                            return
                        is_read = place.is_open_line(line.removesuffix(b"\n"))
                        place = place.after(line)
                        if is_file and place.lines % _PROGRESS_LINES == 0:
                            self.done_bytes = before + file.tell()
                        value = line.removesuffix(b"\n").removesuffix(b"\r")
                        if value and not value.isspace() and not is_read:
                            checkpoint = Checkpoint(stream, str(place) if is_file else "")
                            yield Received(
                                value, time.time_ns() // 1000, checkpoint=checkpoint, file=str(path), line=number
                            )
                    if is_file:
                        self.done_bytes = before + file.tell()
            except (OSError, EOFError, zlib.error) as error:
                raise SettingsError(f"{path}: can't be read after line {place.lines}: {error}") from None

    def stop(self) -> None:
        self._stopping.set()


def _uncompressed(file: BinaryIO) -> BinaryIO | gzip.GzipFile:
    """Lines of the file; gzip is recognised by its first bytes, whatever the name is."""
    is_gzip = isinstance(file, io.BufferedReader) and file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
    return gzip.GzipFile(fileobj=file) if is_gzip else file


def _crc_of(text: BinaryIO | gzip.GzipFile, size: int) -> int | None:
    """CRC-32 of the next `size` bytes, None when there are fewer."""
    crc = 0
    while size:
        block = text.read(min(size, _BLOCK))
        if not block:
            return None
        crc = zlib.crc32(block, crc)
        size -= len(block)
    return crc

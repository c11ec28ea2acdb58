"""How the commands that look into topics print: one JSON document a line, everything exact.

What a terminal would obey is escaped where it leaves: standard output and error are `runtime.process.terminal`'s.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal


def json_line(document: object) -> str:
    """Compact JSON; decimals as plain text with every digit, times as ISO 8601 in UTC, bytes as `text_or_base64`."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=_plain)


def text_or_base64(content: bytes | None) -> object:
    """Return text if the bytes are UTF-8, otherwise {"base64": ...}; None stays None."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return in_base64(content)


def in_base64(content: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(content).decode()}


def iso_millis(millis: int) -> str:
    """Milliseconds since the epoch as YYYY-MM-DDThh:mm:ss.fffZ."""
    return _iso(datetime.fromtimestamp(millis / 1000, UTC), "milliseconds")


def printable(text: str, *, keep: str = "") -> str:
    """Text for one cell of a table: what isn't printable, but characters in `keep`, becomes an escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def aligned(rows: Iterable[Sequence[str]], justify: Callable[[str, int], str] = str.ljust) -> Iterator[str]:
    """Lines of a table whose columns are as wide as what is in them, so that nothing is cut off in a pipe."""
    cells = [*rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(justify(text, width) for text, width in zip(row, widths, strict=True)).rstrip()


def plural(noun: str, count: int) -> str:
    """`record`, or `records` where the count isn't 1."""
    return noun if count == 1 else f"{noun}s"


def write_lines(lines: Iterable[str]) -> None:
    """Write each line to standard output and flush."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """End quietly when the reader of the output (`head`) has closed the pipe."""
    try:
        yield
    except BrokenPipeError:
        drop_output()


def drop_output() -> None:
    """Let what is still to be written go nowhere: Python flushes standard output once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(value: object) -> object:
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime():
            return _iso(value, "microseconds")
        case bytes():
            return text_or_base64(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")


def _iso(time: datetime, digits: str) -> str:
    return time.isoformat(timespec=digits).replace("+00:00", "Z")

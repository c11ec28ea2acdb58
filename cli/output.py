"""How the commands that look into topics print.

What a terminal would obey is escaped where it leaves: standard output and error are `runtime.process.terminal`'s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager


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

"""Draw the pictures of the documentation as SVG: `python docs/images/pictures.py [--check]`.

A picture is boxes and arrows on a grid. With `--check` nothing is written, and the exit code is 1 if one is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
_WIDTH, _HEIGHT, _LINE = 150, 54, 15
_COLUMN, _ROW, _MARGIN = 205, 100, 20
_TIP: Final = (
    '<defs><marker id="tip" markerWidth="9" markerHeight="9" refX="8" refY="4" orient="auto">'
    '<path d="M0,0 L8,4 L0,8 z" fill="#5f6368"/></marker></defs>'
)
_FILLS: Final = {"topic": "#e8f0fe", "worker": "#e6f4ea", "outside": "#f1f3f4", "stop": "#fce8e6"}


@dataclass(frozen=True, slots=True)
class Box:
    """A box at a place of the grid; lines of its text are separated by a newline."""

    name: str
    column: float
    row: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """An arrow between two boxes, by name."""

    start: str
    end: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    title: str
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]


FLOW: Final = Picture(
    "From the push to subscribers",
    [
        Box("push", 0, 1, "outside", "brokerage push\nfiles, stdin"),
        Box("ingest", 1, 1, "worker", "bridge\ningest"),
        Box("raw", 2, 1, "topic", "raw\nbytes as received"),
        Box("router", 3, 1, "worker", "router"),
        Box("typed", 4, 1, "topic", "event.*\ntyped, Avro"),
        Box("projector", 5, 1, "worker", "projector"),
        Box("alerts", 6, 0, "topic", "alerts\nalerts.active"),
        Box("state", 6, 1, "topic", "state.accounts\nstate.movements"),
        Box("quarantine", 4, 2, "stop", "quarantine\nrejected, whole"),
        Box("deliver", 7, 0, "worker", "deliver\nto receivers"),
        Box("subscribers", 7, 1, "outside", "subscribers\nof every topic"),
    ],
    [
        Arrow("push", "ingest"),
        Arrow("ingest", "raw"),
        Arrow("raw", "router"),
        Arrow("router", "typed"),
        Arrow("router", "quarantine"),
        Arrow("typed", "projector"),
        Arrow("projector", "alerts"),
        Arrow("projector", "state"),
        Arrow("alerts", "deliver"),
        Arrow("state", "subscribers"),
    ],
)
TRANSACTION: Final = Picture(
    "One transaction of a worker",
    [
        Box("read", 0, 0, "worker", "read a batch\nread_committed"),
        Box("begin", 1, 0, "worker", "begin"),
        Box("write", 2, 0, "worker", "write outputs\nand state"),
        Box("offsets", 3, 0, "worker", "write offsets\nof the input"),
        Box("commit", 4, 0, "worker", "commit"),
        Box("visible", 5, 0, "topic", "visible to\nread_committed"),
        Box("abort", 4, 1, "stop", "any doubt: abort\nexit 70, restart"),
        Box("again", 0, 1, "stop", "read the same\nbatch again"),
    ],
    [
        Arrow("read", "begin"),
        Arrow("begin", "write"),
        Arrow("write", "offsets"),
        Arrow("offsets", "commit"),
        Arrow("commit", "visible"),
        Arrow("offsets", "abort"),
        Arrow("abort", "again", "nothing is visible"),
        Arrow("again", "read"),
    ],
)
ALERT: Final = Picture(
    "The life of an alert",
    [
        Box("event", 0, 0, "topic", "account update\nlists LIQUIDATE_ONLY"),
        Box("firing", 1, 0, "worker", "FIRING\none alert_id"),
        Box("active", 2, 0, "topic", "alerts.active\nkey: dedup_key"),
        Box("later", 0, 1, "topic", "later update\ndoes not list it"),
        Box("resolved", 1, 1, "worker", "RESOLVED\nsame dedup_key"),
        Box("tombstone", 2, 1, "stop", "tombstone\nin alerts.active"),
        Box("returned", 0, 2, "topic", "transfer\nRETURNED"),
        Box("once", 2, 2, "worker", "FIRING once\nnever resolved"),
        Box("history", 3, 1, "topic", "alerts\nhistory, 90 days"),
    ],
    [
        Arrow("event", "firing"),
        Arrow("firing", "active"),
        Arrow("later", "resolved"),
        Arrow("resolved", "tombstone"),
        Arrow("returned", "once"),
        Arrow("active", "history"),
        Arrow("tombstone", "history"),
        Arrow("once", "history"),
    ],
)
PICTURES: Final = {"flow.svg": FLOW, "transaction.svg": TRANSACTION, "alert.svg": ALERT}


def svg(picture: Picture) -> str:
    """Return the picture as an SVG document."""
    boxes = {box.name: box for box in picture.boxes}
    width = max(_MARGIN + box.column * _COLUMN + _WIDTH for box in picture.boxes) + _MARGIN
    height = max(_MARGIN + box.row * _ROW + _HEIGHT for box in picture.boxes) + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">',
        f"<title>{escape(picture.title)}</title>",
        _TIP,
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
        '<g font-family="system-ui, sans-serif" font-size="13" text-anchor="middle">',
    ]
    parts += [_arrow(boxes[arrow.start], boxes[arrow.end], arrow.text) for arrow in picture.arrows]
    parts += map(_box, picture.boxes)
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _centre(box: Box) -> tuple[float, float]:
    return _MARGIN + box.column * _COLUMN + _WIDTH / 2, _MARGIN + box.row * _ROW + _HEIGHT / 2


def _box(box: Box) -> str:
    x, y = _centre(box)
    lines = box.text.split("\n")
    first = y - (len(lines) - 1) * _LINE / 2 + 4
    text = "".join(
        f'<tspan x="{x:g}" y="{first + number * _LINE:g}">{escape(line)}</tspan>' for number, line in enumerate(lines)
    )
    return (
        f'<rect x="{x - _WIDTH / 2:g}" y="{y - _HEIGHT / 2:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
        f'fill="{_FILLS[box.kind]}" stroke="#5f6368"/><text fill="#202124">{text}</text>'
    )


def _arrow(start: Box, end: Box, text: str) -> str:
    """A line from edge to edge: along the row, otherwise from below or above."""
    (x1, y1), (x2, y2) = _centre(start), _centre(end)
    if start.row == end.row:
        x1, x2 = (x1 + _WIDTH / 2, x2 - _WIDTH / 2) if x1 < x2 else (x1 - _WIDTH / 2, x2 + _WIDTH / 2)
    elif start.column == end.column:
        y1, y2 = (y1 + _HEIGHT / 2, y2 - _HEIGHT / 2) if y1 < y2 else (y1 - _HEIGHT / 2, y2 + _HEIGHT / 2)
    else:
        x1, x2 = (x1 + _WIDTH / 2, x2 - _WIDTH / 2) if x1 < x2 else (x1 - _WIDTH / 2, x2 + _WIDTH / 2)
    label = (
        f'<text x="{(x1 + x2) / 2:g}" y="{(y1 + y2) / 2 - 6:g}" fill="#5f6368">{escape(text)}</text>' if text else ""
    )
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="#5f6368" marker-end="url(#tip)"/>{label}'


def main(arguments: list[str]) -> int:
    """Write the pictures, or compare them where the arguments say `--check`. Returns the exit code."""
    wanted = {FOLDER / name: svg(picture) for name, picture in PICTURES.items()}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if arguments == ["--check"]:
        for path in stale:
            sys.stderr.write(f"stale: {path.name}; run `make generate`\n")
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

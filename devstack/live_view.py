"""The view on a terminal: one screen, redrawn in place."""

from __future__ import annotations

import textwrap
import time
from datetime import UTC, datetime
from typing import Final

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from broker_events.devstack.counters import RETURNED
from broker_events.devstack.line_view import LineView, line
from broker_events.devstack.run_snapshot import Health, PartView, RunSnapshot
from broker_events.runtime.process.console import EscapingConsole

REDRAW_S: Final = 0.25
HEADER_ROWS: Final = 5
MORE_EVENT_ROWS: Final = 4  # the sum, the heading and the frame
SMALLEST_WIDTH: Final = 92
SMALLEST_REST: Final = 6  # rows for quarantine and speed
EVENTS_WIDTH: Final = 54
ALERT_TIME_WIDTH: Final = 56  # a narrower list of alerts has no time of day

_DIM: Final = "bright_black"
_STATUS: Final = {"FIRING": "bold red", "RESOLVED": "green", RETURNED: "yellow"}


class LiveView(LineView):
    """Prints steps until the first counts, then shows the screen; `close` restores the terminal."""

    def __init__(self, started: float, console: Console | None = None) -> None:
        super().__init__(started)
        self._console = console or EscapingConsole()
        self._live: Live | None = None

    def show(self, snapshot: RunSnapshot) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + REDRAW_S
        if self._live is None:
            self._live = Live(console=self._console, screen=True, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        self._live.update(screen(snapshot, *self._console.size), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


def screen(snapshot: RunSnapshot, width: int, height: int) -> RenderableType:
    """Return the whole screen for a terminal of this size (columns, rows)."""
    event_rows = len(snapshot.topics) + MORE_EVENT_ROWS
    if width < SMALLEST_WIDTH or height - HEADER_ROWS - event_rows < SMALLEST_REST:
        counts = [Text(text) for text in textwrap.wrap(line(snapshot), width)]
        rows = height - HEADER_ROWS - len(counts)
        return Group(*_header(snapshot)[:-1], *counts, _alerts(snapshot, rows, with_time=False))
    layout, middle, bottom = Layout(), Layout(size=event_rows), Layout()
    with_time = width - EVENTS_WIDTH - 4 >= ALERT_TIME_WIDTH
    middle.split_row(
        Layout(_panel("events", _events(snapshot)), size=EVENTS_WIDTH),
        Layout(_panel("alerts", _alerts(snapshot, event_rows - 2, with_time=with_time))),
    )
    reasons = sorted(snapshot.numbers.quarantined.items(), key=lambda item: (-item[1], item[0]))
    bottom.split_row(
        Layout(_panel("quarantine", Columns([f"{reason} {count:,}" for reason, count in reasons])), size=EVENTS_WIDTH),
        Layout(_panel("counts", _counts(snapshot))),
    )
    layout.split_column(Layout(Group(*_header(snapshot)), size=HEADER_ROWS), middle, bottom)
    return layout


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", border_style=_DIM, box=box.ROUNDED)


def _header(snapshot: RunSnapshot) -> list[Text]:
    """The state of the run and of its processes; then, from the first column, what can be pasted into a shell."""
    minutes, seconds = divmod(int(snapshot.elapsed_s), 60)
    lines = [
        Text.assemble(
            (" broker-events ", "bold reverse"),
            f"  {minutes:02d}:{seconds:02d}  Ctrl-C ends it  ",
            (snapshot.phase, "green" if snapshot.phase == "running" else "yellow"),
        ),
        Text("   ").join(map(_part, snapshot.parts)),
        *(Text(text, style=_DIM) for text in (*snapshot.exports, f"logs {snapshot.folder}")),
    ]
    for each in lines:
        each.no_wrap, each.overflow = True, "ellipsis"
    return lines


def _part(part: PartView) -> Text:
    doing = "" if part.health is Health.GOOD else f" {part.doing}"
    text = Text.assemble((" ● ", part.health), part.name, (doing, part.health))
    return text.append(f" ({part.restarts} restarted)", style="yellow") if part.restarts else text


def _events(snapshot: RunSnapshot) -> Table:
    numbers, simulated = snapshot.numbers, snapshot.numbers.simulated
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style=_DIM)
    table.add_column("typed topic", no_wrap=True)
    for name in ("pushed", "typed", "per s"):
        table.add_column(name, justify="right", no_wrap=True)
    for biz_type, topic in snapshot.topics.items():
        pushed = "" if simulated is None else f"{simulated.typed.get(biz_type, 0):,}"
        typed, rate = numbers.typed.get(biz_type, 0), snapshot.per_s.get(biz_type, 0.0)
        style = "" if typed else _DIM
        table.add_row(topic.removeprefix("event."), pushed, f"{typed:,}", f"{rate:,.1f}", style=style)
    pushed = "" if simulated is None else f"{simulated.events:,}"
    rate = sum(snapshot.per_s.get(biz_type, 0.0) for biz_type in snapshot.topics)
    table.add_row("all", pushed, f"{numbers.all_typed:,}", f"{rate:,.1f}", style="bold")
    return table


def _alerts(snapshot: RunSnapshot, rows: int, *, with_time: bool) -> RenderableType:
    table = Table.grid(expand=True, padding=(0, 1, 0, 0))
    if with_time:
        table.add_column(no_wrap=True, style=_DIM)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style=_DIM)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True, justify="right", style=_DIM)
    for alert in snapshot.numbers.recent[: max(rows, 0)]:
        at = datetime.fromtimestamp(alert.at, UTC).astimezone().strftime("%H:%M:%S")
        latency = f"{alert.latency_ms} ms" if snapshot.shows_latency else ""
        cells = (Text(alert.status, style=_STATUS.get(alert.status, "")), f"…{alert.account}", alert.what, latency)
        table.add_row(*((at, *cells) if with_time else cells))
    return table


def _counts(snapshot: RunSnapshot) -> Table:
    numbers = snapshot.numbers
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style=_DIM)
    table.add_column(no_wrap=True)
    table.add_row(
        "raw", f"{numbers.raw:,} ({snapshot.per_s.get('raw', 0):,.0f} per s), duplicates {numbers.duplicates:,}"
    )
    table.add_row("alerts", f"{sum(numbers.alerts.values()):,}, active {sum(numbers.active.values()):,}")
    if snapshot.shows_latency and numbers.latency_ms is not None:
        table.add_row("push to alert", "p50 {:,} ms  p99 {:,} ms  max {:,} ms".format(*numbers.latency_ms))
    behind = ", ".join(f"{name} {count:,}" for name, count in snapshot.behind.items())
    table.add_row("events behind", behind)
    table.add_row("projector lag", f"{snapshot.projector_lag_s:.1f} s")
    return table

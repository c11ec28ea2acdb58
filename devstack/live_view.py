"""The view on a terminal: one calm screen, redrawn in place."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from broker_events.devstack.counters import OTHER, RETURNED
from broker_events.devstack.line_view import Say
from broker_events.devstack.run_snapshot import PartView, RunSnapshot, WorkerHealth
from broker_events.runtime.process.console import EscapingConsole

REDRAW_S: Final = 0.25
HEADER_ROWS: Final = 5
MORE_EVENT_ROWS: Final = 5  # than there are types: other, all, heading, frame
SMALLEST_WIDTH: Final = 92
SMALLEST_REST: Final = 6  # rows for quarantine and speed
EVENTS_WIDTH: Final = 62
ALERT_TIME_WIDTH: Final = 56  # of the alerts pane; narrower ones leave the time of day out
SLOW_MS: Final = 500

_HEALTH: Final = {WorkerHealth.WELL: "green", WorkerHealth.BUSY: "yellow", WorkerHealth.BAD: "bold red"}
_STATUS: Final = {"FIRING": "bold red", "RESOLVED": "green", RETURNED: "yellow"}


class LiveView(Say):
    """Steps of the start as lines, then the screen; closed, the terminal is as it was before."""

    def __init__(self, started: float, console: Console | None = None) -> None:
        super().__init__(started)
        self._console = console or EscapingConsole()
        self._live: Live | None = None
        self._due = 0.0

    def show(self, picture: RunSnapshot) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + REDRAW_S
        if self._live is None:
            self._live = Live(console=self._console, screen=True, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        self._live.update(screen(picture, *self._console.size), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


def screen(picture: RunSnapshot, width: int, height: int) -> RenderableType:
    """Return the whole screen for a terminal of this size (columns, rows)."""
    event_rows = len(picture.topics) + MORE_EVENT_ROWS
    rest = height - HEADER_ROWS - event_rows
    if width < SMALLEST_WIDTH or rest < SMALLEST_REST:
        return _small(picture, height)
    layout, middle, bottom = Layout(), Layout(size=event_rows), Layout()
    alerts_width, alert_rows = width - EVENTS_WIDTH - 4, event_rows - 2
    middle.split_row(
        Layout(_panel("events", _events(picture)), size=EVENTS_WIDTH),
        Layout(_panel(_alerts_title(picture), _alerts(picture, alert_rows, alerts_width))),
    )
    bottom.split_row(
        Layout(_panel("quarantine", _quarantine(picture, rest - 2)), size=EVENTS_WIDTH),
        Layout(_panel("how fast", _speed(picture))),
    )
    layout.split_column(Layout(_header(picture), size=HEADER_ROWS), middle, bottom)
    return layout


def _panel(title: str | Text, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="bright_black", box=box.ROUNDED)


def _header(picture: RunSnapshot) -> RenderableType:
    minutes, seconds = divmod(int(picture.elapsed_s), 60)
    first = Table.grid(expand=True, padding=(0, 1, 0, 0))
    first.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    first.add_column(justify="right", no_wrap=True, style="bright_black")
    first.add_row(
        Text.assemble(
            (" broker-events ", "bold reverse"),
            f"  {minutes:02d}:{seconds:02d}  ",
            (f"{picture.raw_per_s:,.0f} events/s", "bold cyan"),
            (f"  {picture.phase}", "green" if picture.phase == "running" else "yellow"),
        ),
        "Ctrl-C ends it and sums up",
    )
    return Group(first, _parts(picture), *_places(picture))


def _places(picture: RunSnapshot) -> list[Text]:
    """Where it can be looked into; from the first column, as it is pasted into a shell."""
    places = (*picture.exports, f"logs {picture.folder}")
    return [Text(place, style="bright_black", no_wrap=True, overflow="ignore") for place in places]


def _parts(picture: RunSnapshot) -> Text:
    return Text("   ", no_wrap=True, overflow="ellipsis").join(_part(part) for part in picture.parts)


def _part(part: PartView) -> Text:
    doing = "" if part.health is WorkerHealth.WELL else f" {part.doing}"
    text = Text.assemble((" ● ", _HEALTH[part.health]), part.name, (doing, _HEALTH[part.health]))
    if part.restarts:
        text.append(f" ({part.restarts} restarts)" if part.restarts > 1 else " (1 restart)", style="yellow")
    return text


def _events(picture: RunSnapshot) -> Table:
    seen, simulated = picture.seen, picture.numbers.simulated
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="bright_black")
    table.add_column("typed topic", no_wrap=True)
    for name in ("pushed", "raw", "typed", "per s"):
        table.add_column(name, justify="right", no_wrap=True)
    for biz_type, topic in picture.topics.items():
        pushed = "" if simulated is None else f"{simulated.typed.get(biz_type, 0):,}"
        typed = seen.typed.get(biz_type, 0)
        rate = picture.typed_per_s.get(biz_type, 0.0)
        table.add_row(
            topic.removeprefix("event."),
            pushed,
            f"{seen.raw_by_type.get(biz_type, 0):,}",
            Text(f"{typed:,}", style="" if typed else "bright_black"),
            Text(f"{rate:,.1f}" if rate < 10 else f"{rate:,.0f}", style="cyan" if rate else "bright_black"),  # noqa: PLR2004
        )
    table.add_row(Text(OTHER, style="bright_black"), "", f"{seen.raw_by_type.get(OTHER, 0):,}", "", "")
    pushed = "" if simulated is None else f"{simulated.events:,}"
    rate = sum(picture.typed_per_s.values())
    table.add_row("all", pushed, f"{seen.raw:,}", f"{sum(seen.typed.values()):,}", f"{rate:,.0f}", style="bold")
    return table


def _alerts_title(picture: RunSnapshot) -> Text:
    count, active = sum(picture.seen.alerts.values()), sum(picture.seen.active.values())
    return Text.assemble("alerts ", (f"{count:,}", "bold"), " · active ", (f"{active:,}", "bold red" if active else ""))


def _alerts(picture: RunSnapshot, rows: int, width: int) -> RenderableType:
    table = Table.grid(expand=True, padding=(0, 1, 0, 0))
    with_time = width >= ALERT_TIME_WIDTH
    if with_time:
        table.add_column(no_wrap=True, style="bright_black")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bright_black")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True, justify="right", style="bright_black")
    for alert in picture.seen.recent[:rows]:
        at = datetime.fromtimestamp(alert.at, UTC).astimezone().strftime("%H:%M:%S")
        latency = f"{alert.latency_ms} ms" if picture.shows_latency else ""
        cells = (Text(alert.status, style=_STATUS.get(alert.status, "")), f"…{alert.account}", alert.what, latency)
        table.add_row(*((at, *cells) if with_time else cells))
    return table if picture.seen.recent else Text("none so far", style="bright_black")


def _quarantine(picture: RunSnapshot, rows: int) -> RenderableType:
    reasons = sorted(picture.seen.quarantined.items(), key=lambda item: (-item[1], item[0]))
    if not reasons:
        return Text("nothing", style="bright_black")
    rows = max(rows, 1)
    table = Table.grid(expand=True, padding=(0, 2, 0, 0))
    columns = -(-len(reasons) // rows)
    for _ in range(columns):
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
    for row in range(min(rows, len(reasons))):
        cells = [cell for reason, count in reasons[row::rows] for cell in (reason, f"{count:,}")]
        table.add_row(*cells)
    return table


def _speed(picture: RunSnapshot) -> Table:
    seen = picture.seen
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bright_black")
    table.add_column(no_wrap=True)
    if picture.shows_latency:
        for label, part in zip(("push to alert", "", ""), _latency(picture), strict=False):
            table.add_row(label, part)
    for name, count in picture.behind.items():
        table.add_row(f"{name} behind", f"{count:,} events")
    table.add_row("projector lag", f"{picture.projector_lag_s:.1f} s")
    table.add_row("duplicates", f"{seen.duplicates:,}")
    return table


def _latency(picture: RunSnapshot) -> tuple[Text, ...]:
    """Percentiles over the whole run."""
    seen = picture.seen
    if seen.p50_ms is None or seen.p99_ms is None:
        return (Text("no alert so far", style="bright_black"),)
    style = "green" if seen.p99_ms < SLOW_MS else "yellow"
    return (
        Text(f"p50 {seen.p50_ms:,} ms"),
        Text(f"p99 {seen.p99_ms:,} ms", style=style),
        Text(f"max {seen.max_ms:,} ms"),
    )


def _small(picture: RunSnapshot, height: int) -> RenderableType:
    """Only totals and the newest alerts: for a terminal too small for the tables."""
    seen = picture.seen
    minutes, seconds = divmod(int(picture.elapsed_s), 60)
    lines = [
        Text.assemble(("broker-events", "bold"), f"  {minutes:02d}:{seconds:02d}  Ctrl-C ends it  {picture.phase}"),
        *_places(picture)[:-1],
        _parts(picture),
        Text(f"raw {seen.raw:,} ({picture.raw_per_s:,.0f}/s)  typed {sum(seen.typed.values()):,}"),
        Text(f"quarantined {sum(seen.quarantined.values()):,}  duplicates {seen.duplicates:,}"),
        *([Text("push to alert ") + Text("  ").join(_latency(picture))] if picture.shows_latency else []),
        _alerts_title(picture),
    ]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines, _alerts(picture, max(height - len(lines), 0), 0))

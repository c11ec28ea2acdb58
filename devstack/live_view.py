"""The view on a terminal: one screen, redrawn in place.

The flow push -> raw -> typed -> alerts is at the top. From `WIDE` columns on, events, quarantine and speed are on the
left and alerts on the right; a narrower screen shows events, quarantine and alerts one below the other.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from broker_events.devstack.counters import RETURNED
from broker_events.devstack.line_view import LineView
from broker_events.devstack.run_snapshot import Health, PartView, RunSnapshot
from broker_events.runtime.process.console import EscapingConsole

REDRAW_S: Final = 0.25
WIDE: Final = 100
LEAST_ALERTS: Final = 5

_EVENTS_WIDTH: Final = 48
_TIMES: Final = 112  # alerts have their time of day
_PAIR_WIDTH: Final = 78  # two event types fit in a line
_FLOW_ROWS: Final = 3
_FLOW_LABELS: Final = 72  # the arrows have the workers' names
_FRAME: Final = 2
_MAX_CURVE: Final = 6
_BAR_WIDTH: Final = 20
_LABEL: Final = 13
_BARS: Final = " ▁▂▃▄▅▆▇█"
# Dim and these colors can be read on light and on dark terminals.
_DIM: Final = "dim"
_SIGNS: Final = {"FIRING": ("▲", "red"), "RESOLVED": ("▼", "green"), RETURNED: ("↩", "magenta")}


class LiveView(LineView):
    """Prints steps until the first counts, then shows the screen; `close` restores the terminal."""

    def __init__(self, started: float) -> None:
        super().__init__(started)
        self._console = EscapingConsole()
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
    header, flow = _header(snapshot, width), _flow(snapshot, width)
    left = height - len(header) - _FLOW_ROWS
    events_rows = len(snapshot.topics) + 3 + _FRAME
    if width < WIDE or left < events_rows + 3:
        return Group(*header, flow, *_stacked(snapshot, width, left))
    layout, body, column, below = Layout(), Layout(), Layout(size=_EVENTS_WIDTH), Layout()
    _fill(below, snapshot, left - events_rows)
    column.split_column(Layout(_panel("events", _events(snapshot)), size=events_rows), below)
    alerts = _alerts(snapshot, left - _FRAME, times=width >= _TIMES)
    body.split_row(column, Layout(_panel(_alerts_title(snapshot), alerts)))
    layout.split_column(Layout(Group(*header, flow), size=len(header) + _FLOW_ROWS), body)
    return layout


def _fill(layout: Layout, snapshot: RunSnapshot, rows: int) -> None:
    """Show quarantine and speed: in panels with bars and curves, or as lines where only a few rows are left."""
    inside = _EVENTS_WIDTH - _FRAME
    spare = rows - len(snapshot.numbers.quarantined) - 1 - 2 * _FRAME - 1
    if spare >= 2:  # noqa: PLR2004 (two curves)
        height = min(spare // 2, _MAX_CURVE)
        layout.split_column(
            Layout(_panel("quarantine", _quarantine(snapshot))),
            Layout(_panel("speed", _speed(snapshot, inside, height)), size=2 * height + 1 + _FRAME),
        )
    else:
        quarantine = _wrapped(f"quarantine {_reasons(snapshot)}", _EVENTS_WIDTH, max(rows - 3, 1))
        layout.update(Group(*quarantine, _speed(snapshot, inside, 1)))


def _stacked(snapshot: RunSnapshot, width: int, rows: int) -> list[RenderableType]:
    quarantine = _wrapped(f"quarantine {_reasons(snapshot)}", width, 2)
    events = _short_events(snapshot, width, rows - len(quarantine) - 1 - LEAST_ALERTS)
    left = rows - events.row_count - len(quarantine) - 1
    return [events, *quarantine, Text(f" {_alerts_title(snapshot)}", "bold"), _alerts(snapshot, left, times=False)]


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", border_style=_DIM, box=box.ROUNDED, padding=0)


def _header(snapshot: RunSnapshot, width: int) -> list[Text]:
    """The state of the run and of its processes; then, from the first column, what can be pasted into a shell."""
    minutes, seconds = divmod(int(snapshot.elapsed_s), 60)
    style = "green" if snapshot.phase == "running" else "bold"
    lines = [
        Text.assemble(
            (" broker-events ", "bold reverse"),
            f"  {minutes:02d}:{seconds:02d}  Ctrl-C ends it  ",
            (snapshot.phase, style),
        ),
        Text("  ").join(map(_part, snapshot.parts)),
    ]
    for each in lines:
        each.no_wrap, each.overflow = True, "ellipsis"
    return [
        *lines,
        *(Text(text, style=_DIM) for export in snapshot.exports for text in _broken(export, width)),
        Text(f"logs {snapshot.folder}", style=_DIM, no_wrap=True, overflow="ellipsis"),
    ]


def _broken(text: str, width: int) -> Iterable[str]:
    """Break a line where a terminal would, so that it can be copied whole."""
    return (text[first : first + width] for first in range(0, len(text), width))


def _part(part: PartView) -> Text:
    doing = "" if part.health is Health.GOOD else f" {part.doing}"
    text = Text.assemble((" ● ", part.health), part.name, (doing, part.health))
    return text.append(f" ({part.restarts} restarted)", style="bold") if part.restarts else text


def _flow(snapshot: RunSnapshot, width: int) -> Table:
    """Return what each stage has seen and sees per second, and how far the worker between two stages is behind."""
    n, per_s = snapshot.numbers, snapshot.per_s
    pushed = n.received if n.simulated is None else n.simulated.events
    typed_per_s = sum(per_s.get(biz_type, 0.0) for biz_type in snapshot.topics)
    stages = [
        ("pushed", pushed, per_s.get("pushed", 0.0)),
        ("raw", n.raw, per_s.get("raw", 0.0)),
        ("typed", n.all_typed, typed_per_s),
        ("alerts", sum(n.alerts.values()), per_s.get("alerts", 0.0)),
    ]
    behind = [f"{snapshot.behind[name]:,} behind" if name in snapshot.behind else "" for name in ("bridge", "router")]
    arrows = [
        *zip(("bridge", "router"), behind, strict=True),
        ("projector", f"{snapshot.projector_lag_s:.1f} s behind"),
    ]
    table = Table.grid(expand=True, padding=(0, 1, 0, 0))
    counts: list[RenderableType] = []
    names, rates = list[Text](), list[Text]()
    for index, (name, count, rate) in enumerate(stages):
        start = "▶" if index else " "
        table.add_column(no_wrap=True)
        names.append(Text(f"  {name}", style="bold"))
        counts.append(Text.assemble((start, "cyan"), (f" {count:,}", "bold")))
        rates.append(Text(f"  {rate:,.0f}/s", style=_DIM))
        if index < len(arrows):
            worker, late = arrows[index]
            table.add_column(no_wrap=True, justify="center", ratio=1)
            names.append(Text())
            counts.append(Rule(worker if width >= _FLOW_LABELS else "", style="cyan"))
            rates.append(Text(late if width >= _FLOW_LABELS else "", style=_DIM))
    for row in (names, counts, rates):
        table.add_row(*row)
    return table


def _events(snapshot: RunSnapshot) -> Table:
    """One row per event type, one for the events that no contract can type, and their sums."""
    n, simulated = snapshot.numbers, snapshot.numbers.simulated
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style=_DIM)
    table.add_column("event type", no_wrap=True)
    for name in ("pushed", "typed", "/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for biz_type, topic in snapshot.topics.items():
        pushed = "" if simulated is None else f"{simulated.typed.get(biz_type, 0):,}"
        typed, rate = n.typed.get(biz_type, 0), snapshot.per_s.get(biz_type, 0.0)
        table.add_row(_name(topic), pushed, f"{typed:,}", f"{rate:,.0f}", style="" if typed else _DIM)
    rejected = "" if simulated is None else f"{simulated.events - sum(simulated.typed.values()):,}"
    table.add_row("malformed, go to quarantine", rejected, "", "", style=_DIM)
    pushed = "" if simulated is None else f"{simulated.events:,}"
    rate = sum(snapshot.per_s.get(biz_type, 0.0) for biz_type in snapshot.topics)
    table.add_row("all", pushed, f"{n.all_typed:,}", f"{rate:,.0f}", style="bold")
    return table


def _short_events(snapshot: RunSnapshot, width: int, rows: int) -> Table:
    """Count and rate of each type, two in a line if they fit; the types with most events if not all fit."""
    pairs = 2 if width >= _PAIR_WIDTH else 1
    typed = snapshot.numbers.typed
    shown = sorted(snapshot.topics, key=lambda biz_type: -typed.get(biz_type, 0))[: max(rows, 1) * pairs]
    table = Table.grid(expand=True, padding=(0, 1, 0, 0))
    cells: list[Text] = []
    for _ in range(pairs):
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, justify="right", style=_DIM, min_width=6)
    for biz_type in [each for each in snapshot.topics if each in shown]:
        count = typed.get(biz_type, 0)
        style = "" if count else _DIM
        rate = f"{snapshot.per_s.get(biz_type, 0.0):,.1f}/s"
        cells += (
            Text(f" {_name(snapshot.topics[biz_type])}", style=style),
            Text(f"{count:,}", style=style),
            Text(rate),
        )
    per_row = 3 * pairs
    for first in range(0, len(cells), per_row):
        table.add_row(*cells[first : first + per_row])
    return table


def _name(topic: str) -> str:
    return topic.removeprefix("event.")


def _sorted_reasons(snapshot: RunSnapshot) -> list[tuple[str, int]]:
    return sorted(snapshot.numbers.quarantined.items(), key=lambda item: (-item[1], item[0]))


def _reasons(snapshot: RunSnapshot) -> str:
    each = ", ".join(f"{reason} {count:,}" for reason, count in _sorted_reasons(snapshot))
    n = snapshot.numbers
    return f"{n.all_quarantined:,}{f' ({each})' if each else ''}; duplicates dropped {n.duplicates:,}"


def _wrapped(text: str, width: int, most: int) -> list[Text]:
    lines = textwrap.wrap(text, width - 1, max_lines=most, placeholder=" …", break_long_words=False)
    return [Text(f" {each}", style=_DIM) for each in lines]


def _quarantine(snapshot: RunSnapshot) -> Table:
    """One bar per reason, and what the router dropped."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, style="cyan")
    reasons = _sorted_reasons(snapshot)
    most = max((count for _, count in reasons), default=1)
    for reason, count in reasons:
        table.add_row(reason, f"{count:,}", "█" * max(round(_BAR_WIDTH * count / most), 1))
    table.add_row(Text("duplicates, dropped", style=_DIM), f"{snapshot.numbers.duplicates:,}", "")
    return table


def _speed(snapshot: RunSnapshot, width: int, height: int) -> Table:
    """Latency in numbers, and curves of rate and latency over the last seconds, each of `height` rows."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, style=_DIM, min_width=_LABEL)
    table.add_column(no_wrap=True)
    histories: list[tuple[str, Sequence[float], str]] = [("events/s", snapshot.rate_history, "cyan")]
    if snapshot.shows_latency:
        histories.append(("ms", snapshot.latency_history, "magenta"))
        if snapshot.numbers.latency_ms is not None:
            latency = "p50 {:,}, p99 {:,}, max {:,} ms".format(*snapshot.numbers.latency_ms)
            table.add_row("push to alert", latency)
    for unit, values, style in histories:
        if newest := values[-(width - _LABEL - 1) :]:
            curve = Text(_curve(newest, height), style=style)
            table.add_row(f"{max(newest):,.0f} {unit}", curve)
    return table


def _curve(values: Sequence[float], height: int) -> str:
    """Draw the values as columns of up to `height` rows; the highest value fills them."""
    top = max(*values, 1e-9)
    steps = len(_BARS) - 1
    filled = [round(value / top * height * steps) for value in values]
    rows = (
        "".join(_BARS[min(max(each - steps * row, 0), steps)] for each in filled) for row in range(height - 1, -1, -1)
    )
    return "\n".join(rows)


def _alerts_title(snapshot: RunSnapshot) -> str:
    delivered = "" if snapshot.numbers.delivered is None else f", {snapshot.numbers.delivered:,} delivered"
    return f"alerts, {sum(snapshot.numbers.active.values()):,} active{delivered}"


def _alerts(snapshot: RunSnapshot, rows: int, *, times: bool) -> Table:
    table = Table.grid(expand=True, padding=(0, 1, 0, 0))
    if times:
        table.add_column(no_wrap=True, style=_DIM)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True, justify="right", style=_DIM)
    for alert in snapshot.numbers.recent[: max(rows, 0)]:
        at = datetime.fromtimestamp(alert.at, UTC).astimezone().strftime("%H:%M:%S")
        latency = f"{alert.latency_ms:,} ms" if snapshot.shows_latency else ""
        sign, style = _SIGNS[alert.status]
        cells = (Text(f" {sign}", style=style), Text(alert.text, style=style), latency)
        table.add_row(*((at, *cells) if times else cells))
    return table

"""The live view on terminals of several sizes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from broker_events.devstack.balance import AlertSeen, Numbers, Simulated
from broker_events.devstack.live_view import _curve, screen
from broker_events.devstack.run_snapshot import Health, PartView, RunSnapshot

EXPORTS = (
    "export PIPELINE_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:12345",
    "export PIPELINE_SCHEMA_REGISTRY_URL=http://127.0.0.1:12346",
)
MALFORMED = 9
PHASE = "waiting for the balance (received + replayed = raw; alerts as simulated)"


def shown(width: int, height: int, types: int = 12, phase: str = "running") -> list[str]:
    alerts = tuple(AlertSeen(0.0, "FIRING", f"alert {number}", 12) for number in range(50))
    typed = {f"TYPE_{number}": number for number in range(types)}
    simulated = Simulated(sum(typed.values()) + MALFORMED, typed, {}, {})
    snapshot = RunSnapshot(
        elapsed_s=83.0,
        phase=phase,
        folder=Path("/tmp/broker-events"),  # noqa: S108  nothing is written
        exports=EXPORTS,
        parts=tuple(
            PartView(name, "running", Health.GOOD, 0) for name in ("simulator", "bridge", "router", "projector")
        ),
        numbers=Numbers(recent=alerts, quarantined={"bad_amount": 7, "not_json": 2}, simulated=simulated, typed=typed),
        topics={f"TYPE_{number}": f"event.type-{number}" for number in range(types)},
        per_s={"raw": 200.0},
        behind={"router": 0},
        projector_lag_s=0.0,
        shows_latency=True,
        rate_history=[float(second) for second in range(100)],
        latency_history=[5.0] * 100,
    )
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(screen(snapshot, width, height), end="")
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("phase", ["running", PHASE])
@pytest.mark.parametrize("size", [(60, 24), (80, 24), (100, 24), (100, 30), (120, 36), (160, 50), (200, 60)])
def test_the_lines_for_another_terminal_are_whole_and_can_be_pasted(size: tuple[int, int], phase: str) -> None:
    lines = shown(*size, phase=phase)
    assert len(lines) <= size[1]
    assert max(map(len, lines)) <= size[0]
    assert [line for line in lines if "export" in line] == list(EXPORTS)
    assert "Ctrl-C ends it" in lines[0]
    assert any("alert 4" in line for line in lines)


@pytest.mark.parametrize("types", [12, 13, 20])
def test_every_type_and_their_sum_have_a_row(types: int) -> None:
    text = "\n".join(shown(120, 40, types))
    assert all(f"type-{number} " in text for number in range(types))
    assert "│all " in text


def test_columns_of_events_add_up() -> None:
    text = "\n".join(shown(120, 40))
    pushed = [int(count) for count in re.findall(r"│type-\d+ +(\d+) ", text)]
    (malformed,) = re.findall(r"│malformed, go to quarantine +(\d+)", text)
    (total,) = re.findall(r"│all +(\d+) ", text)
    assert len(pushed) == 12
    assert sum(pushed) + int(malformed) == int(total)


def test_every_size_shows_types_reasons_and_the_flow() -> None:
    for width, height in ((80, 24), (100, 30), (160, 50)):
        text = "\n".join(shown(width, height))
        assert all(f"type-{number} " in text for number in range(12)), (width, height)
        assert "bad_amount 7" in " ".join(text.split()), (width, height)
        assert all(stage in text for stage in ("pushed", "raw", "typed", "alerts", "bridge", "router", "projector"))


def test_a_low_terminal_keeps_the_busiest_types_and_five_alerts() -> None:
    text = "\n".join(shown(60, 24, types=30))
    assert sum(f"alert {number} " in text for number in range(30)) >= 5
    assert 0 < text.count("type-") < 30


def test_a_curve_fills_its_rows_with_the_highest_value() -> None:
    assert _curve([0, 1, 2, 4], 2) == "   █\n ▄██"
    assert _curve([0, 0], 1) == "  "

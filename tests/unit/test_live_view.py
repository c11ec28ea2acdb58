"""The live view on terminals of several sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from broker_events.devstack.balance import AlertSeen, Numbers
from broker_events.devstack.live_view import screen
from broker_events.devstack.run_snapshot import Health, PartView, RunSnapshot

EXPORTS = (
    "export PIPELINE_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:12345",
    "export PIPELINE_SCHEMA_REGISTRY_URL=http://127.0.0.1:12346",
)
PHASE = "waiting for the balance (received + replayed = raw; alerts as simulated)"


def shown(width: int, height: int, types: int = 12, phase: str = "running") -> list[str]:
    alerts = tuple(AlertSeen(0.0, "FIRING", "7890", f"alert {number}", 12) for number in range(50))
    snapshot = RunSnapshot(
        elapsed_s=83.0,
        phase=phase,
        folder=Path("/tmp/broker-events"),  # noqa: S108  nothing is written
        exports=EXPORTS,
        parts=tuple(
            PartView(name, "running", Health.GOOD, 0) for name in ("simulator", "bridge", "router", "projector")
        ),
        numbers=Numbers(recent=alerts),
        topics={f"TYPE_{number}": f"event.type-{number}" for number in range(types)},
        per_s={"raw": 200.0},
        behind={"router": 0},
        projector_lag_s=0.0,
        shows_latency=True,
    )
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(screen(snapshot, width, height), end="")
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("phase", ["running", PHASE])
@pytest.mark.parametrize("size", [(80, 24), (100, 24), (100, 30), (120, 36), (200, 60)])
def test_the_lines_for_another_terminal_are_whole_and_can_be_pasted(size: tuple[int, int], phase: str) -> None:
    lines = shown(*size, phase=phase)
    assert len(lines) <= size[1]
    assert max(map(len, lines)) <= size[0]
    assert [line for line in lines if "export" in line] == list(EXPORTS)
    assert "Ctrl-C ends it" in lines[0]
    assert any("alert 9" in line for line in lines)


@pytest.mark.parametrize("types", [12, 13, 20])
def test_every_type_and_their_sum_have_a_row(types: int) -> None:
    text = "\n".join(shown(120, 40, types))
    assert all(f"type-{number} " in text for number in range(types))
    assert "│ all " in text


def test_a_terminal_too_low_for_the_types_shows_the_totals() -> None:
    assert "│ all " in "\n".join(shown(120, 27))
    assert "typed topic" not in "\n".join(shown(120, 27, types=13))

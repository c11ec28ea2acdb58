"""Record live-view.svg from a real run: `python docs/images/record_live_view.py`. Takes about two minutes."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from typing import Final
from unittest.mock import patch

from rich.console import Console

from broker_events.cli import run
from broker_events.devstack.live_view import screen
from broker_events.devstack.run_snapshot import RunSnapshot

IMAGE: Final = Path(__file__).with_name("live-view.svg")
WIDTH: Final = 110
HEIGHT: Final = 32
_ARGUMENTS: Final = ("--seconds", "90", "--rate", "200")


class Recorder:
    """A display that keeps the last snapshot of the running pipeline."""

    def __init__(self) -> None:
        self.snapshot: RunSnapshot | None = None

    def say(self, line: str) -> None:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")

    def show(self, snapshot: RunSnapshot) -> None:
        if snapshot.phase == "running":
            self.snapshot = snapshot

    def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    """Run the demo, then write its last screen as SVG."""
    recorder = Recorder()
    for name in ("PIPELINE_KAFKA_BOOTSTRAP_SERVERS", "PIPELINE_SCHEMA_REGISTRY_URL"):
        os.environ.pop(name, None)  # never an existing cluster
    with patch.object(run, "_display", lambda **_: recorder):
        try:
            run.command(_ARGUMENTS, standalone_mode=False)
        except SystemExit as ended:
            if ended.code:
                raise
    if recorder.snapshot is None:
        sys.exit("the run showed nothing")
    console = Console(file=io.StringIO(), record=True, width=WIDTH, height=HEIGHT, force_terminal=True)
    console.print(screen(recorder.snapshot, WIDTH, HEIGHT), end="")
    IMAGE.write_text(console.export_svg(title="make demo"), encoding="utf-8")


if __name__ == "__main__":
    main()

"""`broker-events run` and its like as a user starts them: whole processes, and what they have started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 120.0
CLEAN = {
    name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_") and name != "DEMO_SECONDS"
}
PARTS = ("simulate", "ingest", "router", "projector", "deliver", "console")


class Started:
    """A `broker-events` process without a terminal; `output` is all it has written so far."""

    def __init__(self, log: Path, *arguments: str, **variables: str) -> None:
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "broker_events.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=CLEAN | variables,
            )

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def wait(self) -> int:
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {PATIENCE_S:g} s:\n{self.output}") from None

    def wait_for(self, pattern: str) -> None:
        self.wait_until(lambda: re.search(pattern, self.output) is not None, pattern)

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"waited for {what!r} in:\n{self.output}"
            assert self.process.poll() is None, f"ended before {what!r}:\n{self.output}"
            time.sleep(0.1)


@contextmanager
def started(folder: Path, *arguments: str, **variables: str) -> Iterator[Started]:
    running = Started(folder / "output", *arguments, **variables)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def descendants(pid: int) -> dict[int, list[str]]:
    """Process id and command line of everything that a process has started, directly or not."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has just ended
            continue
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return {child: line for child in found if (line := command_line(child))}


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def part(running: Started, command: str) -> int:
    """Process id of one of its `python -m cli COMMAND`."""
    wanted = [sys.executable, "-m", "broker_events.cli", command]
    found = [pid for pid, line in descendants(running.process.pid).items() if line[:4] == wanted]
    assert len(found) == 1, f"{command}: {found}"
    return found[0]


def gone(processes: dict[int, list[str]], within_s: float) -> dict[int, list[str]]:
    """Wait until the processes have ended; return those that have not."""
    deadline = time.monotonic() + within_s
    left = processes
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = {pid: line for pid, line in left.items() if command_line(pid) == line}
    return left


def marked(output: str, mark: str) -> set[str]:
    """Texts of the summary's lines that have this mark."""
    return {text.strip() for text in re.findall(rf"^  {mark} (.+?)   ", output, re.MULTILINE)}

"""Start, supervise, restart and stop the pipeline's processes."""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from broker_events.devstack.child_process import GuardedProcess, log_tail
from broker_events.runtime.process.errors import (
    Fenced,
    OperatorActionRequired,
    PipelineError,
    QuarantineLimitExceeded,
    RestartRequired,
)

GRACE_S: Final = 12.0  # more than a worker's own limit (runtime.process)
ORPHAN_GRACE_S: Final = 10.0  # Kafka stops at the same time, so a worker cannot commit much any more
LOG_TAIL_LINES: Final = 12
FIRST_PAUSE_S: Final = 0.5
MOST_FAILURES: Final = 5
# The count of failures in a row begins again after this time.
HEALTHY_S: Final = 30.0
# A restart does not help: an operator must act, or another process has taken over.
FOR_A_PERSON: Final = (OperatorActionRequired.exit_code, QuarantineLimitExceeded.exit_code, Fenced.exit_code)


class State(StrEnum):
    """What a process does."""

    WAITING = "waiting"  # not started
    RUNNING = "running"
    RESTARTING = "restarting"
    FINISHED = "finished"  # by itself with exit code 0
    STOPPED = "stopped"


class PartFailed(PipelineError):
    """A process of the pipeline keeps failing. The message has the end of its log."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def pause_before_restart(exit_code: int, failures: int) -> float | None:
    """Return the seconds to wait before the restart of an ended process; None: do not restart it.

    `failures`: how often in a row it has ended. Exit codes 2, 3 and 4 are never restarted.
    """
    if exit_code in FOR_A_PERSON or failures > MOST_FAILURES:
        return None
    return FIRST_PAUSE_S * float(2 ** (failures - 1))


class Part:
    """One `broker-events` command as a supervised process.

    `environment`: its whole environment; secrets are there and never in `arguments`. `http_port`: the port of /metrics
    and /ready. `may_finish`: exit code 0 means that its work is done. `grace_s`: the time from SIGTERM to SIGKILL.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        http_port: int | None = None,
        may_finish: bool = False,
        grace_s: float = GRACE_S,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.http_port = http_port
        self.state = State.WAITING
        self.restarts = 0
        self._command = [sys.executable, "-m", "broker_events.cli", *arguments]
        self._environment = environment
        self._may_finish = may_finish
        self._grace_s = grace_s
        self._process: GuardedProcess | None = None
        self._started_at = 0.0
        self._failures = 0
        self._start_again_at = 0.0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process is not None and not self._process.is_running

    def start(self) -> None:
        self._process = GuardedProcess(
            self._command, self._environment, self.log, grace_s=self._grace_s, orphan_grace_s=ORPHAN_GRACE_S
        )
        self._started_at = time.monotonic()
        self.state = State.RUNNING

    def supervise(self) -> None:
        """Restart the process when it has ended. Raises PartFailed when it keeps failing."""
        if self.state is State.RESTARTING and time.monotonic() >= self._start_again_at:
            self.restarts += 1
            self.start()
        if self.state is not State.RUNNING or self._process is None:
            return
        code = self._process.exit_code
        if code is None:
            return
        if code == 0 and self._may_finish:
            self.state = State.FINISHED
            return
        lived_s = time.monotonic() - self._started_at
        self._failures = 1 if lived_s >= HEALTHY_S else self._failures + 1
        pause_s = pause_before_restart(code, self._failures)
        if pause_s is None:
            raise PartFailed(
                f"the {self.name} ended with exit code {code}, {self._failures} times in a row; {self.log} ends:\n"
                f"{textwrap.indent(log_tail(self.log, LOG_TAIL_LINES), '  ')}",
                code if code in FOR_A_PERSON else RestartRequired.exit_code,
            )
        self._start_again_at = time.monotonic() + pause_s
        self.state = State.RESTARTING

    def terminate(self) -> None:
        """Ask it to end, and do not restart it."""
        self.state = State.STOPPED
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Ask it to end, wait until it has, and do not restart it."""
        self.state = State.STOPPED
        if self._process is not None:
            self._process.stop()

    def hurry(self) -> None:
        """Kill it, also while another thread waits for its end."""
        if self._process is not None:
            self._process.hurry()

    def logged(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Return the last match of the pattern in its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return next(iter([*pattern.finditer(text)][-1:]), None)


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return this process's environment with these settings by lower-case name; None removes one."""
    variables = dict(os.environ)
    for name, value in settings.items():
        variable = f"PIPELINE_{name.upper()}"
        if value is None:
            variables.pop(variable, None)
        else:
            variables[variable] = str(value)
    return variables

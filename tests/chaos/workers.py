"""The pipeline's processes, run as a supervisor runs them: kept alive, their exit codes judged."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from broker_events.devstack.java import free_ports

log = logging.getLogger(__name__)

MUST_RESTART = 70
SUPERSEDED = 4
NEEDS_A_PERSON = 2
STOPPED = (0, -signal.SIGTERM)  # the latter when it comes before the process could answer signals
START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0
STATE_FOLDER = "PIPELINE_STATE_FOLDER"
POLL_S = 0.05
TAIL_LINES = 30


class WorkerFailed(AssertionError):
    """A worker ended by itself with a code that doesn't mean: start me again."""


class Worker:
    """One process under a stable name. `log` takes the output of all its lives."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.lives = 0
        self.kills = 0
        self.restarts_asked = 0
        self.zombies = 0  # former processes that have ended by themselves
        self.start_at = 0.0  # monotonic time of the next start while it is down
        self.excuse = ""  # what its last words name when it may end and wait for a person
        self.waits = False  # for a person, since it has ended so
        self._command = [*command]
        self._port = 0
        self._environment = {**environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._former: list[subprocess.Popen[bytes]] = []
        self._killed = False
        self._asked_to_stop = False

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is down"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_up(self) -> bool:
        """Whether it runs and has not been asked to stop."""
        return self.is_running and not self._asked_to_stop

    def start(self) -> None:
        assert not self.is_running
        self._port = free_ports(1)[0]  # a new one: a former process may still have the last one
        environment = {**self._environment, "PIPELINE_HTTP_PORT": str(self._port)}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.lives += 1
        self._killed = self._asked_to_stop = False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that runs; SIGKILL is counted and waited for."""
        self._asked_to_stop |= number is signal.SIGTERM
        os.kill(self.pid, number)
        if number is signal.SIGKILL:
            self.kills += 1
            self._killed = True
            assert self._process is not None
            self._process.wait()

    @property
    def clock(self) -> Path:
        """A file with how many seconds its clock is wrong, absent if it isn't."""
        return Path(self._environment["CLOCK_FILE"])

    @property
    def state(self) -> Path:
        """Its folder for state on disk."""
        return Path(self._environment[STATE_FOLDER])

    def put_right(self) -> None:
        """A person has mended what it waits for: it is well, or starts again."""
        self.excuse, self.waits, self.start_at = "", False, 0.0

    def replace(self) -> None:
        """Start a new process and leave the running one to itself, as a supervisor does who takes it for dead.

        The new one is on another machine: the folder of the running one is not there.
        """
        assert self._process is not None
        self._former.append(self._process)
        self._process = None
        if STATE_FOLDER in self._environment:
            self._environment[STATE_FOLDER] = f"{self.state}-{self.lives}"
        self.start()

    def wake(self) -> None:
        """SIGCONT for every process that it has."""
        for process in (*self._former, self._process):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)

    def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit code and how many seconds the stop took."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> tuple[int, float]:
        """Wait until the process ends that has been asked to; its exit code and how many seconds that took."""
        assert self._process is not None
        self._end_former()
        began = time.monotonic()
        return self._process.wait(STOP_LIMIT_S), time.monotonic() - began

    def tend(self, also_well: Sequence[int] = ()) -> int | None:
        """Start it again if it is down and due; the exit code of a life that has ended by itself since the last call.

        Raises WorkerFailed when that code is neither 70 nor one of `also_well`.
        """
        now = time.monotonic()
        for process in [each for each in self._former if each.poll() is not None]:
            self._former.remove(process)
            self.zombies += 1
            if process.returncode not in (MUST_RESTART, SUPERSEDED):
                raise WorkerFailed(f"the zombie of {self.name} ended with {process.returncode}:\n{self.tail()}")
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return None
            self._process = None
            if self._killed or (self._asked_to_stop and code in STOPPED):
                return None
            self.waits = bool(self.excuse) and code == NEEDS_A_PERSON and self.excuse in self.tail()
            if self.waits:
                self.start_at = math.inf
                return code
            if code == SUPERSEDED and self.zombies + len(self._former):
                code = MUST_RESTART  # of two processes of a name, either one may end so; it is started again
            if code not in (MUST_RESTART, *also_well):
                raise WorkerFailed(f"{self.name} ended with {code}:\n{self.tail()}")
            self.restarts_asked += 1
            self.start_at = now
            log.info("%s ended by itself with %d", self.name, code)
            return code
        if now >= self.start_at:
            self.start()
        return None

    def end(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        self._end_former()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _end_former(self) -> None:
        for process in self._former:
            process.kill()
            process.wait()
        self._former.clear()

    @property
    def is_ready(self) -> bool:
        """Whether it does its work, as it says itself."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/ready", timeout=2) as answer:
                return self.is_running and bool(answer.status == 200)
        except OSError:
            return False

    def tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])


class Group:
    """Workers that are started, tended and ended together. A context manager: leaving it kills what is left."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = {worker.name: worker for worker in workers}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for worker in self.workers.values():
            worker.end()

    def tend(self, also_well: Sequence[int] = ()) -> None:
        for worker in self.workers.values():
            worker.tend(also_well)

    @property
    def is_ready(self) -> bool:
        return all(worker.is_ready for worker in self.workers.values())

    def wait_until_ready(self, *names: str) -> None:
        """Return when the workers of these names do their work, by default all; the others are tended meanwhile."""
        deadline = time.monotonic() + START_LIMIT_S
        while not all(self.workers[name].is_ready for name in names or self.workers):
            self.tend()
            assert time.monotonic() < deadline, f"not ready:\n{self.tails()}"
            time.sleep(POLL_S)

    def tails(self) -> str:
        return "\n".join(f"--- {name}\n{worker.tail()}" for name, worker in self.workers.items())

    def stop(self) -> dict[str, tuple[int, float]]:
        """Stop the ones that run, all at once: nobody takes over from another; exit codes and seconds by name."""
        running = {name: worker for name, worker in self.workers.items() if worker.is_running}
        for worker in running.values():
            worker.signal(signal.SIGTERM)
        return {name: worker.wait() for name, worker in running.items()}


def cli(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "broker_events.cli", *arguments]

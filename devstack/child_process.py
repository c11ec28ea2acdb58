"""A child process that ends no later than this process, even when this one is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from broker_events.devstack import parent_watchdog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_REAP_S = 5.0  # beyond the grace period: the guard kills, reaps and cleans up


def log_tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) or "(no log)"


class GuardedProcess:
    """Starts `command` in its own session, so that Ctrl-C on the terminal does not reach it.

    Its output is appended to `log`. `grace_s`: the time from SIGTERM to SIGKILL; `orphan_grace_s`: the same when this
    process is gone. The guard then also removes the folder `remove`. Only the guard inherits `pass_fds`.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        grace_s: float,
        orphan_grace_s: float | None = None,
        remove: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        options = [f"--grace={grace_s}"]
        if orphan_grace_s is not None:
            options.append(f"--orphan-grace={orphan_grace_s}")
        if remove is not None:
            options.append(f"--remove={remove}")
        self._grace_s = grace_s
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", parent_watchdog.__file__, *options, str(os.getpid()), "--", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
                start_new_session=True,
                bufsize=0,
                pass_fds=pass_fds,
            )
        assert self._guard.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        line = self._guard.stdout.readline()
        self._pid = int(line) if line else None

    @property
    def pid(self) -> int | None:
        """The process's own id while it runs; None also when it could not be started."""
        return self._pid if self.is_running else None

    @property
    def is_running(self) -> bool:
        return self._guard.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + n after signal n."""
        return self._guard.poll()

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        stdin = self._guard.stdin
        assert stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        if self.is_running:
            with contextlib.suppress(BrokenPipeError):  # it ended by itself just now
                stdin.write(b"t")

    def stop(self) -> None:
        """Ask it to end and wait until it has."""
        self.terminate()
        self._wait()

    def kill(self) -> None:
        """Kill it (SIGKILL) and wait for its end."""
        self.hurry()
        self._wait()

    def hurry(self) -> None:
        """Kill it and what it has started (SIGKILL), also while another thread waits for its end."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _wait(self) -> None:
        assert self._guard.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        assert self._guard.stdout is not None  # noqa: S101
        try:
            self._guard.wait(self._grace_s + _REAP_S)
        finally:
            self._guard.stdin.close()
            self._guard.stdout.close()

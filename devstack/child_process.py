"""A child process under its guard: it ends no later than this process, even when this one is killed."""

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

_REAP_S = 5.0  # beyond the grace period: for the guard to kill, collect and clean up


class GuardedProcess:
    """Starts `command` in a session of its own, so that Ctrl-C on the terminal doesn't reach it.

    Its output is appended to `log`. Asked to end (SIGTERM), it is killed after `grace_s`; when this process is gone,
    after `orphan_grace_s`, if that is given. `remove`: a folder that goes when it ends by `stop(keep=False)` or with
    this process. `pass_fds` are inherited by the guard alone.
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
        """Ask it to end, without waiting; a folder to remove stays until `stop`."""
        self._order(b"t")

    def stop(self, *, keep: bool = False) -> None:
        """Ask it to end and wait until it has; then its folder is removed, unless `keep`."""
        self._order(b"t" if keep else b"r")
        self._wait()

    def kill(self) -> None:
        """Kill it (SIGKILL) and wait for its end; its folder stays."""
        self._order(b"k")
        self._wait()

    def hurry(self) -> None:
        """Kill it even while it is being asked to end; who waits for it needn't wait any longer."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _order(self, order: bytes) -> None:
        assert self._guard.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        if not self._guard.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it has ended by itself
                self._guard.stdin.write(order)
                self._guard.stdin.close()

    def _wait(self) -> None:
        assert self._guard.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        try:
            self._guard.wait(self._grace_s + _REAP_S)
        finally:
            self._guard.stdout.close()

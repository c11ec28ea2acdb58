"""Run a command that ends no later than the parent of this process.

Usage: `python parent_watchdog.py [--grace S] [--orphan-grace S] [--remove FOLDER] PARENT_PID -- COMMAND...`. The parent
holds the write end of standard input. A byte written there ends the command: SIGTERM, and after the grace period
SIGKILL to its process group. When the parent is gone, or on SIGTERM, SIGINT or SIGHUP, the command ends with the
orphan's grace period, and FOLDER is removed: a killed parent leaves neither a process nor temporary data.

The first line on standard output is the command's process id. Its output goes to standard error. The module needs only
the standard library, so that it starts in milliseconds with `python -I -S`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PARENT_CHECK_S = 1.0
STDIN = 0


def _signals() -> tuple[int, set[int]]:
    """Turn signals into a readable file descriptor, so that one select() waits for the pipe and for them."""
    received: set[int] = set()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: received.add(number))
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return reading, received


def _orphaned(child: subprocess.Popen[bytes], parent: int, wakeup: int, received: set[int]) -> bool | None:
    """Wait for what ends the child. None: it ended by itself; False: the parent asked; True: the parent is gone."""
    while child.poll() is None:
        if received or os.getppid() != parent:
            return True
        ready, _, _ = select.select([STDIN, wakeup], [], [], PARENT_CHECK_S)
        if wakeup in ready:
            os.read(wakeup, 64)
        if STDIN in ready:
            return not os.read(STDIN, 1)  # b"" at end of file
    return None


def main(arguments: list[str]) -> int:
    """Run the command until it ends or must end; return its exit code, or 128 + n after signal n."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--grace", type=float, default=15.0)
    parser.add_argument("--orphan-grace", type=float)
    parser.add_argument("--remove", type=Path)
    parser.add_argument("parent", type=int)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)

    wakeup, received = _signals()  # before the child starts: a signal must not end this process alone
    child = subprocess.Popen(options.command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), process_group=0)
    print(child.pid, flush=True)  # noqa: T201 - the parent reads it
    orphaned = _orphaned(child, options.parent, wakeup, received)
    if orphaned is not None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(options.orphan_grace if orphaned and options.orphan_grace is not None else options.grace)
        with contextlib.suppress(ProcessLookupError):  # the group: Java may have started a second process
            os.killpg(child.pid, signal.SIGKILL)
    code = child.wait()
    if options.remove is not None and (orphaned or os.getppid() != options.parent):
        shutil.rmtree(options.remove, ignore_errors=True)
        with contextlib.suppress(OSError):  # the last of several services removes the folder above
            options.remove.parent.rmdir()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

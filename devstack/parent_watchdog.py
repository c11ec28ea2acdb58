"""Keeps one child process no longer than its parent.

Called as `python guard.py [--grace S] [--orphan-grace S] [--remove FOLDER] PARENT_PID -- COMMAND...` by a parent that
holds the write end of this process's standard input. A byte written there is an order: `t` ends the child (SIGTERM,
after the grace period SIGKILL to its process group), `k` kills it at once; both keep the folder. `r` is as `t`, but the
folder goes. End of file, another parent than PARENT_PID (ours is gone), SIGTERM, SIGINT or SIGHUP are as `r` with the
orphan's grace period: so a parent that was killed leaves neither a process nor its temporary data. The child's process
id is the first line on standard output; its own output goes to standard error. Needs the standard library alone, so
that it starts in milliseconds with `python -I -S`.
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
import time
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


def _wait_for_order(child: subprocess.Popen[bytes], parent: int, wakeup: int, received: set[int]) -> str:
    """Return `gone` (the child ended), `keep` (order t), `kill` (k), `remove` (r) or `orphan` (the parent is gone)."""
    while child.poll() is None:
        if received or os.getppid() != parent:
            return "orphan"
        ready, _, _ = select.select([STDIN, wakeup], [], [], PARENT_CHECK_S)
        if wakeup in ready:
            os.read(wakeup, 64)
        if STDIN in ready:
            return {b"t": "keep", b"k": "kill", b"r": "remove"}.get(os.read(STDIN, 1), "orphan")
    return "gone"


def _end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    child.terminate()
    deadline = time.monotonic() + grace_s
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill it and what it has started, such as the second Java process that writes an ahead-of-time cache."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Run the command until it ends or must end; return its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--grace", type=float, default=15.0)
    parser.add_argument("--orphan-grace", type=float)
    parser.add_argument("--remove", type=Path)
    parser.add_argument("parent", type=int)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)

    wakeup, received = _signals()  # first: a signal must never find the child without its guard
    child = subprocess.Popen(options.command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), process_group=0)
    print(child.pid, flush=True)  # noqa: T201 - the parent reads it
    order = _wait_for_order(child, options.parent, wakeup, received)
    if order == "kill":
        _kill(child)
    elif order == "orphan" and options.orphan_grace is not None:
        _end(child, options.orphan_grace)
    elif order != "gone":
        _end(child, options.grace)
    code = child.wait()
    if order in ("remove", "orphan") and options.remove is not None:
        shutil.rmtree(options.remove, ignore_errors=True)
        with contextlib.suppress(OSError):  # the last one of several services empties the folder above
            options.remove.parent.rmdir()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

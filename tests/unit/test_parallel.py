"""Work in processes of their own: in order, and gone with an interrupted caller."""

from __future__ import annotations

import multiprocessing
import os
import pty
import re
import sys
import time
from pathlib import Path

from broker_events.audit.parallel import in_processes

PROGRAM = """
import sys, time
from broker_events.audit.parallel import in_processes
def begin():
    pass
if __name__ == "__main__":
    try:
        print("ready", flush=True)
        list(in_processes(time.sleep, [0.0] + [600.0] * 7, 2, begin, ()))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def doubled(number: int) -> int:
    return 2 * number


def begin() -> None:
    assert multiprocessing.parent_process() is not None


def test_results_are_in_order() -> None:
    assert [*in_processes(doubled, range(9), 2, begin, ())] == [2 * number for number in range(9)]


def test_who_stops_early_waits_for_nothing() -> None:
    results = in_processes(time.sleep, (0.0, 600.0, 600.0), 2, begin, ())
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


def test_ctrl_c_on_a_terminal_ends_them_without_a_word(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    for delay_s in (0.0, 0.3, 1.5):
        pid, terminal = pty.fork()
        if not pid:
            os.execv(sys.executable, [sys.executable, str(program)])  # noqa: S606
        shown = b""
        while b"ready" not in shown:
            shown += os.read(terminal, 1000)
        time.sleep(delay_s)
        os.write(terminal, b"\x03")
        while True:
            try:
                more = os.read(terminal, 1000)
            except OSError:  # nobody holds the terminal any more
                break
            if not more:
                break
            shown += more
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
        assert re.sub(rb"\^C|\s", b"", shown) == b"ready"

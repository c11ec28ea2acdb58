"""How a process ends: exit codes, signals, one line for what is foreseen."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from broker_events.runtime.process.errors import Fenced, OperatorActionRequired, PipelineError, RestartRequired, Stopped
from broker_events.runtime.process.lifecycle import run_process
from broker_events.runtime.settings import Settings

SETTINGS = Settings()


@pytest.fixture(autouse=True)
def _handlers_back() -> Iterator[None]:
    """Give pytest its signal handlers and log handlers back."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    handlers = logging.root.handlers[:]
    level = logging.root.level
    yield
    for number, handler in signals.items():
        signal.signal(number, handler)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def raising(error: Exception) -> int:
    def work(_stop: threading.Event) -> None:
        raise error

    return run_process(SETTINGS, "test", work)


def test_a_clean_end() -> None:
    assert run_process(SETTINGS, "test", lambda _stop: None) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OperatorActionRequired("the line"), 2),
        (RestartRequired("the line"), 70),
        (Fenced("the line"), 4),
        (Stopped("the line"), 0),
        (PipelineError("the line"), 1),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, Exception) else str(x),
)
def test_what_is_foreseen_is_one_line(error: Exception, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert raising(error) == code
    output = capfd.readouterr().err
    assert "Traceback" not in output
    assert len([line for line in output.splitlines() if "the line" in line]) == 1


def test_an_unexpected_exception_has_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert raising(RuntimeError("never thought of")) == 70
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_work_to_stop(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    def work(stop: threading.Event) -> None:
        os.kill(os.getpid(), number)
        assert stop.wait(5)

    assert run_process(SETTINGS, "test", work) == 0
    assert f"{number.name}: stopping" in capfd.readouterr().err


def test_a_second_run_hears_its_own_signal_and_gives_back_what_it_took() -> None:
    def work(stop: threading.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)

    assert [run_process(SETTINGS, "test", work) for _ in range(2)] == [0, 0]
    before = signal.set_wakeup_fd(-1)
    assert before == -1


def test_a_stop_that_hangs_ends_the_process() -> None:
    program = (
        "import os, signal, time, broker_events.runtime.process.lifecycle as p\n"
        "from broker_events.runtime.settings import Settings\n"
        "p.STOP_LIMIT_S = 0.2\n"
        "def work(stop):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(30)\n"
        "p.run_process(Settings(), 'test', work)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode == 70
    assert "the stop took longer" in done.stderr


def test_log_lines_have_utc_level_and_process(capfd: pytest.CaptureFixture[str]) -> None:
    raising(RestartRequired("why"))
    assert capfd.readouterr().err.splitlines()[-1].split()[1:] == ["ERROR", "test", "why"]


def test_a_signal_is_heard_while_the_main_thread_waits_in_a_library() -> None:
    program = (
        "import ctypes, os, signal, threading, broker_events.runtime.process.lifecycle as p\n"
        "from broker_events.runtime.settings import Settings\n"
        "library, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)\n"
        "def work(stop):\n"
        "    threading.Thread(target=lambda: (stop.wait(), os._exit(3)), daemon=True).start()\n"
        "    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "    library.pthread_mutex_lock(lock)\n"
        "    library.pthread_mutex_lock(lock)\n"  # waits for ever, whatever signal comes
        "p.run_process(Settings(), 'test', work)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode == 3

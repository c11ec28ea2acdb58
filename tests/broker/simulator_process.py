"""The broker simulator as a process of a test's own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from push_server import APP_KEY, APP_SECRET


@contextmanager
def simulator(*arguments: str) -> Iterator[int]:
    """Run a simulator that knows the key and secret of the tests, and give its port."""
    command = [
        sys.executable,
        "-m",
        "broker_events.cli",
        "simulate",
        "--app-key",
        APP_KEY,
        "--app-secret",
        APP_SECRET,
        *arguments,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline().rsplit(b":", 1)[1])
        finally:
            process.terminate()

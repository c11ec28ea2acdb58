"""The options and the exit code that all worker commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Event
from typing import Any

import click

from broker_events.runtime.process.instance import with_own_instance_id
from broker_events.runtime.process.lifecycle import run_process
from broker_events.runtime.settings import Settings, load_settings


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--instance-id and --http-port, as settings `instance_id` and `http_port`."""
    for option in (
        click.option(
            "--http-port",
            type=int,
            help="Port of /metrics and /ready; 0: a free one.  [env: PIPELINE_HTTP_PORT]",
        ),
        click.option(
            "--instance-id",
            help="Stable name of this worker.  [env: PIPELINE_INSTANCE_ID; default: host name, -1, -2 if taken]",
        ),
    ):
        command = option(command)
    return command


def run_worker_command(name: str, run: Callable[[Settings, Event], None], **options: object) -> None:
    """Run a worker until SIGTERM or Ctrl-C and exit with its code."""
    settings = with_own_instance_id(load_settings(**options), name)
    sys.exit(run_process(settings, name, lambda stop: run(settings, stop)))

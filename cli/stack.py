"""`broker-events stack`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import click

from broker_events.cli.folder_argument import made
from broker_events.runtime.settings import load_settings

_STARTED: Final = time.monotonic()
_POLL_S: Final = 0.2
_INTERRUPTED: Final = 130


@click.command("stack")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the data in this folder. A later start reuses its topics, schemas and, if free, ports.",
)
@click.option("--bare", is_flag=True, help="Create no topics and register no schemas.")
def command(*, folder: Path | None, bare: bool) -> None:
    """Run Kafka and a schema registry on this machine.

    Starts both on 127.0.0.1 until Ctrl-C, creates the pipeline's topics and registers its schemas. Docker and Java
    are not needed: the programs are downloaded once, about 200 MB. Standard output has the two settings for other
    commands, standard error the progress. Without --folder, all data is removed at the end.

    Exit codes: 0 stopped by Ctrl-C, 1 a program failed, 2 usage or settings, 130 interrupted during the start.

    \b
    Examples, in two terminals:
      broker-events stack --folder data
      export PIPELINE_KAFKA_BOOTSTRAP_SERVERS=... PIPELINE_SCHEMA_REGISTRY_URL=...   # as printed
      broker-events router
    """
    from broker_events.devstack.artifacts import StackError
    from broker_events.devstack.interrupts import Interrupted, Interrupts
    from broker_events.devstack.line_view import LineView
    from broker_events.devstack.preparation import EMBEDDED, exports, prepare_embedded
    from broker_events.devstack.stack import Stack
    from broker_events.runtime.process.errors import PipelineError
    from broker_events.schemas.catalog import load_catalog

    folder = folder and made(folder)
    load_settings(**EMBEDDED)  # an invalid setting must fail before anything starts
    say = LineView(_STARTED, sys.stderr).say
    stack = Stack(folder, progress=say)
    code = 0
    with Interrupts(stack.kill) as interrupts:
        try:
            settings = prepare_embedded(stack, load_catalog(), say, interrupts, bare=bare)
            click.echo("\n".join(exports(settings)))
            say("ready; Ctrl-C ends it")
            while not interrupts.count:
                if problem := stack.problem():
                    raise StackError(problem)
                time.sleep(_POLL_S)
        except Interrupted:
            code = _INTERRUPTED
        except (PipelineError, StackError) as error:
            click.echo(f"broker-events: {error}", err=True)
            code = error.exit_code if isinstance(error, PipelineError) else 1
        finally:
            stack.stop()
    sys.exit(code)

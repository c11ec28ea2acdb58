"""The `broker-events` command."""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

from broker_events.cli.guessing_group import GuessingGroup
from broker_events.cli.output import drop_output
from broker_events.runtime.process.errors import PipelineError, refused_by_system
from broker_events.runtime.process.terminal import escape_output
from broker_events.schemas.schema_rules import ContractError

# The whole pipeline, its parts in the order of the data flow, then the commands that read topics.
COMMANDS: Final = {
    "run": "broker_events.cli.run",
    "stack": "broker_events.cli.stack",
    "simulate": "broker_events.cli.simulate",
    "ingest": "broker_events.cli.ingest",
    "router": "broker_events.cli.router",
    "projector": "broker_events.cli.projector",
    "deliver": "broker_events.cli.deliver",
    "lake": "broker_events.cli.lake",
    "console": "broker_events.cli.console",
    "topics": "broker_events.cli.topics",
    "offsets": "broker_events.cli.offsets",
    "schemas": "broker_events.cli.schemas",
    "contracts": "broker_events.cli.contracts",
    "rules": "broker_events.cli.rules",
    "account": "broker_events.cli.account",
    "movement": "broker_events.cli.movement",
    "alerts": "broker_events.cli.alerts",
    "tail": "broker_events.cli.tail",
    "quarantine": "broker_events.cli.quarantine",
    "ledger": "broker_events.cli.ledger",
    "explain": "broker_events.cli.explain",
    "rebuild": "broker_events.cli.rebuild",
    "copy": "broker_events.cli.copy",
}


class LazyGroup(GuessingGroup):
    """Imports a command's module when it is used, so that each command loads only what it needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        module = COMMANDS.get(cmd_name)
        return None if module is None else importlib.import_module(module).command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="broker-events")
def cli() -> None:
    """Turn a brokerage's event push into typed Kafka topics and alerts.

    Settings come from PIPELINE_* in the environment, or from the TOML file that PIPELINE_CONFIG names.

    Exit codes: 0 success, 1 the command found a difference, 2 usage or settings, 3 quarantine limit, full disk or a
    record that stops the worker, 4 superseded by another process, 70 restart required, 130 interrupted.

    \b
    Examples:
      broker-events run                     the whole pipeline, with simulated events
      broker-events tail alerts --follow    the alerts as they come
    """


def main() -> None:
    """Run the command line and exit with its code."""
    escape_output()
    try:
        sys.exit(cli.main(prog_name="broker-events", standalone_mode=False) or 0)
    except (ContractError, PipelineError) as error:
        click.echo(f"broker-events: {error}", err=True)
        sys.exit(error.exit_code if isinstance(error, PipelineError) else 2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        refused = refused_by_system(error)
        if refused is None:
            raise
        click.echo(f"broker-events: {refused}", err=True)
        drop_output()
        sys.exit(refused.exit_code)

"""`broker-events console`."""

from __future__ import annotations

import sys
from typing import Any

import click

from broker_events.cli.worker import run_worker_command
from broker_events.runtime.process.errors import OperatorActionRequired


@click.group("console", invoke_without_command=True)
@click.option("--host", "console_host", help="Address to listen on.  [env: PIPELINE_CONSOLE_HOST; default: 127.0.0.1]")
@click.option("--port", "console_port", type=int, help="Port, 0: a free one.  [env: PIPELINE_CONSOLE_PORT]")
@click.option("--folder", "console_folder", help="Folder to keep the tables in.  [env: PIPELINE_CONSOLE_FOLDER]")
@click.option("--http-port", type=int, help="Port of /metrics and /ready; 0: a free one.  [env: PIPELINE_HTTP_PORT]")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 (each option has its own type)
    """Serve web pages and an API about accounts and events.

    Reads the topics without a consumer group into tables of its own, in --folder, and answers from them. Writes only
    console.audit: who looked at what. Without --folder the tables are temporary and filled again at each start.

    Without tokens it listens on 127.0.0.1 only, and everyone on this machine has the role operator. Any other address
    needs PIPELINE_CONSOLE_TOKENS, or an OIDC proxy in PIPELINE_CONSOLE_PROXY_ADDRESSES.

    Exit codes: 0 stopped, 2 usage, settings or permissions, 70 restart required.

    \b
    Examples:
      broker-events console
      broker-events console --port 8080 --folder /var/lib/broker-events/console
    """
    if context.invoked_subcommand is not None:
        return
    try:
        from broker_events.console.server import run_console
    except ModuleNotFoundError as error:
        raise OperatorActionRequired(
            f"{error.name} is not installed. Install it: pip install 'broker-events[workers,console]'"
        ) from None
    given = {name: value for name, value in options.items() if value is not None}
    run_worker_command("console", run_console, **given)


@command.command("token")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(("viewer", "investigator", "operator")),
    default="viewer",
    show_default=True,
    help="What the token may do.",
)
def token(*, name: str, role: Any) -> None:  # noqa: ANN401 (one of the choices)
    """Create a token for a person or program.

    Prints the token to standard error, once, and its line for PIPELINE_CONSOLE_TOKENS to standard output. The line has
    only a hash. A viewer reads masked records, an investigator whole ones, an operator may also replay if
    PIPELINE_CONSOLE_ACTIONS is set.

    Exit codes: 0 success, 2 the name is not valid.

    \b
    Examples:
      broker-events console token alice@example.com >> tokens
      broker-events console token dashboard --role investigator >> tokens
    """
    import re

    from broker_events.console.access import new_token

    if not re.fullmatch(r"[A-Za-z0-9@._-]{1,100}", name):
        raise click.BadParameter(f"{name!r} must be letters, digits, @ . _ -", param_hint="NAME")
    secret, line = new_token(name, role)
    click.echo(f"token of {name}, shown once: {secret}", err=True)
    sys.stdout.write(f"{line}\n")

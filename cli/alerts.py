"""`broker-events alerts`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.current_state import ACTIVE, CurrentState, Found, alert_line
from broker_events.cli.guessing_group import GuessingGroup
from broker_events.cli.output import aligned, printable, reader_may_leave, write_lines
from broker_events.runtime.events.record_json import json_line

if TYPE_CHECKING:
    from broker_events.schemas.models import Alert

_account: Final = click.option("--account", metavar="KEY", help="Show only alerts of this account key.")
_json: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON document per alert.")


@click.group("alerts", cls=GuessingGroup)
def command() -> None:
    """Show active alerts and the newest alerts.

    \b
    Examples:
      broker-events alerts active
      broker-events alerts list --limit 50
    """


@command.command("active")
@_account
@_json
def active(*, account: str | None, as_json: bool) -> None:
    """Show the alerts whose condition holds now.

    Reads alerts.active. Prints time, status, rule, account and summary, newest first. Accounts are not masked.

    Exit codes: 0 success, also if there are none.

    \b
    Examples:
      broker-events alerts active --account 1234567890
      broker-events alerts active --json | jq -r .account_key
    """
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.settings import load_settings

    state = CurrentState(answering(load_settings()))
    fits = _of(account)
    _show(state.newest(state.partitions(ACTIVE, account), lambda _: True, fits=fits), "active alerts", as_json=as_json)


@command.command("list")
@_account
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show the newest N alerts.")
@_json
def list_(*, account: str | None, limit: int, as_json: bool) -> None:
    """Show the newest alerts, FIRING and RESOLVED.

    Reads the topic alerts from the end backwards. Prints time, status, rule, account and summary. Accounts are not
    masked.

    Exit codes: 0 success, also if there are none.

    \b
    Examples:
      broker-events alerts list --account 1234567890
      broker-events alerts list --limit 1000 --json | jq -r 'select(.status == "FIRING") | .summary'
    """
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.settings import load_settings

    state = CurrentState(answering(load_settings()))
    _show(state.last(state.partitions("alerts", account), limit, _of(account)), "alerts", as_json=as_json)


def _of(account: str | None) -> Callable[[Alert], bool]:
    return lambda alert: account is None or alert.account_key == account


def _show(found: list[Found], what: str, *, as_json: bool) -> None:
    with reader_may_leave():
        if as_json:
            write_lines(json_line(each.document()) for each in found)
        elif found:
            write_lines(map(printable, aligned(map(alert_line, found))))
        else:
            click.echo(f"no {what}", err=True)

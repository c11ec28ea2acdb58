"""`broker-events account`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from broker_events.cli.current_state import (
    ACCOUNTS,
    ACTIVE,
    MOVEMENTS,
    NOT_FOUND,
    CurrentState,
    Found,
    alert_line,
    movement_line,
)
from broker_events.cli.output import aligned, printable, write_lines
from broker_events.runtime.events.record_json import json_line

if TYPE_CHECKING:
    from broker_events.schemas.models import AccountState


@click.command("account")
@click.argument("key")
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="Show the newest N movements.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, key: str, limit: int, as_json: bool) -> None:
    """Show the current state of an account.

    KEY is the account key. Reads its partition of state.accounts, state.movements and alerts.active from the end
    backwards. Prints state, restrictions, active alerts and the latest movements. Accounts are not masked.

    Exit codes: 0 found, 1 not found.

    \b
    Examples:
      broker-events account 1234567890
      broker-events account 1234567890 --json | jq .state.restrictions.codes
    """
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.settings import load_settings

    state = CurrentState(answering(load_settings()))
    wanted, prefix = key.encode(), f"{key}/".encode()
    accounts = state.newest(state.partitions(ACCOUNTS, key), lambda record: record.key() == wanted, limit=1)
    alerts = state.newest(
        state.partitions(ACTIVE, key),
        lambda record: b"/" + prefix in (record.key() or b""),
        fits=lambda alert: alert.account_key == key,
    )
    movements = state.newest(
        state.partitions(MOVEMENTS, key),
        lambda record: (record.key() or b"").startswith(prefix),
        fits=lambda movement: movement.account_key == key and movement.alias_of is None,
        limit=limit,
    )
    if not (accounts or alerts or movements):
        click.echo(f"no account {key}: no event of it has been projected, or the key is not its account_id", err=True)
        sys.exit(NOT_FOUND)
    account = accounts[0] if accounts else None
    if as_json:
        listed = {"active_alerts": alerts, "movements": movements}
        document: dict[str, object] = {"account_key": key, "state": account and account.document()}
        document |= {name: [each.document() for each in found] for name, found in listed.items()}
        write_lines([json_line(document)])
        return
    write_lines(map(printable, _lines(key, account, alerts, movements)))


def _lines(key: str, account: Found | None, alerts: list[Found], movements: list[Found]) -> Iterator[str]:
    parts = [*alerts, *movements, *([account] if account else [])]
    yield f"account {key}{' (simulated)' if any(each.simulated for each in parts) else ''}"
    rows = [*_facts(account.model)] if account else [("state", "no account event yet")]
    yield from (f"  {line}" for line in aligned(rows))
    for title, found, cells in (("active alerts", alerts, alert_line), ("movements", movements, movement_line)):
        yield f"{title}: {'' if found else 'none'}".rstrip()
        yield from (f"  {line}" for line in aligned(map(cells, found)))


def _facts(account: AccountState) -> Iterator[tuple[str, str]]:
    for name in ("account_id", "account_number", "account_type"):
        if (fact := getattr(account, name)) is not None:
            yield name.replace("_", " "), fact.value
    if (restrictions := account.restrictions) is not None:
        codes = ", ".join(restrictions.codes) or "none"
        yield "restrictions", f"{codes}   (as of {restrictions.event_time_text})"
        for market, state in sorted(restrictions.liquidate_only.items()):
            since = f"since {state.since_text}{' or earlier' if state.first_sight else ''}"
            yield "liquidate-only", f"{market} {since}: may sell but not buy"
    if (infos := account.restrict_infos) is not None:
        codes = ", ".join(info.restriction_code for info in infos.infos) or "empty list"
        yield infos.biz_type.lower().replace("_", " "), f"{codes}   (as of {infos.event_time_text})"
    for kind, bcan in sorted(account.bcan.items()):
        yield f"bcan {kind}", f"{bcan.status}   ({bcan.event_time_text})"
    for name in ("info_update", "close"):
        if (outcome := getattr(account, name)) is not None:
            yield name.replace("_", " "), f"{outcome.status}   ({outcome.event_time_text})"

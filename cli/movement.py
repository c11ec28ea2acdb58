"""`broker-events movement`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.current_state import MOVEMENTS, NOT_FOUND, CurrentState, Found, amount_text
from broker_events.cli.output import aligned, printable, write_lines
from broker_events.runtime.events.amounts import for_people
from broker_events.runtime.events.record_json import json_line

if TYPE_CHECKING:
    from broker_events.runtime.consume.record import KafkaRecord
    from broker_events.schemas.models import MovementState

_MOVEMENT_ID: Final = re.compile(
    r"(.+)/(TRANSFER|FEE_DEDUCTION|CREDIT|INSTANT_FUNDING|INSTANT_EXCHANGE|EXCHANGE)/(.+)", re.DOTALL
)


@click.command("movement")
@click.argument("movement_id", metavar="ID")
@click.option("--account", metavar="KEY", help="Account key of the movement: read only its partition.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, movement_id: str, account: str | None, as_json: bool) -> None:
    """Show the current state of a movement of money.

    ID is a movement id (ACCOUNT/BIZ_TYPE/ID), a client_request_id, or a brokerage's id such as transfer_id. Reads
    state.movements from the end backwards and stops at the ID. If the ID does not exist and no account is given, the
    command reads the whole topic.

    Exit codes: 0 found, 1 not found.

    \b
    Examples:
      broker-events movement 1234567890/TRANSFER/req-1
      broker-events movement req-1 --account 1234567890 --json | jq .history
    """
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.settings import load_settings

    state = CurrentState(answering(load_settings()))
    full = _MOVEMENT_ID.fullmatch(movement_id)
    partitions = state.partitions(MOVEMENTS, account or (full[1] if full else None))
    wanted = movement_id.encode()
    found = state.newest(
        partitions,
        lambda record: wanted in (record.key() or b"") + (record.value() or b""),
        fits=lambda movement: movement_id in _ids(movement),
        limit=1,
    )
    while found and found[0].model.alias_of is not None:  # it leads to the movement, or to another alias
        alias: MovementState = found[0].model
        partitions, target = state.partitions(MOVEMENTS, alias.account_key), str(alias.alias_of).encode()
        found = state.newest(partitions, _has_key(target), limit=1)
    if not found:
        where = "in state.movements" if account is None else f"of account {account}"
        click.echo(f"no movement {movement_id} {where}", err=True)
        sys.exit(NOT_FOUND)
    write_lines([json_line(found[0].document())] if as_json else map(printable, _lines(found[0])))


def _has_key(key: bytes) -> Callable[[KafkaRecord], bool]:
    return lambda record: record.key() == key


def _ids(movement: MovementState) -> set[str | None]:
    """Return the ids by which a movement is asked for. An alias has the id of its key alone."""
    parts = _MOVEMENT_ID.fullmatch(movement.movement_id)
    of_key = {movement.movement_id, parts[3] if parts else None}
    return of_key | {movement.client_request_id, *movement.system_ids.values()}


def _lines(found: Found) -> Iterator[str]:
    movement: MovementState = found.model
    yield f"movement {movement.movement_id}{' (simulated)' if found.simulated else ''}"
    kind = " ".join(filter(None, (movement.biz_type, movement.type, movement.direction)))
    facts = [
        ("account", movement.account_key),
        ("type", kind),
        ("amount", amount_text(movement) or "not known yet"),
        ("rate", "" if movement.fx_rate is None else for_people(movement.fx_rate)),
        ("status", movement.status),
        ("reason", movement.reason or ""),
        ("client_request_id", movement.client_request_id or ""),
        *sorted(movement.system_ids.items()),
        ("returned alert", movement.returned_alert_id or ""),
    ]
    yield from (f"  {line}" for line in aligned((name, text) for name, text in facts if text))
    dropped = f" ({movement.history_dropped} older ones are not kept)" if movement.history_dropped else ""
    yield f"history{dropped}"
    rows = [
        (event.event_time_text, f"{event.status} (illegal)" if event.illegal else event.status, event.event_id)
        for event in movement.history
    ]
    yield from (f"  {line}" for line in aligned(rows))

"""`broker-events contracts`."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broker_events.cli.contracts_diff import command as diff
from broker_events.cli.contracts_export import command as export
from broker_events.cli.guessing_group import GuessingGroup

if TYPE_CHECKING:
    from broker_events.schemas.catalog import Contract

_SCHEMA_ID: Final = 1  # of the registry; no part of the record


@click.group("contracts", cls=GuessingGroup)
def command() -> None:
    """Write, export and compare contracts.

    \b
    Examples:
      broker-events contracts new fee-forecast --from event.json
      broker-events contracts export --format asyncapi --out build
      broker-events contracts diff main
    """


command.add_command(export)
command.add_command(diff)


@command.command("new")
@click.argument("name")
@click.option("--from", "sample", type=click.File("rb"), required=True, help="One event as pushed, JSON; - for stdin.")
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default="schemas",
    show_default=True,
    help="Folder of the contracts.",
)
def new(name: str, sample: Any, root: Path) -> None:  # noqa: ANN401 (click types no open file)
    """Write the folder of the event type NAME from one event.

    NAME becomes the topic's name: fee-forecast gives the topic event.fee-forecast. Writes the contract, the schema,
    the event as an accepted sample with its record, and two rejected samples. Infers types from this event: text that
    looks like a time or an amount gets that type, and every field is nullable. Correct types and docs before you merge.

    Exit codes: 0 written, 2 the event is not valid, or the name or the event's biz_type is in use.

    \b
    Examples:
      broker-events contracts new fee-forecast --from event.json
      broker-events quarantine show 3:17 --value | broker-events contracts new fee-forecast --from -
    """
    from broker_events.runtime.events.record_json import json_line
    from broker_events.schemas.catalog import ContractError, load_catalog
    from broker_events.schemas.invalid_event import InvalidEvent
    from broker_events.schemas.new_contract import propose
    from broker_events.schemas.schema_rules import COMMON_FIELDS

    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise click.UsageError(f"NAME must be lower-case words joined by hyphens, such as fee-forecast; got {name!r}")
    if not (root / "events").is_dir():
        raise click.UsageError(f"{root} holds no contracts: run this in a clone of the project, or name --root")
    value: bytes = sample.read()
    event, members = _parse(value)
    catalog = load_catalog(root)
    biz_type = event["payload"]["biz_type"]
    if biz_type in catalog.events:
        raise click.UsageError(f"{biz_type} has a contract: {catalog.events[biz_type].folder}")
    folder = root / "events" / name
    if folder.exists():
        raise click.UsageError(f"{folder} exists")
    fields = next(schema for contract in catalog.events.values() if (schema := contract.schema))["fields"]
    proposal = propose(name, event, members, fields[: len(COMMON_FIELDS)], fields[-1])
    record = "samples/accept/first.record.json"
    try:
        for path, text in {**proposal.files, "samples/accept/first.json": value.decode(), record: "{}"}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text.rstrip() + "\n", encoding="utf-8")
        typed = json.loads(json_line(_typed(load_catalog(root).contracts[name], value)))
        (folder / record).write_text(json.dumps(typed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except ContractError:
        shutil.rmtree(folder)
        raise
    except InvalidEvent as error:
        shutil.rmtree(folder)
        raise click.UsageError(f"the event cannot be typed: {error}") from None
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        click.echo(file)
    if proposal.without_field:
        click.echo(f"no field for {', '.join(proposal.without_field)}: kept as JSON text in extra")
    click.echo(
        f"\nNext:\n  1. correct description, source, types and docs; required fields are without null and default"
        f"\n  2. add `broker.event.{name}` to the table of topics in README.md"
        "\n  3. make generate check-contracts"
    )


def _parse(value: bytes) -> tuple[dict[str, Any], list[str]]:
    """Return the event, and the members of its payload that can give the account key."""
    from broker_events.runtime.events.account_key import ACCOUNT_IDS, account_member, missing_key
    from broker_events.runtime.events.pushed_event import parse_event
    from broker_events.schemas.invalid_event import InvalidEvent

    try:
        parse_event(value)
        event: dict[str, Any] = json.loads(value)
        payload = event["payload"]
        if account_member(payload) is None:
            raise missing_key(payload)
        if not isinstance(payload.get("biz_type"), str):
            raise click.UsageError("the event has no payload member biz_type that is a text")
    except InvalidEvent as error:
        raise click.UsageError(f"the event is not valid: {error}") from None
    return event, [member for member in ACCOUNT_IDS if member in payload] or [str(account_member(payload))]


def _typed(contract: Contract, value: bytes) -> object:
    """Return the record as the router types it, with times as datetime and amounts as Decimal."""
    import fastavro

    from broker_events.runtime.events.transcoder import Transcoder
    from broker_events.schemas.frame import FRAME_BYTES

    body = Transcoder(contract, _SCHEMA_ID).encode(value)[FRAME_BYTES:]
    return fastavro.schemaless_reader(io.BytesIO(body), fastavro.parse_schema(contract.schema or {}), None)

"""`broker-events deliver check`, `list`, `retry` and `verify`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker_events.cli.output import aligned, plural, printable, reader_may_leave, write_lines

if TYPE_CHECKING:
    from broker_events.audit.delivery_proof import DeliveryProof
    from broker_events.runtime.consume.record import KafkaRecord
    from broker_events.runtime.settings import Settings
    from broker_events.schemas.models import Delivery

_OUTCOMES = ("DELIVERED", "GIVEN_UP", "SKIPPED")
_receivers = click.option(
    "--receiver", "receivers", multiple=True, metavar="NAME", help="Only this receiver. Repeatable."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document per line.")


@click.command("check")
@_receivers
def check(receivers: tuple[str, ...]) -> None:
    """Send a test alert to each receiver.

    Reads the receivers file. A webhook gets a signed request with an alert_id that begins with test- and the rule
    DELIVERY_TEST. An Alertmanager gets an alert of this name that ends after a minute. Prints the answers. Writes
    nothing to Kafka.

    Exit codes: 0 all receivers accepted it, 1 one did not, 2 settings or receivers.

    \b
    Examples:
      broker-events deliver check
      broker-events deliver check --receiver risk-desk
    """
    from broker_events.runtime.settings import load_settings
    from broker_events.sinks.deliver.attempt import check as send
    from broker_events.sinks.deliver.worker import chosen_receivers

    found = [each for receiver in chosen_receivers(load_settings(), receivers) for each in send(receiver)]
    rows = [("receiver", "kind", "result", "answer", "time")]
    for each in found:
        result = "accepted" if each.is_accepted else "NOT accepted"
        body = " ".join(each.answer.body.split())[:200]
        rows.append((each.receiver, each.kind, result, f"{each.answer.text} {body}".strip(), f"{each.took_s:.3f} s"))
    write_lines(map(printable, aligned(rows)))
    sys.exit(0 if all(each.is_accepted for each in found) else 1)


@click.command("list")
@_receivers
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="Only deliveries with this outcome.")
@click.option("--alert-id", help="Only the deliveries of this alert.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show the newest N deliveries."
)
@_json
def list_(*, receivers: tuple[str, ...], outcome: str | None, alert_id: str | None, limit: int, as_json: bool) -> None:
    """Show the outcome of alerts at their receivers.

    Reads alerts.deliveries. Prints the time of the last attempt, the receiver, the outcome, the number of attempts, the
    HTTP status, rule and status of the alert, its id, and why it was given up or skipped; newest last.

    Exit codes: 0 success, also if there are none.

    \b
    Examples:
      broker-events deliver list --outcome GIVEN_UP
      broker-events deliver list --receiver risk-desk --json | jq -r .alert_id
    """
    from broker_events.runtime.events.record_json import json_line
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.settings import load_settings

    chosen = [
        each
        for each in _latest(answering(load_settings()))
        if (not receivers or each.receiver in receivers)
        and outcome in (None, each.outcome)
        and alert_id in (None, each.alert_id)
    ][-limit:]
    with reader_may_leave():
        if as_json:
            write_lines(json_line(each.model_dump()) for each in chosen)
        elif chosen:
            write_lines(map(printable, aligned(map(_row, chosen))))
        else:
            click.echo("no deliveries", err=True)


@click.command("retry")
@click.option("--receiver", "name", required=True, metavar="NAME", help="The webhook to send them to.")
@click.option("--alert-id", "alert_ids", multiple=True, help="Only this alert. Repeatable.")
@click.option("--dry-run", is_flag=True, help="Show the alerts without sending them.")
def retry(*, name: str, alert_ids: tuple[str, ...], dry_run: bool) -> None:
    """Send alerts to a webhook again that were given up.

    Reads alerts.deliveries and alerts. Sends each alert once, oldest first, with its webhook-id. Writes a record for
    each that the receiver accepts, with the OS user and host. The receiver may already have later alerts of the
    account. An Alertmanager needs no retry: it gets all active alerts at each interval.

    Exit codes: 0 all were accepted, or would be sent with --dry-run, 1 one was not accepted or there are none, 2
    settings or receivers.

    \b
    Examples:
      broker-events deliver retry --receiver risk-desk --dry-run
      broker-events deliver retry --receiver risk-desk --alert-id 0f8fad5b-d9cb-469f-a165-70867728950e
    """
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.settings import load_settings
    from broker_events.sinks.deliver.worker import chosen_receivers

    settings = load_settings()
    (receiver,) = chosen_receivers(settings, (name,))
    if receiver.kind != "webhook":
        raise click.UsageError(f"{name} is an Alertmanager: it gets all that holds at each interval")
    chosen = [
        each
        for each in _latest(answering(settings))
        if each.receiver == name and each.outcome == "GIVEN_UP" and (not alert_ids or each.alert_id in alert_ids)
    ]
    if dry_run or not chosen:
        write_lines(map(printable, aligned(map(_row, chosen))) if chosen else [])
        click.echo(f"{len(chosen)} {plural('alert', len(chosen))} would be sent")
        sys.exit(0 if chosen else 1)
    sys.exit(0 if _send_again(settings, name, chosen) else 1)


def _send_again(settings: Settings, name: str, chosen: list[Delivery]) -> bool:
    from broker_events.audit.deliveries import read_alert
    from broker_events.cli.decoding import open_decoder
    from broker_events.runtime.schema_ids import resolve_schema_ids
    from broker_events.schemas.catalog import DELIVERIES, load_catalog
    from broker_events.schemas.codec import Codec
    from broker_events.schemas.models import Alert
    from broker_events.schemas.storage_types import Delivery as Stored
    from broker_events.sinks.deliver.attempt import retry as send
    from broker_events.sinks.deliver.worker import chosen_receivers

    catalog, decode = load_catalog(), open_decoder(settings)
    (receiver,) = chosen_receivers(settings, (name,))
    codec: Codec[Stored] = Codec(catalog.topics[DELIVERIES][0], resolve_schema_ids(settings, catalog)[DELIVERIES])

    def read(partition: int, offset: int) -> tuple[KafkaRecord, Alert] | None:
        record = read_alert(settings, partition, offset)
        if record is None:
            return None
        alert = decode(record.value() or b"")
        return (record, alert) if isinstance(alert, Alert) else None

    accepted = 0
    for each in send(settings, receiver, chosen, codec, read):
        is_good = each.answer is not None and each.answer.status is not None and 200 <= each.answer.status < 300  # noqa: PLR2004
        accepted += is_good
        text = "deleted by retention" if each.answer is None else each.answer.text
        click.echo(f"{each.alert_id}: {'accepted' if is_good else 'NOT accepted'}: {text}")
    click.echo(f"{accepted} of {len(chosen)} {plural('alert', len(chosen))} accepted")
    return accepted == len(chosen)


@click.command("verify")
@_receivers
@click.option(
    "--receiver-log",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="NDJSON log of the requests that the receiver accepted. Needs one --receiver.",
)
@_json
def verify(*, receivers: tuple[str, ...], receiver_log: Path | None, as_json: bool) -> None:
    """Prove that every alert has one outcome at every receiver.

    Reads alerts, alerts.deliveries and the offsets of each receiver's group. Every alert that the group has processed
    must have exactly one record: DELIVERED, GIVEN_UP or SKIPPED. Later alerts count as waiting. With --receiver-log,
    each delivered alert must be in the receiver's own log, correctly signed and in the order of its dedup key. A line
    of the log is a JSON object with webhook-id, webhook-timestamp, webhook-signature and body.

    Exit codes: 0 proved, 1 an alert is missing or doubled, or the log differs, 2 settings or receivers.

    \b
    Examples:
      broker-events deliver verify
      broker-events deliver verify --receiver risk-desk --receiver-log requests.ndjson --json
    """
    from broker_events.audit.deliveries import prove_deliveries
    from broker_events.cli.decoding import open_decoder
    from broker_events.runtime.events.record_json import json_line
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.settings import load_settings
    from broker_events.sinks.deliver.worker import chosen_receivers

    settings = load_settings()
    chosen = chosen_receivers(settings, receivers)
    if receiver_log is not None and len(receivers) != 1:
        raise click.UsageError("--receiver-log needs exactly one --receiver NAME")
    logs = [] if receiver_log is None else [(receiver_log, chosen[0].secrets())]
    answering(settings)
    proofs = prove_deliveries(settings, [each.name for each in chosen], open_decoder(settings), logs)
    if as_json:
        write_lines(json_line(proof.document()) for proof in proofs)
    else:
        write_lines(line for proof in proofs for line in _report(proof))
    sys.exit(0 if all(proof.is_proved for proof in proofs) else 1)


def _report(proof: DeliveryProof) -> Iterator[str]:
    document = proof.document()
    verdict = "proved" if proof.is_proved else "NOT proved"
    numbers = ", ".join(
        f"{document[name]} {name}" for name in ("alerts", "delivered", "given_up", "skipped", "waiting")
    )
    yield f"{proof.receiver}: {verdict}: {numbers.replace('_', ' ')}"
    if proof.in_log is not None:
        yield f"  {proof.in_log} accepted requests in the receiver's log"
    for name, found in proof.document()["examples"].items():  # type: ignore[attr-defined]
        yield f"  {name.replace('_', ' ')}: {', '.join(found)}"


def _latest(settings: Settings) -> list[Delivery]:
    """Return the last record of each alert and receiver, oldest attempt first."""
    from broker_events.audit.deliveries import read_deliveries
    from broker_events.cli.decoding import open_decoder

    latest = {(each.receiver, each.alert_id): each for each in read_deliveries(settings, open_decoder(settings))}
    return sorted(latest.values(), key=lambda each: (_time(each), each.alert_partition, each.alert_offset))


def _time(delivery: Delivery) -> str:
    at = delivery.last_attempt_at
    return "" if at is None else at.isoformat(timespec="seconds")


def _row(delivery: Delivery) -> tuple[str, ...]:
    status = "-" if delivery.last_status is None else str(delivery.last_status)
    alert = f"{delivery.rule or '-'} {delivery.alert_status or ''}".strip()
    numbers = (str(delivery.attempts), status)
    at = _time(delivery) or "-"
    return (at, delivery.receiver, delivery.outcome, *numbers, alert, delivery.alert_id, delivery.detail or "")

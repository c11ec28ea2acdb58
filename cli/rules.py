"""`broker-events rules`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.output import aligned, plural, printable, reader_may_leave, write_lines
from broker_events.cli.partitions import choosing_partitions, chosen_partitions
from broker_events.cli.time_arguments import EXAMPLES, Moment
from broker_events.runtime.events.record_json import iso_millis, json_line

if TYPE_CHECKING:
    from pathlib import Path

    from broker_events.audit.backtest import Failed, Raised

_BAR: Final = 40
_LISTED: Final = 20


@click.group("rules")
def command() -> None:
    """List, test and backtest alert rules.

    A rule is a folder with rule.toml and samples, in the package or in PIPELINE_RULES_FOLDER. PIPELINE_RULES switches
    rules on. LIQUIDATE_ONLY and TRANSFER_RETURNED are always on and not listed here.

    \b
    Examples:
      broker-events rules list
      broker-events rules test my-rule
      broker-events rules backtest large-transfer --since 30d
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per rule.")
def list_(*, as_json: bool) -> None:
    """Show the rules, and which are switched on.

    Reads the folders of the rules and the settings. Prints name, on or off, kind, severity and description. --json also
    prints event types and thresholds.

    Exit codes: 0 success, 2 a rule.toml is wrong.

    \b
    Examples:
      broker-events rules list
      broker-events rules list --json | jq -r .name
    """
    from broker_events.processors.alert_rules.load import rule_folders
    from broker_events.processors.alert_rules.rule_file import FILE, RuleText
    from broker_events.runtime.settings import load_settings

    settings = load_settings()
    switched_on = {name.partition("@")[0]: name.partition("@")[2] for name in settings.rules}
    found = []
    for name, folder in rule_folders(settings).items():
        rule = RuleText(folder / FILE).parse()
        found.append(
            {
                "name": name,
                "on": name in switched_on,
                "since": switched_on.get(name) or None,
                "kind": rule.kind,
                "severity": rule.severity,
                "event_types": rule.on,
                "thresholds": {key: each.value for key, each in rule.thresholds.items()}
                | settings.rule_thresholds.get(name, {}),
                "description": " ".join(rule.description.split()),
            }
        )
    with reader_may_leave():
        if as_json:
            write_lines(map(json_line, found))
            return
        rows = [
            (
                str(each["name"]),
                "on" if each["on"] else "off",
                str(each["kind"]),
                str(each["severity"]),
                str(each["description"]),
            )
            for each in found
        ]
        write_lines(map(printable, aligned([("rule", "", "kind", "severity", "alerts when"), *rows])))


@command.command("test")
@click.argument("names", nargs=-1)
def test(*, names: tuple[str, ...]) -> None:
    """Check rules and run their samples.

    Reads the folders of all rules, or of those in NAMES. Compiles each rule, runs its samples, and evaluates it on
    every documented event of its types, also with null in every field that may be null. Needs no Kafka.

    Exit codes: 0 every rule is right, 1 a rule is wrong, 2 no such rule.

    \b
    Examples:
      broker-events rules test
      PIPELINE_RULES_FOLDER=./rules broker-events rules test my-rule
    """
    from broker_events.processors.alert_rules.load import rule_folders
    from broker_events.runtime.settings import load_settings

    folders = rule_folders(load_settings())
    chosen = [_folder(folders, name) for name in names] or [*folders.values()]
    wrong = sum(not _is_right(folder) for folder in chosen)
    click.echo(f"{len(chosen) - wrong} of {len(chosen)} {plural('rule', len(chosen))} right")
    sys.exit(1 if wrong else 0)


def _folder(folders: dict[str, Path], name: str) -> Path:
    if name not in folders:
        raise click.UsageError(f"no rule {name}; there are {', '.join(folders)}")
    return folders[name]


def _is_right(folder: Path) -> bool:
    from broker_events.processors.alert_rules.check import check_rule
    from broker_events.processors.alert_rules.rule_file import RuleError
    from broker_events.processors.alert_rules.samples import run_samples
    from broker_events.schemas.catalog import load_catalog

    catalog = load_catalog()
    try:
        rule = check_rule(catalog, folder)
    except RuleError as error:
        click.echo(printable(f"wrong  {folder.name}  {error}"))
        return False
    for result in run_samples(catalog, rule):
        events = f"{result.events} {plural('event', result.events)}"
        click.echo(
            f"right  {folder.name}  {result.path.stem}: {events}, {result.alerts} {plural('alert', result.alerts)}"
        )
    return True


@command.command("backtest")
@click.argument("name")
@choosing_partitions
@click.option("--since", "since_ms", type=Moment(), help=f"Show alerts on events received at or after: {EXAMPLES}.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=_LISTED, show_default=True, help="List the newest N alerts."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per alert.")
def backtest(*, name: str, numbers: tuple[int, ...], since_ms: int | None, limit: int, as_json: bool) -> None:
    """Show what a rule would have alerted in the past.

    Reads the typed topics of the rule's event types from their beginning, with the thresholds of
    PIPELINE_RULE_THRESHOLDS, whether the rule is switched on or not. Writes nothing. Prints the alerts per day of
    receipt (UTC) as a table with bars, then the newest ones. Retention limits how far back it can look. Accounts are
    not masked.

    Exit codes: 0 success, 1 the rule has no value for an event (it would stop the projector), 2 a wrong rule.

    \b
    Examples:
      broker-events rules backtest large-transfer
      PIPELINE_RULE_THRESHOLDS='{"large-transfer": {"other": "5000"}}' broker-events rules backtest large-transfer
      broker-events rules backtest no-trade --since 7d --json | jq -r .summary
    """
    from broker_events.audit.backtest import Backtest, Failed
    from broker_events.processors.alert_rules.load import load_rule
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.process.logs import configure_logging
    from broker_events.runtime.settings import load_settings
    from broker_events.schemas.catalog import load_catalog

    settings = load_settings()
    configure_logging(settings, "backtest")
    catalog = load_catalog()
    rule = load_rule(settings, catalog, name)
    answering(settings)
    run = Backtest(settings, catalog, rule)
    raised: list[Raised] = []
    failed: list[Failed] = []
    for tp in chosen_partitions(settings, run.topics[0], numbers):
        for each in run.run(tp.partition):
            if isinstance(each, Failed):
                failed.append(each)
            elif each.received_ms >= (since_ms or 0):
                raised.append(each)
    raised.sort(key=lambda each: each.received_ms)
    with reader_may_leave():
        if as_json:
            write_lines(json_line(_document(each)) for each in raised)
        else:
            write_lines(map(printable, report(raised, limit)))
            click.echo(
                f"{len(raised):,} {plural('alert', len(raised))} from {run.events:,} {plural('event', run.events)}"
            )
    for problem in failed[:_LISTED]:
        click.echo(printable(f"{problem.place}: {problem.reason}"), err=True)
    if failed:
        click.echo(f"{len(failed):,} {plural('event', len(failed))} without a value", err=True)
    sys.exit(1 if failed else 0)


def _document(each: Raised) -> dict[str, object]:
    return {"received": iso_millis(each.received_ms), **{k: v for k, v in each.alert.items() if k not in _EVIDENCE}}


_EVIDENCE: Final = ("restriction", "transfer")


def report(raised: list[Raised], limit: int) -> Iterator[str]:
    """Yield a row per day with a bar, and the newest `limit` alerts. `raised`: in the order of receipt."""
    days: dict[str, Counter[str]] = {}
    for each in raised:
        days.setdefault(iso_millis(each.received_ms)[:10], Counter())[each.alert["status"]] += 1
    if not days:
        return
    most = max(sum(counts.values()) for counts in days.values())
    rows = []
    for day, counts in days.items():
        bar = "█" * max(1, round(sum(counts.values()) / most * _BAR))
        rows.append((day, f"{counts['FIRING']:,}", f"{counts['RESOLVED']:,}", bar))
    yield from aligned([("day", "FIRING", "RESOLVED", ""), *rows])
    newest = raised[-limit:] if limit else []
    if newest:
        yield ""
        yield from aligned(
            (iso_millis(each.received_ms), each.alert["status"], each.alert["account_key"], each.alert["summary"])
            for each in reversed(newest)
        )

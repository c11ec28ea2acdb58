"""`python -m bench`: everything side by side, one run, one machine."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click

from bench.peers.environment import set_up
from bench.report import table, write_reports
from bench.run import machine, run_sections
from bench.sections import SECTIONS, Plan
from broker_events.devstack.artifacts import StackError
from broker_events.devstack.stack import Stack

EVENTS: Final = 375_000  # 300,000 of them after the warm-up
QUICK_EVENTS: Final = 80_000
QUICK_SECTIONS: Final = ("router", "projector", "bridge", "latency_ms", "state")
ROUNDS: Final = 3
# What a section has deleted leaves the disk before the next one is measured, not a minute later.
BROKER: Final = {"log.segment.delete.delay.ms": 1000}


def _sections(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    for name in names:
        if name not in SECTIONS:
            raise click.BadParameter(f"{name}: there is no such section; there are {', '.join(SECTIONS)}")
    return names


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--quick", is_flag=True, help="Two minutes: fewer events, one round, without the slow peers; a look, no result."
)
@click.option("--only", "sections", callback=_sections, help=f"Of: {', '.join(SECTIONS)}.")
@click.option("--contenders", help="Of the throughput sections, only these, comma separated.")
@click.option("--events", type=click.IntRange(min=10_000), help=f"A contender and round.  [default: {EVENTS:,}]")
@click.option("--rounds", type=click.IntRange(min=1), help=f"[default: {ROUNDS}]")
@click.option("--long", "long_", is_flag=True, help="Also the router's memory over 10 million events.")
@click.option("--add", is_flag=True, help="Keep the sections of the last results that this run leaves out.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="[default: bench/, and the runbook's table with it; nothing is written with --quick]",
)
def command(
    *,
    quick: bool,
    sections: tuple[str, ...],
    contenders: str | None,
    events: int | None,
    rounds: int | None,
    long_: bool,
    add: bool,
    output: Path | None,
) -> None:
    """Measure our workers, what a plain one could do at most, and the same work by others on the embedded broker.

    Writes results.json, results.md and results.png into --output (bench/).
    """
    plan = Plan(
        events=events or (QUICK_EVENTS if quick else EVENTS),
        rounds=rounds or (1 if quick else ROUNDS),
        quick=quick,
        contenders=frozenset(contenders.split(",")) if contenders else None,
    )
    whole = tuple(name for name in SECTIONS if name != "memory" or long_)
    names = sections or (QUICK_SECTIONS if quick else whole)
    folder = output or Path(__file__).parent
    if add:
        _check_same_conditions(folder / "results.json", plan)
    began = time.monotonic()

    def progress(line: str) -> None:
        click.echo(f"{time.monotonic() - began:6.0f} s  {line}", err=True)

    for chatty in (
        "librdkafka",
        "broker_events.runtime.process.retry",
    ):  # what both say while a new topic gets its leader
        logging.getLogger(chatty).setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        peers = set_up(progress)
        if peers.left_out:
            progress(peers.left_out)
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as scratch,
            Stack(as_server=True, settings=BROKER, progress=progress) as stack,
        ):
            document: dict[str, Any] = run_sections(names, plan, stack, peers, Path(scratch), progress)
    except KeyboardInterrupt:
        progress("interrupted: nothing is written")
        sys.exit(130)
    except StackError as error:
        raise click.ClickException(str(error)) from error
    document["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    document["minutes"] = round((time.monotonic() - began) / 60, 1)
    if add:
        document = _added(document, folder / "results.json")
    if quick and output is None:
        click.echo(table(document))
    else:
        write_reports(document, folder, peers.python)
        click.echo((folder / "results.md").read_text(encoding="utf-8"))
    if document["failed"]:
        raise click.ClickException(f"no result of {', '.join(document['failed'])}: see above")


def _check_same_conditions(last: Path, plan: Plan) -> None:
    """Raise ClickException where the last results are of another machine or plan: one table has one of each."""
    if last.exists():
        before = json.loads(last.read_text(encoding="utf-8"))
        here = machine() | {"events": plan.events, "rounds": plan.rounds}
        there = before["machine"] | before["plan"]
        for name in ("cpu", "cores", "events", "rounds"):
            if here[name] != there[name]:
                raise click.ClickException(
                    f"--add: {name} is {here[name]}, but {there[name]} in {last}; leave it out, or name another output"
                )


def _added(document: dict[str, Any], last: Path) -> dict[str, Any]:
    """The sections of the last results with these in their place; each says when it was measured."""
    before: dict[str, Any] = json.loads(last.read_text(encoding="utf-8")) if last.exists() else {"measured_at": {}}
    return before | document | {"measured_at": before["measured_at"] | document["measured_at"]}

"""`make chaos`: one long run of faults under load, judged event by event."""

from __future__ import annotations

import logging
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from chaos_run import Outcome, Plan, run_chaos  # noqa: E402 (found by the line above)
from faults import FaultKind  # noqa: E402
from violations import Kind, Stage  # noqa: E402

from broker_events.devstack.artifacts import StackError  # noqa: E402

SECONDS_A_FAULT = 10
MAX_RATE = 50_000
EVENTS_A_PARTITION = 40_000  # judged at once, in memory
INTERRUPTED = 130
COUNT = click.IntRange(min=1)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110})
@click.option(
    "--events", envvar="CHAOS_EVENTS", type=COUNT, default=100_000, help="How many events the brokerage pushes."
)
@click.option("--faults", envvar="CHAOS_FAULTS", type=COUNT, default=20, help="How many strike, each kind in turn.")
@click.option("--calm", envvar="CHAOS_CALM", is_flag=True, help="No faults, and events as fast as they come.")
@click.option(
    "--hostile", envvar="CHAOS_HOSTILE", type=click.FloatRange(0, 1), default=0.3, help="Share of hostile events."
)
@click.option("--seed", envvar="CHAOS_SEED", type=int, show_default="a new one", help="Repeats a run's schedule.")
@click.option("--rate", envvar="CHAOS_RATE", type=COUNT, show_default="a fault every 10 s", help="Events a second.")
@click.option("--nodes", envvar="CHAOS_NODES", type=click.Choice(["1", "3"]), default="3", help="Kafka brokers.")
@click.option("--workers", envvar="CHAOS_WORKERS", type=click.IntRange(2, 9), default=3, help="Routers; projectors.")
@click.option(
    "--folder",
    envvar="CHAOS_FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    show_default="a temporary one",
    help="For logs and the journal; kept when something was found.",
)
def main(
    events: int,
    faults: int,
    calm: bool,  # noqa: FBT001 (click passes flags by name)
    hostile: float,
    seed: int | None,
    rate: int | None,
    nodes: str,
    workers: int,
    folder: Path | None,
) -> None:
    """Run the whole pipeline on a real Kafka cluster, strike it with random faults, then compare every event.

    Faults: kill -9 and SIGTERM of workers, workers frozen past their time-outs (and replaced meanwhile), workers scaled
    to one and back, networks cut, slowed and reset, brokers and the registry killed; the push itself disconnects,
    repeats, replays, falls silent and brings poison. Exit code 0: nothing lost, doubled, out of order or changed.

    A share of the events is hostile: texts of every Unicode plane and length, numbers of every size, clocks of the
    years 1 to 9999, other spellings, repeats in other bytes. An oracle of its own says what has to come of each.

    \b
    Examples:
      make chaos
      make chaos CHAOS_EVENTS=3000000 CHAOS_FAULTS=60
      make chaos CHAOS_SEED=4711        what a run with this seed found
      make chaos CHAOS="--calm --hostile 1 --events 1000000 --nodes 1 --workers 2"
    """
    logging.basicConfig(level=logging.WARNING)
    seed = secrets.randbelow(10**6) if seed is None else seed
    plan = Plan(
        events=events,
        faults=[] if calm else [*islice(cycle(FaultKind), faults)],
        seed=seed,
        rate=rate or (MAX_RATE if calm else min(max(events // (faults * SECONDS_A_FAULT), 1), MAX_RATE)),
        nodes=int(nodes),
        routers=workers,
        projectors=workers,
        partitions=max(Plan.partitions, events // EVENTS_A_PARTITION),
        hostile=hostile,
    )
    again = f"make chaos CHAOS_SEED={seed} CHAOS_EVENTS={events} CHAOS_FAULTS={faults} CHAOS_RATE={plan.rate}"
    again += f" CHAOS_NODES={nodes} CHAOS_WORKERS={workers} CHAOS_HOSTILE={hostile}{' CHAOS_CALM=1' if calm else ''}"
    work = Path(tempfile.mkdtemp(prefix="broker-events-chaos-")) if folder is None else folder
    work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - began:6.0f} s  {line}")

    say(f"seed {seed}: {events:,} events at {plan.rate:,} a second, {len(plan.schedule)} faults; logs in {work}")
    outcome, problem = Outcome(), ""
    try:
        run_chaos(plan, work, say, outcome)
    except (AssertionError, StackError, TimeoutError) as error:
        problem = f"{type(error).__name__}: {error}"
    except KeyboardInterrupt:
        say(f"interrupted; logs in {work}")
        sys.exit(INTERRUPTED)
    (work / "faults.txt").write_text("\n".join([again, *map(str, outcome.struck)]), encoding="utf-8")
    _summarise(outcome)
    stops = {name: code for name, (code, _) in outcome.stops.items() if code}
    problem = problem or (f"exit codes at the end: {stops}" if stops else "")
    if problem or not outcome.report.is_clean:
        found = [problem, str(outcome.report), *outcome.writers]
        click.echo("\n".join(found))
        (work / "violations.txt").write_text("\n".join(found), encoding="utf-8")
        click.echo(f"FAILED. Logs, the journal, faults.txt and violations.txt: {work}\nAgain: {again}")
        sys.exit(1)
    if folder is None:
        shutil.rmtree(work, ignore_errors=True)
    say(f"clean. Again: {again}")


def _summarise(outcome: Outcome) -> None:
    struck = Counter(each.fault.kind for each in outcome.struck)
    click.echo("\nfault               struck")
    for kind in FaultKind:
        click.echo(f"{kind:<18}{struck[kind]:>8}")
    click.echo("\nworker      lives   kill -9   asked for a restart   zombies ended")
    for worker in outcome.workers:
        click.echo(
            f"{worker.name:<9}{worker.lives:>8}{worker.kills:>10}{worker.restarts_asked:>22}{worker.zombies:>16}"
        )
    longest = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in outcome.longest.items())
    click.echo(f"\nlongest standstill under load: {longest or 'unknown'}")
    through_s = outcome.load_s + outcome.drain_s
    rate = outcome.report.compared["records of raw"] / max(through_s, 1)
    click.echo(f"{rate:,.0f} events a second from the first start to the last commit")
    click.echo(f"load {outcome.load_s:.0f} s, drained {outcome.drain_s:.0f} s, judged {outcome.judge_s:.0f} s")
    report = outcome.report
    if not report.compared:
        click.echo("not judged")
        return
    click.echo(f"\n{'found':<16}" + "".join(f"{kind:>14}" for kind in Kind))
    for stage in Stage:
        click.echo(f"{stage:<16}" + "".join(f"{report.found(stage, kind):>14,}" for kind in Kind))
    click.echo("\n" + "\n".join(f"{what:<48}{count:>12,}" for what, count in sorted(report.compared.items())))


if __name__ == "__main__":
    main()

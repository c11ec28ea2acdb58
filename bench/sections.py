"""The sections of a run, one function each: what is measured on which topics."""

from __future__ import annotations

import os
import signal
import statistics
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.cluster import Pipeline
from bench.contenders import (
    PROJECTORS,
    ROUTERS,
    Contender,
    own,
    running,
    settings_environment,
)
from bench.corpus import Corpus, draw_corpus
from bench.endurance import memory_over
from bench.ledger import proofs
from bench.measurement import Work, measure
from bench.outputs import ProjectedOutputs, TypedOutputs
from bench.peers.environment import Peers
from bench.push import bridge_rate, push_to_alert
from bench.stages import stage_costs
from bench.state import with_accounts
from bench.throughput import Arena, Progress
from broker_events.devstack.stack import Stack
from broker_events.runtime.settings import load_settings
from broker_events.schemas.catalog import load_catalog

ACCOUNTS: Final = 10_000
PARTITIONS: Final = 8
MANY_PARTITIONS: Final = 48
FEW_ACCOUNTS: Final = 1_000
MANY_ACCOUNTS: Final = 1_000_000
LEDGER_EVENTS: Final = 1_000_000
# On 8 and on 48 partitions: a router that has just started commits more often than it does later.
ROUTER_EVENTS: Final = 1_500_000


@dataclass(frozen=True)
class Plan:
    """How much of everything. `contenders`: the only ones of the throughput sections, None for all."""

    events: int
    rounds: int
    quick: bool
    contenders: frozenset[str] | None


@dataclass
class Bench:
    """What the sections share; the corpus is drawn once, by the registry's ids of the first pipeline."""

    plan: Plan
    stack: Stack
    peers: Peers
    folder: Path
    progress: Progress

    def __post_init__(self) -> None:
        self.catalog = load_catalog()
        self._corpora: dict[int, Corpus] = {}
        self._last: Pipeline

    def pipeline(self, prefix: str, partitions: int = PARTITIONS) -> Pipeline:
        """Topics of a section's own. Every prefix has the same schema ids: the registry knows a schema by its text."""
        settings = load_settings(
            kafka_bootstrap_servers=self.stack.bootstrap_servers,
            schema_registry_url=self.stack.registry_url,
            topic_prefix=prefix,
            partitions=partitions,
        )
        self._last = Pipeline(settings, self.catalog)
        return self._last

    def clear(self) -> None:
        """Delete every topic: what a section leaves behind is no burden on the next one."""
        self._last.delete([topic for topic in self._last.topics_of("") if not topic.startswith("__")])

    def corpus(self, pipeline: Pipeline, accounts: int = ACCOUNTS) -> Corpus:
        if accounts not in self._corpora:
            self.progress(f"drawing {self.plan.events:,} events of {accounts:,} accounts ...")
            self._corpora[accounts] = draw_corpus(self.plan.events, accounts, self.catalog, pipeline.schema_ids)
        return self._corpora[accounts]

    def chosen(self, contenders: Iterable[Contender]) -> list[Contender]:
        return [
            contender
            for contender in contenders
            if (not contender.name.startswith("kafka_streams") or self.peers.streams is not None)
            and (self.plan.contenders is None or contender.name in self.plan.contenders)
            and not (self.plan.quick and contender.slow and self.plan.contenders is None)
        ]


def router(bench: Bench) -> dict[str, Any]:
    """All routers on one raw topic."""
    pipeline = bench.pipeline("router")
    corpus = bench.corpus(pipeline)
    total = pipeline.load_raw(corpus)
    outputs = TypedOutputs(pipeline, corpus)
    arena = Arena("router", pipeline, outputs, total, bench.peers, bench.folder, bench.progress)
    results = arena.compete(bench.chosen(ROUTERS), bench.plan.rounds, warm_up=not bench.plan.quick)
    return {**results.medians(), "details": results.document()}


def projector(bench: Bench) -> dict[str, Any]:
    """All projectors on one set of typed topics."""
    pipeline = bench.pipeline("projector")
    total = pipeline.load_typed(bench.corpus(pipeline))
    outputs = ProjectedOutputs(pipeline)
    arena = Arena("projector", pipeline, outputs, total, bench.peers, bench.folder, bench.progress)
    results = arena.compete(bench.chosen(PROJECTORS), bench.plan.rounds, warm_up=not bench.plan.quick)
    return {**results.medians(), "details": results.document()}


def bridge(bench: Bench) -> dict[str, Any]:
    """The bridge alone, round by round."""
    rates: list[float] = []
    cpu: list[float] = []
    for number in range(1, bench.plan.rounds + 1):
        pipeline = bench.pipeline(f"bridge-{number}")
        rate, cpu_us = bridge_rate(pipeline, bench.plan.events, ACCOUNTS, bench.folder)
        rates.append(rate)
        cpu.append(cpu_us)
        bench.progress(f"bridge    ours             {rate:9,.0f} /s  {cpu_us:6.1f} us CPU")
    return {
        "ours": round(statistics.median(rates)),
        "cpu_us_per_record": round(statistics.median(cpu), 2),
        "runs": [round(rate) for rate in rates],
    }


def latency_ms(bench: Bench) -> dict[str, Any]:
    """Push to alert at 1,000 events/s, everything running on this machine, the simulator and the broker as well.

    A first round, in which the broker compiles what small transactions need, doesn't count; a quick run has none.
    """
    counting = bench.plan.rounds
    rounds_s = [12] * counting if bench.plan.quick else [100] + [40] * counting
    runs: list[dict[str, Any]] = []
    for number, seconds in enumerate(rounds_s):
        pipeline = bench.pipeline(f"latency-{number}")
        runs.append(push_to_alert(pipeline, 1000, seconds, ACCOUNTS, bench.folder, bench.progress))
        bench.clear()
    counted = runs[-counting:]
    medians = {name: round(statistics.median(run[name] for run in counted), 1) for name in ("p50", "p90", "p99")}
    return {"events_per_second": 1000, **medians, "max": max(run["max"] for run in counted), "runs": counted}


def state(bench: Bench) -> dict[str, Any]:
    """A projector with many accounts in state beside one with a thousand, in turns; the ratio is the rounds' median."""
    sizes = {"few": FEW_ACCOUNTS, "many": MANY_ACCOUNTS // 10 if bench.plan.quick else MANY_ACCOUNTS}
    rounds: list[dict[str, dict[str, Any]]] = []
    for number in range(bench.plan.rounds):
        found = {}
        for name, accounts in sizes.items():
            pipeline = bench.pipeline(f"state-{accounts}-{number}")
            corpus = bench.corpus(pipeline, accounts)
            found[name] = with_accounts(pipeline, corpus, bench.peers, bench.folder, bench.progress)
            bench.clear()
        rounds.append(found)
    few, many = (_medians([each[name] for each in rounds]) for name in sizes)
    grown = many["memory_bytes"] - few["memory_bytes"]
    ratios = [each["many"]["records_per_second"] / each["few"]["records_per_second"] for each in rounds]
    return {
        "few": few,
        "many": many | {"restored_per_second": round(many["restored"] / many["restore_s"])},
        "memory_bytes_per_account": round(grown / (many["restored"] - few["restored"])),
        "throughput_many_to_few": round(statistics.median(ratios), 3),
        "runs": rounds,
    }


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def partitions(bench: Bench) -> dict[str, Any]:
    """Ours on 8 and on 48 partitions, in turns; a first round, in which the broker meets new topics, doesn't count.

    The router has more events than elsewhere, or its run would be over before its commits are as rare as they get.
    """
    apps = {"router": own("router"), "projector": own("projector")}
    rates: dict[str, dict[str, list[float]]] = {app: {} for app in apps}
    for app, contender in apps.items():
        pipelines = {count: bench.pipeline(f"{app}-on-{count}", count) for count in (PARTITIONS, MANY_PARTITIONS)}
        for pipeline in pipelines.values():
            corpus = bench.corpus(pipeline)
            routes = app == "router"
            total = pipeline.load_raw_passes(corpus, ROUTER_EVENTS) if routes else pipeline.load_typed(corpus)
        for number in range(bench.plan.rounds + 1):
            for count, pipeline in pipelines.items():
                if app == "projector":
                    pipeline.recreate(("state.accounts", "state.movements"))
                with running(contender, app, pipeline, bench.peers, bench.folder) as (group, work):
                    run = measure(pipeline, group, total, [work])
                if number == 0:
                    continue
                rates[app].setdefault(str(count), []).append(run.records_per_second)
                bench.progress(f"{app:9} {count:2} partitions    {run.records_per_second:9,.0f} /s")
        bench.clear()
    return {
        app: {count: round(statistics.median(runs)) for count, runs in by_count.items()}
        for app, by_count in rates.items()
    }


def two_workers(bench: Bench) -> dict[str, Any]:
    """Two routers on disjoint partitions, assigned before the events are there and frozen while these are written."""
    pipeline = bench.pipeline("two")
    group, command = pipeline.settings.group("router"), [sys.executable, "-m", "broker_events.cli", "router"]
    with ExitStack() as stack:
        workers = []
        for number in (1, 2):
            variables = settings_environment(
                pipeline.settings, instance_id=f"bench-{number}", session_timeout_ms=60_000
            )
            workers.append(stack.enter_context(Work(f"router-{number}", command, variables, bench.folder)))
        for worker in workers:
            worker.wait_assigned(PARTITIONS // 2)
        corpus = bench.corpus(pipeline)
        for worker in workers:
            os.kill(worker.pid, signal.SIGSTOP)
        total = pipeline.load_raw(corpus)
        for worker in workers:
            os.kill(worker.pid, signal.SIGCONT)
        # From the standing start on: when the one commits, work of the other is done that doesn't count yet.
        run = measure(pipeline, group, total, workers, warm_up_share=0)
    bench.progress(f"router    two workers      {run.records_per_second:9,.0f} /s  {run.cpu_us_per_record:6.1f} us CPU")
    return {"router": round(run.records_per_second), "cpu_us_per_record": round(run.cpu_us_per_record, 2)}


def stages(bench: Bench) -> dict[str, Any]:
    """The pure stages alone."""
    pipeline = bench.pipeline("stages")
    return stage_costs(pipeline, bench.corpus(pipeline))


def ledger(bench: Bench) -> dict[str, Any]:
    """The ledger over a million routed events."""
    pipeline, (broker, *_) = bench.pipeline("ledger"), bench.stack.kafka.pids
    events = bench.plan.events if bench.plan.quick else LEDGER_EVENTS
    corpus = bench.corpus(pipeline)
    return proofs(pipeline, corpus, events, bench.plan.rounds, broker, bench.folder, bench.progress)


def memory(bench: Bench) -> dict[str, Any]:
    """The router's memory over 10 million events and at least five minutes."""
    pipeline = bench.pipeline("long")
    return memory_over(pipeline, bench.corpus(pipeline), 10_000_000, 300.0, bench.folder, bench.progress)


SECTIONS: Final[dict[str, Callable[[Bench], Any]]] = {
    "router": router,
    "projector": projector,
    "bridge": bridge,
    "latency_ms": latency_ms,
    "state": state,
    "partitions": partitions,
    "two_workers": two_workers,
    "stages": stages,
    "ledger": ledger,
    "memory": memory,
}

"""One chaos run: a pipeline of several workers of each kind, struck by a schedule of faults under load, then judged."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

from delivered import judge_deliveries
from faults import Fault, FaultKind, draw, targets_of
from kafka_cluster import KafkaCluster
from network import Network
from pipeline_run import Load, Pipeline, pipeline
from progress import BRIDGE, STAGES, Progress, drain
from strikes import Strikes, Struck
from violations import Report
from workers import Group, Worker
from writers import writers_of

from broker_events.devstack.alert_receiver import AlertReceiver
from broker_events.devstack.stack import Stack

PREFIX = "chaos"
SAY_EVERY_S = 10.0
STALL_LIMIT_S = 150.0
TIMEOUTS = {"session_timeout_ms": 6000, "transaction_timeout_ms": 8000}
PUSH = {"grpc_silence_s": 4, "grpc_connection_limit_wait_s": 2}
DELIVER_KINDS = (FaultKind.KILL, FaultKind.FREEZE, FaultKind.CUT)
MUTE_S = 6  # longer than the bridge puts up with
PUSH_FAULTS_EVERY_S = 200  # each kind of them: streams that soon end again make the bridge wait longer and longer


@dataclass(frozen=True)
class Plan:
    """What one run is; all that it takes to run it again. `rate` in events a second, `hostile` a share from 0 to 1.

    Without `faults` the push has none either, but repeats and malformed events.
    """

    events: int
    faults: Sequence[FaultKind]
    seed: int
    rate: int
    nodes: int = 3
    routers: int = 3
    projectors: int = 3
    delivers: int = 2
    partitions: int = 12
    hostile: float = 0.3

    @property
    def schedule(self) -> list[Fault]:
        routers, projectors = self.names("r", self.routers), self.names("p", self.projectors)
        faults = draw(self.seed, self.events, self.faults, targets_of(BRIDGE, routers, projectors, self.nodes))
        return sorted([*faults, *self._deliver_faults()])

    def _deliver_faults(self) -> list[Fault]:
        """Those of the deliver workers, beside the others; every fourth of the number of the others."""
        delivers = [(name,) for name in self.names("d", self.delivers)]
        count = len(self.faults) // 4 // len(DELIVER_KINDS) + 1 if self.faults and delivers else 0
        kinds = [kind for kind in DELIVER_KINDS for _ in range(max(count, len(delivers)))] if count else []
        return draw(self.seed, self.events, kinds, dict.fromkeys(DELIVER_KINDS, delivers))

    @staticmethod
    def names(kind: str, count: int) -> list[str]:
        return [f"{kind}{number}" for number in range(count)]

    @property
    def load(self) -> Load:
        """The broker's own faults among the events: poison, repeats, replays, streams that end or are mute."""
        rounds = max(self.events // self.rate // PUSH_FAULTS_EVERY_S, 1) if self.faults else 0
        every = self.events // max(rounds, 1)
        faults = ["malformed=0.01", "duplicate:2=0.002"]
        if rounds:
            faults.append(f"replay:{min(every // 10, 20_000)}=/{every // 3}")
        ends = {"disconnect": 0.1, "end": 0.25, "expired": 0.4, "exhausted": 0.55, f"silence:{MUTE_S}s": 0.7}
        faults += [f"{kind}=@{int((at + share) * every)}" for at in range(rounds) for kind, share in ends.items()]
        accounts = max(300, self.events // 300)
        return Load(self.events, self.rate, self.seed, accounts, faults, self.hostile)


@dataclass
class Outcome:
    """What came of it.

    Each stage's `longest` standstill under load in seconds; exit code and seconds of each worker's stop at the end; the
    `writers` of what is wrong.
    """

    struck: list[Struck] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    longest: dict[str, float] = field(default_factory=dict)
    load_s: float = 0.0
    drain_s: float = 0.0
    judge_s: float = 0.0
    stops: dict[str, tuple[int, float]] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    writers: list[str] = field(default_factory=list)


def run_chaos(plan: Plan, folder: Path, say: Callable[[str], None], outcome: Outcome) -> None:
    """Run it to its end; fills `outcome` as it goes. Raises AssertionError where the pipeline doesn't come through."""
    with Network() as network, Stack(nodes=plan.nodes, advertised=network.relay, progress=say) as stack:
        url = urlsplit(stack.registry_url)
        relayed = url._replace(netloc=f"{url.hostname}:{network.relay(url.port or 0, 'registry')}").geturl()
        cluster = KafkaCluster(stack.bootstrap_servers, relayed)
        settings = TIMEOUTS | PUSH | {"partitions": plan.partitions, "replication_factor": min(plan.nodes, 3)}

        def push(port: int) -> int:
            return network.relay(port, "push")

        with pipeline(cluster, PREFIX, folder, plan.load, push, **settings) as run:
            outcome.workers = [run.bridge()]
            outcome.workers += [run.router(name) for name in plan.names("r", plan.routers)]
            outcome.workers += [run.projector(name) for name in plan.names("p", plan.projectors)]
            receiver = AlertReceiver(folder, folder / "requests.ndjson")
            receivers = receiver.start()
            outcome.workers += [run.deliver(name, receivers) for name in plan.names("d", plan.delivers)]
            with Group(outcome.workers) as group, Progress(run) as progress:
                strikes = Strikes(run, group, network, stack)
                outcome.struck = strikes.struck
                watch = _Watch(run, plan, strikes, progress, say)
                group.tend()
                began = time.monotonic()
                strikes.run(plan.schedule, watch.told, watch)
                outcome.load_s = time.monotonic() - began
                outcome.drain_s = drain(run, group, watch=watch, limit_s=float("inf"))
                outcome.longest = dict(progress.longest)
                outcome.stops = group.stop()
            began = time.monotonic()
            receiver.stop()
            outcome.report = run.judge(say, processes=os.cpu_count() or 1)
            outcome.report.merge(judge_deliveries(run.settings, folder / "requests.ndjson", receiver.secret))
            outcome.judge_s = time.monotonic() - began
            folders = [log.parent / "data" for log in stack.kafka.logs]
            details = chain.from_iterable(outcome.report.details.values())
            outcome.writers = [*writers_of(details, PREFIX, folders, run.clients)]


class _Watch:
    """Says every few seconds how far it is, and ends the run when nothing moves any more."""

    def __init__(
        self, run: Pipeline, plan: Plan, strikes: Strikes, progress: Progress, say: Callable[[str], None]
    ) -> None:
        self._run = run
        self._plan = plan
        self._strikes = strikes
        self._progress = progress
        self._say = say
        self._due_at = 0.0

    def told(self) -> int:
        events: int = self._run.report["log"]["events"]
        return events

    def __call__(self) -> None:
        still_s = self._progress.still_s
        assert still_s < STALL_LIMIT_S, f"no stage has committed anything for {still_s:.0f} s"
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + SAY_EVERY_S
        report = self._run.report
        stages = self._progress.stages
        left = ", ".join(f"{stage} {stages[stage].left:,} behind" for stage in STAGES[1:] if stage in stages)
        now = "; ".join(map(str, self._strikes.active)) or "none"
        struck = f"fault {len(self._strikes.struck)} of {len(self._plan.schedule)}"
        self._say(
            f"told {report['log']['events']:,} of {self._plan.events:,}, pushed {report['pushed']['pushed_events']:,}"
            f"{', ' + left if left else ''}; {struck}, now: {now}"
        )

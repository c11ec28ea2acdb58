"""Carries out a schedule of faults on a running pipeline, and keeps its workers alive meanwhile."""

from __future__ import annotations

import logging
import math
import resource
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from random import Random
from signal import SIGKILL, SIGSTOP, SIGTERM

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from faults import Fault, FaultKind
from network import Network
from pipeline_run import Pipeline
from progress import BRIDGE, ConsumerGroup
from stores import damage, exchange, put_back
from workers import POLL_S, Group, cli

from broker_events.devstack.stack import Stack

log = logging.getLogger(__name__)

SLOW_S = 0.1  # and the same back
_NETWORK = (FaultKind.CUT, FaultKind.SLOW, FaultKind.RESET)
_STRIKES_WORKERS = (
    *(FaultKind.KILL, FaultKind.TERMINATE, FaultKind.FREEZE, FaultKind.REPLACE, FaultKind.SCALE),
    *(FaultKind.CLOCK, FaultKind.OFFSETS, FaultKind.STORES),
)
JUMP_S = 3 * 3600
LINGERS_S = 3.0  # until it has compared its right clock
FULL = 0  # bytes that a file may have
TRIES = 30


@dataclass
class Struck:
    """A fault that has struck, and when; `ended` is None while it lasts."""

    fault: Fault
    began: datetime
    ended: datetime | None = None

    def __str__(self) -> str:
        ended = self.ended and f"{self.ended:%H:%M:%S.%f}"
        return f"{self.began:%H:%M:%S.%f} to {ended}: {self.fault}, due after event {self.fault.after_events}"


class Strikes:
    """`struck` tells what has happened so far, `active` what is happening now."""

    def __init__(self, run: Pipeline, group: Group, network: Network, stack: Stack) -> None:
        self.struck: list[Struck] = []
        self._run = run
        self._group = group
        self._network = network
        self._stack = stack
        self._under_way: list[tuple[Struck, Iterator[None]]] = []
        self._background = ThreadPoolExecutor(2, thread_name_prefix="strikes")
        self._ways: dict[FaultKind, Callable[[Fault], Iterator[None]]] = {
            FaultKind.KILL: self._kill,
            FaultKind.TERMINATE: self._terminate,
            FaultKind.SCALE: self._terminate,
            FaultKind.FREEZE: self._freeze,
            FaultKind.REPLACE: self._replace,
            FaultKind.CUT: self._cut,
            FaultKind.SLOW: self._slow,
            FaultKind.RESET: self._reset,
            FaultKind.BROKER: self._kill_broker,
            FaultKind.REGISTRY: self._kill_registry,
            FaultKind.DISK: self._fill_disk,
            FaultKind.CLOCK: self._jump,
            FaultKind.OFFSETS: self._reset_offsets,
            FaultKind.STORES: self._upset_stores,
        }

    @property
    def active(self) -> list[Fault]:
        return [struck.fault for struck, _ in self._under_way]

    def run(self, faults: Sequence[Fault], told: Callable[[], int], watch: Callable[[], None]) -> None:
        """Return when every fault has struck and is over. `told`: how many events the broker has told so far.

        A fault whose target is down, or struck by one of the same sort, waits until it isn't.
        """
        waiting = list(faults)
        while waiting or self._under_way:
            self._group.tend()
            watch()
            events = told()
            for fault in [each for each in waiting if each.after_events <= events]:
                if self._can_strike(fault):  # one that began just now may have taken its place
                    waiting.remove(fault)
                    self._begin(fault)
            self._go_on()
            time.sleep(POLL_S)

    def _can_strike(self, fault: Fault) -> bool:
        if any(_place(fault) & _place(other) for other in self.active):
            return False
        workers = [self._group.workers[name] for name in fault.targets] if fault.kind in _STRIKES_WORKERS else []
        if fault.kind is FaultKind.REPLACE and not workers[0].is_ready:
            return False  # one that is frozen while it starts wakes up as the newer one, and fences its replacement
        return all(worker.is_up for worker in workers)

    def _begin(self, fault: Fault) -> None:
        struck = Struck(fault, datetime.now(UTC))
        self.struck.append(struck)
        self._under_way.append((struck, self._ways[fault.kind](fault)))
        log.info("%s", fault)

    def _go_on(self) -> None:
        for each in [*self._under_way]:
            struck, way = each
            try:
                next(way)
            except StopIteration:
                struck.ended = datetime.now(UTC)
                self._under_way.remove(each)

    # -- each yields until it is over

    def _kill(self, fault: Fault) -> Iterator[None]:
        worker = self._group.workers[fault.targets[0]]
        worker.signal(SIGKILL)
        worker.start_at = time.monotonic() + fault.seconds
        yield from _pause(fault)

    def _terminate(self, fault: Fault) -> Iterator[None]:
        for worker in (self._group.workers[name] for name in fault.targets):
            worker.signal(SIGTERM)
            worker.start_at = time.monotonic() + fault.seconds
        yield from _pause(fault)

    def _freeze(self, fault: Fault) -> Iterator[None]:
        worker = self._group.workers[fault.targets[0]]
        worker.signal(SIGSTOP)
        yield from _pause(fault)
        worker.wake()

    def _replace(self, fault: Fault) -> Iterator[None]:
        worker = self._group.workers[fault.targets[0]]
        worker.signal(SIGSTOP)
        worker.replace()
        yield from _pause(fault)
        worker.wake()

    def _cut(self, fault: Fault) -> Iterator[None]:
        self._network.cut(fault.targets[0])
        yield from _pause(fault)
        self._network.mend(fault.targets[0])

    def _slow(self, fault: Fault) -> Iterator[None]:
        self._network.slow(fault.targets[0], SLOW_S)
        yield from _pause(fault)
        self._network.mend(fault.targets[0])

    def _reset(self, fault: Fault) -> Iterator[None]:
        self._network.reset(fault.targets[0])
        yield from ()

    def _kill_broker(self, fault: Fault) -> Iterator[None]:
        node, kafka = int(fault.targets[0]), self._stack.kafka
        yield from self._in_background(lambda: kafka.kill(node))
        yield from _pause(fault)
        yield from self._in_background(lambda: kafka.restart(node))

    def _kill_registry(self, fault: Fault) -> Iterator[None]:
        yield from self._in_background(self._stack.registry.kill)
        yield from _pause(fault)
        yield from self._in_background(self._stack.registry.restart)

    def _fill_disk(self, fault: Fault) -> Iterator[None]:
        node, kafka = int(fault.targets[0]), self._stack.kafka
        pid = kafka.pids[node]
        assert pid is not None, f"broker {node} is down"
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL, hard))
        yield from _pause(fault)
        yield from self._in_background(lambda: kafka.kill(node))
        yield from self._in_background(lambda: kafka.restart(node))

    def _jump(self, fault: Fault) -> Iterator[None]:
        """Only a bridge ends with it: it stamps the records. Its person sets the clock, then starts it again."""
        worker = self._group.workers[fault.targets[0]]
        worker.excuse = "this machine's clock" if worker.name == BRIDGE else ""
        worker.clock.write_text(str(JUMP_S if int(fault.seconds * 1000) % 2 else -JUMP_S), encoding="utf-8")
        yield from _pause(fault)
        worker.clock.unlink()
        yield from _pause(fault._replace(seconds=LINGERS_S))
        worker.put_right()

    def _reset_offsets(self, fault: Fault) -> Iterator[None]:
        """A worker refuses the offsets and does nothing until a person, who has stopped the others, mends them."""
        workers = [self._group.workers[name] for name in fault.targets]
        offsets = GroupOffsets(self._run, "router" if fault.targets[0].startswith("r") else "projector")
        while not offsets.right:  # a group that has committed nothing yet has nothing to be reset
            yield from self._in_background(partial(insist, offsets.look))
        for worker in workers:
            worker.signal(SIGTERM)
            worker.start_at = math.inf
        while any(worker.is_running for worker in workers):
            yield
        yield from self._in_background(partial(insist, offsets.halve))
        workers[0].excuse = "committed by no worker"
        workers[0].start_at = 0.0
        while not workers[0].waits:
            yield
        yield from self._in_background(partial(insist, offsets.accept))
        for worker in workers:
            worker.put_right()

    def _upset_stores(self, fault: Fault) -> Iterator[None]:
        """Each time the first one gets an old copy, the second a damaged folder, after all have been exchanged."""
        workers = [self._group.workers[name] for name in fault.targets]
        for worker in workers:
            worker.signal(SIGKILL)
            worker.start_at = math.inf
        folders = [worker.state for worker in workers if worker.state.exists()]
        if len(folders) > 1:
            exchange(folders)
            put_back(folders[0])
            damage(folders[1], Random(fault.after_events))  # noqa: S311 (reproducible on purpose)
        for worker in workers:
            worker.start_at = time.monotonic() + fault.seconds
        yield from _pause(fault)

    def _in_background(self, work: Callable[[], None]) -> Iterator[None]:
        done = self._background.submit(work)
        while not done.done():
            yield
        done.result()


def _pause(fault: Fault) -> Iterator[None]:
    over_at = time.monotonic() + fault.seconds
    while time.monotonic() < over_at:
        yield


class GroupOffsets:
    """What a tool does to the offsets of a group without members, and how a person puts them right."""

    def __init__(self, run: Pipeline, app: str) -> None:
        self._run, self._app = run, app
        self.right: list[TopicPartition] = []
        self._wrong: dict[tuple[str, int], int] = {}

    def look(self) -> None:
        """Note the group's offsets in `right`."""
        with closing(ConsumerGroup(self._run, self._app)) as group:
            self.right = [at for at in group.committed() if at.offset > 0]

    def halve(self) -> None:
        """As kafka-consumer-groups --reset-offsets does. Raises LookupError while a coordinator moves."""
        if not self._wrong:
            self.look()
            self._wrong = {(at.topic, at.partition): at.offset // 2 for at in self.right}
        wrong = [TopicPartition(*place, offset) for place, offset in self._wrong.items()]
        changes = ConsumerGroupTopicPartitions(self._run.settings.group(self._app), wrong)
        admin = AdminClient(self._run.clients)  # a name of its own: without it the future never resolves
        [done] = admin.alter_consumer_group_offsets([changes]).values()
        done.result()
        with closing(ConsumerGroup(self._run, self._app)) as group:
            now = {(at.topic, at.partition): at.offset for at in group.committed()}
        if not self._wrong or any(now.get(place) != offset for place, offset in self._wrong.items()):
            raise LookupError("the reset of the offsets was not applied")

    def accept(self) -> None:
        prefix = self._run.settings.topic("")
        offsets = [f"{at.topic.removeprefix(prefix)}:{at.partition}:{at.offset}" for at in self.right]
        subprocess.run(
            cli("offsets", "accept", self._app, *offsets, "--reason", "chaos"), env=self._run.environment, check=True
        )


def insist(work: Callable[[], None]) -> None:
    """A person tries again while brokers are away or the group still has members."""
    for _ in range(TRIES - 1):
        try:
            return work()
        except (KafkaException, LookupError, subprocess.CalledProcessError) as error:
            log.info("%s", error)
            time.sleep(1)
    return work()


def _place(fault: Fault) -> set[str]:
    """What a fault occupies: two in one place would undo each other, or take away the last but one broker."""
    if fault.kind in (FaultKind.BROKER, FaultKind.DISK):
        return {"brokers"}
    what = "network" if fault.kind in _NETWORK else "process"
    return {f"{what} of {target}" for target in fault.targets}

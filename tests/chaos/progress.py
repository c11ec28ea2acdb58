"""How far a running pipeline has come: what each stage has committed, whether all is through, who stands still."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from expected_events import TYPED_TOPICS
from pipeline_run import Pipeline
from workers import Group

DRAIN_LIMIT_S = 120.0
SAMPLE_S = 1.0
TIMEOUT_S = 5.0
GROUPS = {"router": ("raw",), "projector": tuple(TYPED_TOPICS)}
BRIDGE = "bridge"
STAGES = (BRIDGE, *GROUPS)


def drain(
    run: Pipeline,
    group: Group,
    also_well: tuple[int, ...] = (),
    watch: Callable[[], None] = lambda: None,
    limit_s: float = DRAIN_LIMIT_S,
) -> float:
    """Keep the group alive until all is pushed and processed and every worker is up; how many seconds it took."""
    began = time.monotonic()
    with ExitStack() as stack:
        drained = [*GROUPS, *run.delivering]
        groups = {name: stack.enter_context(closing(ConsumerGroup(run, name))) for name in drained}
        steps: dict[str, Callable[[], object]] = {name: of.unread for name, of in groups.items()}
        steps = {"push": stack.enter_context(closing(_Cursors(run))).behind} | steps
        steps["start"] = lambda: not group.is_ready
        for what, rest in steps.items():
            while left := rest():
                group.tend(also_well)
                watch()
                waited = time.monotonic() - began
                assert waited < limit_s, f"{what} is not through after {waited:.0f} s: {left}\n{group.tails()}"
                time.sleep(0.3)
    return time.monotonic() - began


class _Cursors:
    """How far the bridge has committed."""

    def __init__(self, run: Pipeline) -> None:
        self._run = run
        self._consumer = _consumer(run, "oracle")
        self._consumer.assign([TopicPartition(run.settings.topic("ingest.cursors"), 0, 0)])
        self._positions: dict[str, str] = {}

    def behind(self) -> bool:
        """Whether the bridge has yet to commit the last event of the simulator's log."""
        for message in self._consumer.consume(10_000, 0.2):
            if message.error() is None and message.value() is not None:
                self._positions[(message.key() or b"").decode()] = json.loads(message.value() or b"")["position"]
        told = self._run.report["log"]
        last = {f"grpc/{name}": of["last_position"] for name, of in told["by_event_type"].items() if of["events"]}
        return not told["complete"] or last != self._positions

    def close(self) -> None:
        self._consumer.close()


class ConsumerGroup:
    """How far the workers of one app have committed."""

    def __init__(self, run: Pipeline, app: str) -> None:
        partitions = range(run.settings.partitions)
        topics = GROUPS.get(app, ("alerts",))
        self.places = [TopicPartition(run.settings.topic(topic), n) for topic in topics for n in partitions]
        self._consumer = _consumer(run, app)
        # Under load some offsets are always pending; a read_committed consumer would wait for them.
        self._offsets = _consumer(run, app, "read_uncommitted")

    def committed(self) -> list[TopicPartition]:
        """Offsets, negative where none is committed yet. Raises KafkaException."""
        return self._offsets.committed(self.places, TIMEOUT_S)

    def unread(self) -> set[str]:
        """Partitions that may have records after the group's committed offset, not just markers of transactions."""
        try:
            committed = self.committed()
        except KafkaException as error:
            return {str(error)}
        self._consumer.assign([TopicPartition(at.topic, at.partition, max(at.offset, 0)) for at in committed])
        left = {(at.topic, at.partition): f"{at.topic}[{at.partition}]@{at.offset}" for at in committed}
        deadline = time.monotonic() + TIMEOUT_S
        while left and time.monotonic() < deadline:
            for message in self._consumer.consume(1000, 0.2):
                at_end = message.error()
                if at_end is None:
                    return {*left.values()}
                if at_end.code() == KafkaError._PARTITION_EOF:
                    left.pop((str(message.topic()), message.partition() or 0), None)
        return {*left.values()}

    def close(self) -> None:
        self._offsets.close()
        self._consumer.close()


def _consumer(run: Pipeline, group: str, isolation: str = "read_committed") -> Consumer:
    more = {"group.id": run.settings.group(group), "isolation.level": isolation, "enable.auto.commit": False}
    return Consumer(run.clients | more | {"enable.partition.eof": True, "auto.offset.reset": "earliest"})


class Stage(NamedTuple):
    """`offset` is the sum of what it has committed, `left` of what is after that; both count transaction markers."""

    offset: int
    left: int


@dataclass
class Progress:
    """Looks once a second, in a thread of its own, so that a broker that is away holds nobody up. A context manager.

    `longest`: for how many seconds each stage has committed nothing, at the most, while the broker was telling events.
    """

    run: Pipeline
    stages: Mapping[str, Stage] = field(default_factory=dict)
    longest: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    _moved_at: dict[str, float] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def still_s(self) -> float:
        """For how many seconds no stage at all has committed anything."""
        return time.monotonic() - max(self._moved_at.values(), default=time.monotonic())

    def _look(self) -> None:
        with ExitStack() as stack:
            groups = {app: stack.enter_context(closing(ConsumerGroup(self.run, app))) for app in GROUPS}
            while not self._over.wait(SAMPLE_S):
                try:
                    self._sample(groups)
                except (KafkaException, TimeoutError):
                    continue  # a broker is away: what is not seen to move stands still

    def _sample(self, groups: Mapping[str, ConsumerGroup]) -> None:
        stages = {}
        for app, group in groups.items():
            committed = sum(max(at.offset, 0) for at in group.committed())
            stages[app] = Stage(committed, self._end(group.places) - committed)
        stages[BRIDGE] = Stage(sum(stages["router"]), 0)
        now, telling = time.monotonic(), not self.run.report["log"]["complete"]
        for name, stage in stages.items():
            before = self.stages.get(name)
            since = self._moved_at.setdefault(name, now)
            if telling:
                self.longest[name] = max(self.longest[name], now - since)
            if before is None or stage.offset != before.offset:
                self._moved_at[name] = now
        self.stages = stages

    def _end(self, places: Iterable[TopicPartition]) -> int:
        """Sum of the offsets up to which committed records can be read."""
        admin = AdminClient(self.run.clients)  # a new one each time: it would go on asking the leader it knew first
        wanted: dict[Any, Any] = {place: OffsetSpec.latest() for place in places}
        futures = admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT_S)
        return sum(future.result(2 * TIMEOUT_S).offset for future in futures.values())

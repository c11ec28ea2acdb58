"""The whole pipeline in one command: started in order, watched, ended in order, and summed up."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker_events.devstack.artifacts import StackError
from broker_events.devstack.balance import broken
from broker_events.devstack.interrupts import Background, Interrupted, Interrupts
from broker_events.devstack.java import free_ports
from broker_events.devstack.observer import Observer
from broker_events.devstack.pipeline import Part, State, environment
from broker_events.devstack.preparation import exports, prepare_configured, prepare_embedded
from broker_events.devstack.run_snapshot import Display, RunSnapshot
from broker_events.devstack.sources import Files, RealPush, SimulatedPush, Source, Traffic
from broker_events.devstack.stack import Stack
from broker_events.devstack.summary import Timing
from broker_events.devstack.watcher import Watcher
from broker_events.runtime.process.errors import PipelineError
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import load_catalog

TICK_S: Final = 0.2
READY_LIMIT_S: Final = 60.0
# How long after the last event everything may take to arrive: a killed worker's session and transaction included.
BALANCE_LIMIT_S: Final = 30.0
SETTLED_S: Final = 0.7
WAITING: Final = "waiting for the balance"
# A killed worker's partitions go to its successor after this; the default is for busier machines.
SESSION_TIMEOUT_MS: Final = 6000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What to run. `folder` takes logs; `seconds`: how long events may flow, None: until asked to end."""

    settings: Settings
    embedded: bool
    folder: Path
    traffic: Traffic
    files: tuple[Path, ...]
    seconds: float | None
    started: float  # monotonic


@dataclass(slots=True)
class RunResult:
    """What became of a run. `interrupted`: it ended before events could flow, or before they could be followed."""

    picture: RunSnapshot | None = None
    timing: Timing = field(default_factory=lambda: Timing(first_typed_s=None, flowed_s=0.0))
    restarts: dict[str, int] = field(default_factory=dict)
    error: Exception | None = None
    interrupted: bool = False


class FullRun:
    """One run, from nothing to nothing."""

    def __init__(self, plan: RunPlan, display: Display) -> None:
        self._plan = plan
        self._display = display
        self._catalog = load_catalog()
        self._stack = Stack(progress=display.say) if plan.embedded else None
        self._source: Source | None = None
        self._workers: list[Part] = []
        self._observer: Observer | None = None
        self._phase = "running"
        self._flow_began: float | None = None
        self._flow_ended: float | None = None
        self._hurried = False

    def run(self) -> RunResult:
        """Run to the end; every process has ended and the display is closed when this returns."""
        outcome = RunResult()
        with Interrupts(self._hurry) as interrupts:
            try:
                observer, source = self._start(interrupts)
                self._flow(observer, source, interrupts)
                self._drain(observer, source)
            except Interrupted:
                outcome.interrupted = True
            except (PipelineError, StackError, OSError) as error:
                outcome.error = error
            finally:
                if self._observer is not None:
                    outcome.picture = self._picture(self._observer)
                    outcome.timing = self._timing(self._observer)
                outcome.restarts = {part.name: part.restarts for part in self._parts}
                self._display.close()
                self._stop()
        return outcome

    @property
    def _parts(self) -> tuple[Part, ...]:
        return (*(() if self._source is None else self._source.parts), *self._workers)

    def _start(self, interrupts: Interrupts) -> tuple[Observer, Source]:
        """Start everything; the bridge last, so that no event waits for a part that isn't there yet."""
        plan, say = self._plan, self._display.say
        settings = plan.settings
        say(f"logs in {plan.folder}")
        if self._stack is None:
            prepare_configured(settings, self._catalog, say, interrupts)
        else:
            settings = prepare_embedded(self._stack, self._catalog, say, interrupts, bare=False)
            say("\n".join(("in another terminal:", *exports(settings))))
        shared = self._shared(settings)
        self._exports = exports(settings)
        self._workers = [
            Part(name, [name], environment({**shared, "http_port": port}), plan.folder, http_port=port)
            for name, port in zip(("router", "projector"), free_ports(2), strict=True)
        ]
        self._source = source = self._choose_source(shared)
        simulators = [part for part in source.parts if part is not source.bridge]
        for part in (*self._workers, *simulators):
            part.start()
        watcher = Background(lambda: Watcher(settings, self._catalog)).result(interrupts, self._supervise)
        topics = {biz_type: contract.topics[0].name for biz_type, contract in self._catalog.events.items()}
        self._observer = observer = Observer(source, self._workers, watcher, self._stack, topics)
        deadline = time.monotonic() + READY_LIMIT_S
        while not (all(map(observer.is_ready, self._workers)) and source.is_listening):
            if interrupts.count:
                raise Interrupted
            if time.monotonic() > deadline:
                raise PipelineError(f"router and projector are not ready after {READY_LIMIT_S:g} s")
            self._supervise()
            time.sleep(TICK_S)
        say("router and projector are ready")
        source.bridge.start()
        return observer, source

    def _choose_source(self, shared: dict[str, object]) -> Source:
        if self._plan.files:
            return Files(self._plan.files, shared, self._plan.folder)
        if self._plan.settings.grpc_target is not None:
            return RealPush(shared, self._plan.folder)
        return SimulatedPush(self._plan.traffic, shared, self._plan.folder)

    def _shared(self, settings: Settings) -> dict[str, object]:
        """Settings that the processes have beside what they read from environment and file themselves."""
        shared: dict[str, object] = {"http_host": "127.0.0.1"}
        if self._stack is not None:
            shared["kafka_bootstrap_servers"] = settings.kafka_bootstrap_servers
            shared["schema_registry_url"] = settings.schema_registry_url
            if "session_timeout_ms" not in settings.model_fields_set:
                shared["session_timeout_ms"] = SESSION_TIMEOUT_MS
        return shared

    def _flow(self, observer: Observer, source: Source, interrupts: Interrupts) -> None:
        """Let events flow until a signal, the end of the files, or of the time."""
        waited_since = time.monotonic()
        while not interrupts.count and source.bridge.state is not State.FINISHED:
            picture = self._tick(observer)
            now = time.monotonic()
            if self._flow_began is None and picture.seen.raw:
                self._flow_began = now
            since = self._flow_began or waited_since + READY_LIMIT_S
            if self._plan.seconds is not None and now - since >= self._plan.seconds:
                return
        if interrupts.count and self._flow_began is None:
            raise Interrupted

    def _drain(self, observer: Observer, source: Source) -> None:
        """End the source and wait until what it gave has come through everything."""
        self._phase = "ending"
        if isinstance(source, SimulatedPush):
            source.simulator.terminate()
            while not source.simulator.has_ended:
                self._tick(observer)
        elif source.bridge.state is not State.FINISHED:
            source.bridge.stop()
        self._flow_ended = time.monotonic()
        self._phase = WAITING
        settled_since: float | None = None
        last = None
        while time.monotonic() - self._flow_ended < BALANCE_LIMIT_S:
            numbers = self._tick(observer).numbers
            still_open = [check.text for check in broken(numbers)]
            self._phase = f"{WAITING} ({'; '.join(still_open)})" if still_open else WAITING
            if still_open or numbers != last:
                settled_since, last = time.monotonic(), numbers
            elif settled_since is not None and time.monotonic() - settled_since >= SETTLED_S:
                break
        self._phase = "balanced" if last is not None and not broken(last) else "not balanced"

    def _tick(self, observer: Observer) -> RunSnapshot:
        time.sleep(TICK_S)
        self._supervise()
        problem = observer.problem()
        if problem is not None:
            raise PipelineError(problem)
        picture = self._picture(observer)
        self._display.show(picture)
        return picture

    def _supervise(self) -> None:
        """Look after the processes; Interrupted when they have been killed in a hurry."""
        if self._hurried:
            raise Interrupted
        for part in self._parts:
            part.supervise()

    def _picture(self, observer: Observer) -> RunSnapshot:
        elapsed_s = time.monotonic() - self._plan.started
        return observer.picture(elapsed_s=elapsed_s, phase=self._phase, folder=self._plan.folder, exports=self._exports)

    def _timing(self, observer: Observer) -> Timing:
        typed_at = observer.first_typed_at()
        flowed_s = 0.0 if self._flow_began is None else (self._flow_ended or time.monotonic()) - self._flow_began
        return Timing(first_typed_s=None if typed_at is None else typed_at - self._plan.started, flowed_s=flowed_s)

    def _stop(self) -> None:
        """End what still runs, in the order of the data flow."""
        for part in self._parts:
            part.stop()
        if self._observer is not None:
            self._observer.stop()
        if self._stack is not None:
            self._stack.stop()

    def _hurry(self) -> None:
        self._hurried = True
        for part in self._parts:
            part.hurry()
        if self._stack is not None:
            self._stack.kill()

"""Run the whole pipeline: start it in order, watch it, and stop it in order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker_events.devstack.alert_receiver import AlertReceiver
from broker_events.devstack.artifacts import StackError
from broker_events.devstack.balance import broken
from broker_events.devstack.interrupts import Background, Interrupted, Interrupts
from broker_events.devstack.java import free_ports
from broker_events.devstack.lake_fill import LakeFill
from broker_events.devstack.line_view import LineView
from broker_events.devstack.observer import Observer
from broker_events.devstack.pipeline import Part, State, environment
from broker_events.devstack.preparation import EMBEDDED, exports, prepare_configured, prepare_embedded
from broker_events.devstack.run_console import RunConsole
from broker_events.devstack.run_snapshot import RunSnapshot
from broker_events.devstack.sources import Source, Traffic, choose_source
from broker_events.devstack.stack import Stack
from broker_events.devstack.watcher import Watcher
from broker_events.processors.alert_rules.load import switched_on
from broker_events.runtime.process.errors import PipelineError
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import load_catalog

TICK_S: Final = 0.2
READY_LIMIT_S: Final = 60.0
# Longest time from the last event to the last output, with the session and transaction timeouts of a killed worker.
BALANCE_LIMIT_S: Final = 30.0
SETTLED_S: Final = 0.7
WAITING: Final = "waiting for the balance"
# Shorter than the default, so that a restarted worker soon gets its partitions back.
SESSION_TIMEOUT_MS: Final = 6000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What to run. Logs go to `folder`. Events flow for `seconds`; None: until a signal.

    `may_simulate`: whether simulated events may be written to the cluster. `lake`: the folder of lake tables to fill.
    `has_console`: whether to serve the console.
    """

    settings: Settings
    embedded: bool
    may_simulate: bool
    folder: Path
    traffic: Traffic
    files: tuple[Path, ...]
    seconds: float | None
    started: float  # monotonic
    lake: Path | None = None
    has_console: bool = True


@dataclass(slots=True)
class RunResult:
    """How a run ended. `interrupted`: a signal ended it before its numbers were complete."""

    snapshot: RunSnapshot | None = None
    error: Exception | None = None
    interrupted: bool = False


class FullRun:
    """One run. It leaves no process behind."""

    def __init__(self, plan: RunPlan, display: LineView) -> None:
        self._plan = plan
        self._display = display
        self._catalog = load_catalog()
        self._stack = Stack(progress=display.say) if plan.embedded else None
        self._receiver = AlertReceiver(plan.folder) if plan.embedded else None
        self._source: Source | None = None
        self._workers: list[Part] = []
        self._lake: LakeFill | None = None
        self._console: Part | None = None
        self._observer: Observer | None = None
        self._phase = "running"
        self._flow_began: float | None = None
        self._flow_ended: float | None = None
        self._hurried = False

    def run(self) -> RunResult:
        """Run to the end; every process has ended and the display is closed when this returns."""
        result = RunResult()
        with Interrupts(self._hurry) as interrupts:
            try:
                observer, source = self._start(interrupts)
                self._flow(observer, source, interrupts)
                self._drain(observer, source)
                if self._lake is not None:
                    self._lake.finish(interrupts)
            except Interrupted:
                result.interrupted = True
            except (PipelineError, StackError, OSError) as error:
                result.error = error
            finally:
                if self._observer is not None:
                    result.snapshot = self._snapshot(self._observer)
                self._display.close()
                self._stop()
        return result

    @property
    def _parts(self) -> tuple[Part, ...]:
        lake = () if self._lake is None else (self._lake.part,)
        console = () if self._console is None else (self._console,)
        return (*(() if self._source is None else self._source.parts), *self._workers, *lake, *console)

    def _start(self, interrupts: Interrupts) -> tuple[Observer, Source]:
        """Start everything, the bridge last: no event waits for a part that is not ready."""
        plan, say = self._plan, self._display.say
        settings = plan.settings
        say(f"logs in {plan.folder}")
        if self._stack is None:
            prepare_configured(settings, self._catalog, say, interrupts)
        else:
            settings = prepare_embedded(self._stack, self._catalog, say, interrupts, bare=False)
            say("\n".join(("in another terminal:", *exports(settings))))
        shared = self._shared(settings)
        self._exports: tuple[str, ...] = exports(settings)
        self._workers = self._make_workers(shared)
        if plan.lake is not None:
            self._lake = LakeFill(plan.lake, shared, plan.folder)
            self._lake.start(say, interrupts)
        traffic = plan.traffic if settings.grpc_target is None else None
        simulated_to = settings.topic_prefix if plan.may_simulate else None
        self._source = source = choose_source(plan.files, traffic, shared, plan.folder, simulated_to)
        for part in (*self._workers, *source.parts):
            if part is not source.bridge:
                part.start()
        watcher = Background(lambda: Watcher(settings, self._catalog)).result(interrupts, self._supervise)
        topics = {biz_type: contract.topics[0].name for biz_type, contract in self._catalog.events.items()}
        self._observer = observer = Observer(
            source, self._workers, watcher, self._stack, self._receiver, topics, switched_on(settings)
        )
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
        self._serve_console(shared)
        return observer, source

    def _make_workers(self, shared: dict[str, object]) -> list[Part]:
        """Return router and projector, and deliver with its receiver; `shared`: settings of every process."""
        names = ["router", "projector"]
        if self._receiver is not None:  # on a configured cluster it would get every alert that the topic holds
            names.append("deliver")
            shared = shared | {"delivery_receivers": self._receiver.start()}
        return [
            Part(name, [name], environment({**shared, "http_port": port}), self._plan.folder, http_port=port)
            for name, port in zip(names, free_ports(len(names)), strict=True)
        ]

    def _shared(self, settings: Settings) -> dict[str, object]:
        """Return the settings of all processes beside what they read by themselves."""
        shared: dict[str, object] = {"http_host": "127.0.0.1"}
        if self._stack is not None:
            shared |= EMBEDDED
            shared |= {name: getattr(settings, name) for name in ("kafka_bootstrap_servers", "schema_registry_url")}
            if "session_timeout_ms" not in settings.model_fields_set:
                shared["session_timeout_ms"] = SESSION_TIMEOUT_MS
        return shared

    def _serve_console(self, shared: dict[str, object]) -> None:
        """Start the console, last: it must not slow the start of the others."""
        if self._plan.has_console:
            console = RunConsole(shared, self._plan.folder)
            self._console = console.part
            self._display.say(f"console: {console.address}")
            self._exports = (*self._exports, f"# console: {console.address}")

    def _flow(self, observer: Observer, source: Source, interrupts: Interrupts) -> None:
        """Wait while events flow: until a signal, the end of the files, or the end of the time."""
        waited_since = time.monotonic()
        while not interrupts.count and source.bridge.state is not State.FINISHED:
            snapshot = self._tick(observer)
            now = time.monotonic()
            if self._flow_began is None and snapshot.numbers.raw:
                self._flow_began = now
            since = self._flow_began or waited_since + READY_LIMIT_S
            if self._plan.seconds is not None and now - since >= self._plan.seconds:
                return
        if interrupts.count and self._flow_began is None:
            raise Interrupted

    def _drain(self, observer: Observer, source: Source) -> None:
        """Stop the source and wait until every stage has processed its events."""
        self._phase = "ending"
        if source.simulator is not None:
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
        snapshot = self._snapshot(observer)
        self._display.show(snapshot)
        return snapshot

    def _supervise(self) -> None:
        """Restart ended processes. Raises Interrupted after a second signal."""
        if self._hurried:
            raise Interrupted
        for part in self._parts:
            part.supervise()

    def _snapshot(self, observer: Observer) -> RunSnapshot:
        return observer.snapshot(
            self._plan.started,
            phase=self._phase,
            folder=self._plan.folder,
            exports=self._exports,
            flowed_s=0.0 if self._flow_began is None else (self._flow_ended or time.monotonic()) - self._flow_began,
        )

    def _stop(self) -> None:
        """Stop what still runs, in the order of the data flow."""
        for part in self._parts:
            part.stop()
        if self._observer is not None:
            self._observer.stop()
        if self._receiver is not None:
            self._receiver.stop()
        if self._stack is not None:
            self._stack.stop()

    def _hurry(self) -> None:
        self._hurried = True
        for part in self._parts:
            part.hurry()
        if self._stack is not None:
            self._stack.kill()

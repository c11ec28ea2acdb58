"""The sources of a run's events: the processes that make and import them."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker_events.devstack.balance import Simulated
from broker_events.devstack.java import free_ports
from broker_events.devstack.pipeline import GRACE_S, Part, environment

_IMPORTED: Final = re.compile(r"INFO +ingest (\d+) events? imported(?:;|$)", re.MULTILINE)
_LISTENING: Final = re.compile(r"^listening on ", re.MULTILINE)
# The bridge's longest wait before it reconnects is 30 s.
PATIENCE_S: Final = 40.0
_APP_KEY: Final = "demo-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Options of the simulator; `faults` as KIND[:ARG]=WHEN."""

    rate: float
    accounts: int
    seed: int
    faults: Sequence[str]


class Source:
    """A bridge on the event push that the settings name."""

    shows_latency = True
    simulator: Part | None = None

    def __init__(
        self,
        shared: Mapping[str, object],
        folder: Path,
        arguments: Sequence[str] = (),
        *,
        simulated_to: str | None = None,
        may_finish: bool = False,
    ) -> None:
        """`shared`: settings of every process, by name. `folder` takes the logs.

        `simulated_to`: topic prefix that the bridge may write simulated events to.
        """
        port = free_ports(1)[0]
        if simulated_to is not None:
            arguments = [*arguments, "--yes-write-simulated-events-to", simulated_to]
        variables = environment({**shared, "http_port": port})
        self.bridge = Part("bridge", ["ingest", *arguments], variables, folder, http_port=port, may_finish=may_finish)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.bridge,) if self.simulator is None else (self.simulator, self.bridge)

    @property
    def is_listening(self) -> bool:
        return self.simulator is None or self.simulator.logged(_LISTENING) is not None

    def simulated(self) -> Simulated | None:
        """Return what the simulator has caused so far; None before its first report, and without a simulator."""
        return None

    def received(self, counted: int) -> tuple[int, bool]:
        """Return the received events from the bridge's counter, and whether the number is exact.

        It is not exact here: the bridge commits its last events after the last scrape of the counter.
        """
        return counted, False


class SimulatedPush(Source):
    """The simulator and a bridge that subscribes to it."""

    def __init__(self, traffic: Traffic, shared: Mapping[str, object], folder: Path, simulated_to: str | None) -> None:
        self._report = folder / "simulator.json"
        port = free_ports(1)[0]
        access = {"app_key": _APP_KEY, "app_secret": secrets.token_hex(16)}
        options = {
            "--port": port,
            "--rate": f"{traffic.rate:g}",
            "--accounts": traffic.accounts,
            "--seed": traffic.seed,
            "--report": self._report,
            "--patience": PATIENCE_S,
        }
        arguments = [str(word) for option in options.items() for word in option]
        arguments += [word for fault in traffic.faults for word in ("--fault", fault)]
        self.simulator = Part(
            "simulator", ["simulate", *arguments], environment(access), folder, grace_s=PATIENCE_S + GRACE_S
        )
        push = {"grpc_target": f"127.0.0.1:{port}", "grpc_tls": False, "grpc_ca_location": None}
        # The name holds the seed: a position of another seed is unknown to this simulator.
        name = ["--name", f"simulator-{traffic.seed}"]
        super().__init__({**shared, **access, **push}, folder, name, simulated_to=simulated_to)

    def simulated(self) -> Simulated | None:
        try:
            return Simulated.from_report(json.loads(self._report.read_bytes()))
        except FileNotFoundError:
            return None

    def received(self, counted: int) -> tuple[int, bool]:
        return counted, self.bridge.restarts == 0


class Files(Source):
    """A bridge that imports NDJSON files and then ends."""

    shows_latency = False

    def __init__(self, files: Sequence[Path], shared: Mapping[str, object], folder: Path) -> None:
        arguments = [word for file in files for word in ("--file", str(file.resolve()))]
        super().__init__(shared, folder, arguments, may_finish=True)

    def received(self, counted: int) -> tuple[int, bool]:
        """The bridge logs the exact number at its end."""
        logged = self.bridge.logged(_IMPORTED)
        return (counted, False) if logged is None else (int(logged[1]), self.bridge.restarts == 0)


def choose_source(
    files: Sequence[Path],
    traffic: Traffic | None,
    shared: Mapping[str, object],
    folder: Path,
    simulated_to: str | None,
) -> Source:
    """Return the source of the files if there are any, of the simulated traffic, or of the configured event push.

    `simulated_to`: see `Source`.
    """
    if files:
        return Files(files, shared, folder)
    if traffic is None:
        return Source(shared, folder, simulated_to=simulated_to)
    return SimulatedPush(traffic, shared, folder, simulated_to)


def new_seed() -> int:
    """Return a seed that no earlier run on the same cluster used: its accounts have no state there."""
    return int(time.time())

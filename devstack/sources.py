"""Where a run's events come from: the processes that make and bring them, and what they say about them."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker_events.devstack.balance import Simulated
from broker_events.devstack.java import free_ports
from broker_events.devstack.pipeline import GRACE_S, Part, environment

_IMPORTED: Final = re.compile(r"INFO +ingest (\d+) events? imported(?:;|$)", re.MULTILINE)
_LISTENING: Final = re.compile(r"^listening on ", re.MULTILINE)
# A bridge that has lost its stream several times comes back after up to 30 s.
PATIENCE_S: Final = 40.0
_APP_KEY: Final = "demo-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the simulator is asked for, as its options say; `faults` as KIND[:ARG]=WHEN."""

    rate: float
    accounts: int
    seed: int
    faults: Sequence[str]


class SimulatedPush:
    """The simulator and a bridge that subscribes to it."""

    shows_latency = True

    def __init__(self, traffic: Traffic, shared: Mapping[str, object], folder: Path) -> None:
        """`shared`: settings of every process, by name."""
        self._report = folder / "simulator.json"
        port = free_ports(1)[0]
        access = {"app_key": _APP_KEY, "app_secret": secrets.token_hex(16)}
        faults = [argument for fault in traffic.faults for argument in ("--fault", fault)]
        options = {
            "--port": port,
            "--rate": f"{traffic.rate:g}",
            "--accounts": traffic.accounts,
            "--seed": traffic.seed,
            "--report": self._report,
            "--patience": PATIENCE_S,
        }
        arguments = [str(part) for option in options.items() for part in option]
        self.simulator = Part(
            "simulator", ["simulate", *arguments, *faults], environment(access), folder, grace_s=PATIENCE_S + GRACE_S
        )
        push = {"grpc_target": f"127.0.0.1:{port}", "grpc_tls": False, "grpc_ca_location": None}
        # A name of its own: positions of another seed mean nothing to this simulator.
        self.bridge = _bridge(["--name", f"simulator-{traffic.seed}"], {**shared, **access, **push}, folder)

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.simulator, self.bridge

    @property
    def is_listening(self) -> bool:
        return self.simulator.logged(_LISTENING) is not None

    def simulated(self) -> Simulated | None:
        """What the simulator has caused so far; None before its first report."""
        try:
            report: dict[str, Any] = json.loads(self._report.read_bytes())
        except FileNotFoundError:
            return None
        return Simulated.from_report(report)

    def received(self, counted: int) -> tuple[int, bool]:
        """Events received and whether that is exact, from what the bridge's counter says."""
        return counted, self.bridge.restarts == 0


class RealPush:
    """A bridge on the broker's event push that the settings name."""

    shows_latency = True

    def __init__(self, shared: Mapping[str, object], folder: Path) -> None:
        self.bridge = _bridge([], shared, folder)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.bridge,)

    @property
    def is_listening(self) -> bool:
        return True

    def simulated(self) -> Simulated | None:
        """Nobody knows what the broker has caused."""
        return None

    def received(self, counted: int) -> tuple[int, bool]:
        """Never exact: what came while the bridge ended was committed after its counter was read last."""
        return counted, False


class Files:
    """A bridge that imports NDJSON files and then ends."""

    shows_latency = False

    def __init__(self, files: Sequence[Path], shared: Mapping[str, object], folder: Path) -> None:
        arguments = [part for file in files for part in ("--file", str(file.resolve()))]
        self.bridge = _bridge(arguments, shared, folder, may_finish=True)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.bridge,)

    @property
    def is_listening(self) -> bool:
        return True

    def simulated(self) -> Simulated | None:
        """Nobody knows what the files should cause."""
        return None

    def received(self, counted: int) -> tuple[int, bool]:
        """Exact when the bridge has said at its end how many it was."""
        said = self.bridge.logged(_IMPORTED)
        return (counted, False) if said is None else (int(said[1]), self.bridge.restarts == 0)


Source = SimulatedPush | RealPush | Files


def new_seed() -> int:
    """A seed that no earlier run on the same cluster has had: its accounts have no state there yet."""
    return int(time.time())


def _bridge(
    arguments: Sequence[str], settings: Mapping[str, object], folder: Path, *, may_finish: bool = False
) -> Part:
    port = free_ports(1)[0]
    variables = environment({**settings, "http_port": port})
    return Part("bridge", ["ingest", *arguments], variables, folder, http_port=port, may_finish=may_finish)

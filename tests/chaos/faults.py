"""What strikes whom when: the same seed gives the same schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import cycle
from random import Random
from typing import NamedTuple


class FaultKind(StrEnum):
    KILL = "kill -9"
    TERMINATE = "SIGTERM"
    FREEZE = "SIGSTOP"  # past the session and the transaction timeout, then SIGCONT
    REPLACE = "zombie"  # the same, but a new process of its name has started meanwhile
    SCALE = "scale to one"  # SIGTERM for all of an app but one; later they come back
    CUT = "network cut"  # nothing is lost or closed, nothing comes through
    SLOW = "network slow"
    RESET = "network reset"
    BROKER = "broker kill -9"
    REGISTRY = "registry kill -9"
    DISK = "full disk"  # of a Kafka broker: no file grows; it is started again when there is room
    CLOCK = "clock jump"  # of one worker's machine, hours ahead or behind
    STORES = "stores"  # kill -9 of all projectors; their state on disk is exchanged, an old copy, or damaged
    OFFSETS = "offsets reset"  # of a whole group, by a tool; a person then accepts the right ones


# How long each lasts, at random in between: until the process or the network is back.
SECONDS = {
    FaultKind.KILL: (0.0, 2.0),
    FaultKind.TERMINATE: (0.0, 2.0),
    FaultKind.FREEZE: (9.0, 12.0),
    FaultKind.REPLACE: (9.0, 12.0),
    FaultKind.SCALE: (5.0, 10.0),
    FaultKind.CUT: (0.5, 12.0),
    FaultKind.SLOW: (3.0, 8.0),
    FaultKind.RESET: (0.0, 0.0),
    FaultKind.BROKER: (0.5, 8.0),
    FaultKind.REGISTRY: (2.0, 10.0),
    FaultKind.DISK: (1.0, 8.0),
    FaultKind.CLOCK: (3.0, 8.0),
    FaultKind.STORES: (0.0, 1.0),
    FaultKind.OFFSETS: (0.0, 0.0),
}
FIRST, LAST = 0.03, 0.95  # in shares of the events


class Fault(NamedTuple):
    """Due when the broker has told `after_events` events; lasts `seconds`. `targets`: workers, links, or a node."""

    after_events: int
    kind: FaultKind
    targets: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        return f"{self.kind} {' '.join(self.targets)} ({self.seconds:.1f} s)"


Targets = Mapping[FaultKind, Sequence[tuple[str, ...]]]


def targets_of(bridge: str, routers: Sequence[str], projectors: Sequence[str], nodes: int) -> Targets:
    """Whom each kind of fault can strike."""
    workers = [(name,) for name in (bridge, *routers, *projectors)]
    links = [*workers, ("push",), ("registry",)]
    return {
        FaultKind.KILL: workers,
        FaultKind.TERMINATE: workers,
        FaultKind.FREEZE: workers,
        FaultKind.REPLACE: workers,
        FaultKind.CLOCK: workers,
        FaultKind.SCALE: [tuple(routers[1:]), tuple(projectors[1:])],
        FaultKind.STORES: [tuple(projectors)],
        FaultKind.OFFSETS: [tuple(routers), tuple(projectors)],
        FaultKind.CUT: links,
        FaultKind.SLOW: links,
        FaultKind.RESET: links,
        FaultKind.BROKER: [(str(node),) for node in range(nodes)],
        FaultKind.DISK: [(str(node),) for node in range(nodes)],
        FaultKind.REGISTRY: [("registry",)],
    }


def draw(seed: int, events: int, kinds: Sequence[FaultKind], targets: Targets) -> list[Fault]:
    """One fault of each of the kinds, at random places among the events; each kind strikes all its targets in turn."""
    rng = Random(seed)  # noqa: S311 (reproducible on purpose)
    turns = {kind: cycle(rng.sample(targets[kind], len(targets[kind]))) for kind in FaultKind if kind in targets}
    faults = [
        Fault(int(rng.uniform(FIRST, LAST) * events), kind, next(turns[kind]), rng.uniform(*SECONDS[kind]))
        for kind in kinds
    ]
    return sorted(faults)

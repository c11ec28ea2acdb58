"""Faults that a user requests: kind and time."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Literal


class FaultKind(StrEnum):
    DISCONNECT = "disconnect"  # the stream ends with UNAVAILABLE, as after a lost connection
    END = "end"  # the stream ends cleanly, status OK
    EXPIRED = "expired"  # a SubscribeExpired message, then a clean end (assumed)
    EXHAUSTED = "exhausted"  # the stream ends with RESOURCE_EXHAUSTED
    SILENCE = "silence"  # no message of any type for this time; the connection stays open
    DUPLICATE = "duplicate"  # the last event again, the given number of times
    REPLAY = "replay"  # the last given number of events again
    MALFORMED = "malformed"  # an event of the log is malformed, for the given reason or for each in order


DEFAULT_ARGUMENT = {FaultKind.SILENCE: "10s", FaultKind.DUPLICATE: "1", FaultKind.REPLAY: "100"}


class InvalidFault(ValueError):
    """A fault's text doesn't say what should happen when; the message does."""


@dataclass(frozen=True, slots=True)
class When:
    """`probability` per event, or `once` at / `every` that many `events` or `seconds`."""

    kind: Literal["probability", "once", "every"]
    unit: Literal["events", "seconds"]
    value: float


@dataclass(frozen=True, slots=True)
class Fault:
    kind: FaultKind
    argument: str
    when: When

    @property
    def amount(self) -> float:
        """The argument as a number: seconds, times or events."""
        return float(self.argument.removesuffix("s"))


def parse_fault(text: str, malformed_reasons: Sequence[str]) -> Fault:
    """Read KIND[:ARGUMENT]=WHEN; raises InvalidFault.

    WHEN is a probability per event (0.001), @N or @Ns (once: after N events of the log, N seconds after the first
    subscription), /N or /Ns (every). A malformed event is due by events alone, and its argument is one of
    `malformed_reasons`; without one, each in order.
    """
    head, equals, tail = text.partition("=")
    name, _, argument = head.partition(":")
    if not equals or name not in set(FaultKind):
        raise InvalidFault(f"{text!r} is not KIND[:ARGUMENT]=WHEN with a kind of {', '.join(FaultKind)}")
    kind = FaultKind(name)
    if kind is FaultKind.MALFORMED:
        valid = argument in ("", *malformed_reasons)
    elif kind is FaultKind.SILENCE:
        valid = re.fullmatch(r"(\d+(\.\d+)?s)?", argument) is not None
    else:
        valid = re.fullmatch(r"([1-9]\d*)?" if kind in DEFAULT_ARGUMENT else "", argument) is not None
    if not valid:
        raise InvalidFault(f"{text!r}: {argument!r} is no argument of {kind}")
    when = _parse_when(tail)
    if when is None or (kind is FaultKind.MALFORMED and when.unit == "seconds"):
        raise InvalidFault(f"{text!r}: {tail!r} is not a time for {kind}: 0.001, @5000, /5000, @10s or /60s")
    return Fault(kind, argument or DEFAULT_ARGUMENT.get(kind, ""), when)


def _parse_when(text: str) -> When | None:
    if match := re.fullmatch(r"([@/])(\d+(?:\.\d+)?s|[1-9]\d*)", text):
        kind: Literal["once", "every"] = "once" if match[1] == "@" else "every"
        value = float(match[2].removesuffix("s"))
        if kind == "once" or value > 0:
            return When(kind, "seconds" if match[2].endswith("s") else "events", value)
    if re.fullmatch(r"0?\.\d+|[01](\.0*)?", text) and float(text) > 0:
        return When("probability", "events", float(text))
    return None


class Trigger:
    """The points, in events of the log or in seconds, at which a fault strikes; each strikes once.

    The points depend on the seed and the fault alone, not on who listens: a subscriber that reconnects and passes a
    point again is not struck again.
    """

    def __init__(self, fault: Fault, seed: str) -> None:
        self._step = _stepper(fault.when, Random(seed))  # noqa: S311  reproducible on purpose
        self.next = self._step()

    def fire(self, reached: float) -> bool:
        """Say whether the fault strikes now, and move past every point up to `reached`."""
        if reached < self.next:
            return False
        while self.next <= reached:
            self.next += self._step()
        return True


def _stepper(when: When, rng: Random) -> Callable[[], float]:
    if when.kind == "once":
        steps = iter((when.value,))
        return lambda: next(steps, math.inf)
    if when.kind == "every" or when.value == 1:
        return lambda: when.value
    scale = math.log1p(-when.value)
    return lambda: 1 + int(math.log(1 - rng.random()) / scale)  # geometric: the gap between independent hits


class FaultPlan:
    """The faults that strike streams (all kinds but MALFORMED)."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        streams = [fault for fault in faults if fault.kind is not FaultKind.MALFORMED]
        triggers = [(fault, Trigger(fault, f"fault/{seed}/{number}/{fault}")) for number, fault in enumerate(streams)]
        self._by_events = [pair for pair in triggers if pair[0].when.unit == "events"]
        self._by_seconds = [pair for pair in triggers if pair[0].when.unit == "seconds"]
        self.struck = dict.fromkeys((fault.kind.value for fault in streams), 0)

    def next_events(self) -> float:
        """How many events of the log may be pushed until a fault is due."""
        return min((trigger.next for _, trigger in self._by_events), default=math.inf)

    def next_seconds(self) -> float:
        return min((trigger.next for _, trigger in self._by_seconds), default=math.inf)

    def due(self, events: int, seconds: float) -> list[Fault]:
        """Take the faults for a subscriber who is `events` into the log, `seconds` after the start."""
        hits = [fault for fault, trigger in self._by_events if trigger.fire(events)]
        hits += [fault for fault, trigger in self._by_seconds if trigger.fire(seconds)]
        for fault in hits:
            self.struck[fault.kind] += 1
        return hits

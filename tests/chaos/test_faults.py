"""A schedule is drawn from its seed alone, and leaves nobody out."""

from __future__ import annotations

from faults import FIRST, LAST, SECONDS, FaultKind, draw, targets_of

EVENTS = 10_000
TARGETS = targets_of("bridge", ("r0", "r1", "r2"), ("p0", "p1", "p2"), nodes=3)
KINDS = [*FaultKind] * 9


def test_the_seed_makes_the_schedule() -> None:
    assert draw(1, EVENTS, KINDS, TARGETS) == draw(1, EVENTS, KINDS, TARGETS)
    assert draw(1, EVENTS, KINDS, TARGETS) != draw(2, EVENTS, KINDS, TARGETS)


def test_every_target_is_struck_by_every_kind() -> None:
    faults = draw(1, EVENTS, KINDS, TARGETS)
    assert {(fault.kind, fault.targets) for fault in faults} == {
        (kind, targets) for kind in FaultKind for targets in TARGETS[kind]
    }


def test_faults_lie_within_the_events_and_their_kind_s_time() -> None:
    for fault in draw(1, EVENTS, KINDS, TARGETS):
        shortest, longest = SECONDS[fault.kind]
        assert FIRST * EVENTS - 1 <= fault.after_events <= LAST * EVENTS
        assert shortest <= fault.seconds <= longest

"""The last line of a rebuild: the result, and the number of keys that it doesn't cover."""

from __future__ import annotations

import pytest

from broker_events.audit.rebuild import Unfolded, refuse_unfolded
from broker_events.audit.state_diff import Comparison, DifferenceKind, StateDifference
from broker_events.cli.rebuild import report
from broker_events.runtime.process.errors import OperatorActionRequired


@pytest.mark.parametrize(
    ("differing", "repaired", "unjudged", "moving", "expected"),
    [
        (0, 0, 0, 0, "equal"),
        (0, 0, 3, 0, "equal; not compared: 3 unjudged, 0 moving"),
        (0, 0, 0, 1200, "equal; not compared: 0 unjudged, 1,200 moving"),
        (5, 0, 0, 0, "DIFFERENT: 5 keys"),
        (5, 4, 0, 0, "DIFFERENT: 1 key, 4 more repaired"),
        (5, 5, 0, 0, "repaired: 5 keys"),
        (5, 5, 1, 2, "repaired: 5 keys; not compared: 1 unjudged, 2 moving"),
    ],
)
def test_the_verdict(differing: int, repaired: int, unjudged: int, moving: int, expected: str) -> None:
    found = [StateDifference("state.accounts", 0, b"ACC", DifferenceKind.MISSING, (), b"x")] * differing
    compared = [
        Comparison("state.accounts", 0, 7, moving, unjudged, found),
        Comparison("alerts.active", 0, 1),
    ]
    assert [*report(compared, [], repaired)][-1] == expected


def test_events_left_out_are_listed_and_the_verdict_is_open() -> None:
    unfolded = [Unfolded("broker.event.transfer", 3, 17, "too_large")]
    *_, listed, advice, verdict = report([Comparison("state.accounts", 3, 7)], unfolded, 0)
    assert listed == "unfolded  broker.event.transfer[3]@17  too_large"
    assert advice.startswith("1 event left out: no projector has quarantined")
    assert verdict == "UNKNOWN: 1 event left out"
    with pytest.raises(OperatorActionRequired, match=r"first broker\.event\.transfer\[3\]@17 \(too_large\).*version"):
        refuse_unfolded(unfolded)
    refuse_unfolded([])

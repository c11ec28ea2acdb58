"""Waits between connections."""

from hypothesis import given
from hypothesis import strategies as st

from broker_events.ingest.sources.backoff import FIRST_S, HEALTHY_S, LONGEST_S, Backoff


def longest(_low: float, high: float) -> float:
    return high


def test_waits_grow_to_the_cap_and_start_again_after_a_healthy_stream() -> None:
    backoff = Backoff(longest)
    assert [backoff.next_wait_s(0) for _ in range(5)] == [3, 9, 27, 30, 30]
    assert backoff.next_wait_s(HEALTHY_S) == 3


@given(st.lists(st.floats(0, 2 * HEALTHY_S), max_size=50))
def test_every_wait_is_within_its_bounds(lives: list[float]) -> None:
    backoff = Backoff()
    assert all(FIRST_S <= backoff.next_wait_s(lived) <= LONGEST_S for lived in lives)

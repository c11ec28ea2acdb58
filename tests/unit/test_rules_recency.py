import pytest

from broker_events.processors.rules import RecordOrigin
from broker_events.processors.rules.recency import TimedEvent, TypedEvent, order, restate

SECOND = "2025-03-29T07:02:33"


SOURCE = RecordOrigin("topic", 0, 0, received_us=2_000_000_000_000_000, max_skew_us=60_000_000)


def timed(fraction: str) -> TimedEvent:
    micros = int(fraction.rstrip("Z").lstrip(".").ljust(9, "0")[:6])
    return {"event_time": 1_743_231_753_000_000 + micros, "event_time_text": SECOND + fraction, "event_id": fraction}


def typed(fraction: str, biz_type: str) -> TypedEvent:
    return {**timed(fraction), "biz_type": biz_type}


def is_older(event: TimedEvent, than: TimedEvent) -> bool:
    return order(event, {**than, "arrival": None}) < 0


def yields_to(event: TypedEvent, stated: TypedEvent) -> bool:
    return restate(event, {**stated, "arrival": None}, SOURCE) is False


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (".200Z", ".201Z"),
        (".200961999Z", ".200962000Z"),
        (".200962333Z", ".200962334Z"),
        (".200962Z", ".200962001Z"),
        (".2009623Z", ".20096231Z"),
        (".2009629Z", ".200962901Z"),
    ],
)
def test_times_are_ordered_to_the_nanosecond(earlier: str, later: str) -> None:
    assert is_older(timed(earlier), timed(later))
    assert not is_older(timed(later), timed(earlier))


@pytest.mark.parametrize(
    ("one", "other"),
    [("Z", ".000000000Z"), (".2Z", ".200Z"), (".2009623Z", ".200962300Z"), (".200962Z", ".200962000Z")],
)
def test_the_same_instant_written_differently_is_neither_older_nor_newer(one: str, other: str) -> None:
    assert not is_older(timed(one), timed(other))
    assert not is_older(timed(other), timed(one))


def test_microseconds_decide_before_the_texts_digits() -> None:
    offset: TimedEvent = {
        "event_time": 5_000_000,
        "event_time_text": "1970-01-01T08:00:05.000000001+08:00",
        "event_id": "a",
    }
    utc: TimedEvent = {"event_time": 5_000_001, "event_time_text": "1970-01-01T00:00:05.000001Z", "event_id": "b"}
    assert is_older(offset, utc)
    assert is_older({**offset, "event_time_text": "1970-01-01T00:00:05Z"}, offset)


def test_at_the_same_instant_restrict_stands_against_unrestricted_and_not_the_reverse() -> None:
    restrict, unrestricted = typed(".2Z", "ACCOUNT_RESTRICT"), typed(".200Z", "ACCOUNT_UNRESTRICTED")
    assert yields_to(unrestricted, restrict)
    assert not yields_to(restrict, unrestricted)


def test_at_the_same_instant_an_event_of_the_same_type_is_newer_by_its_offset() -> None:
    assert not yields_to(typed(".2Z", "ACCOUNT_RESTRICT"), typed(".2Z", "ACCOUNT_RESTRICT"))


def test_one_nanosecond_outweighs_the_type() -> None:
    assert yields_to(typed(".200000001Z", "ACCOUNT_RESTRICT"), typed(".200000002Z", "ACCOUNT_UNRESTRICTED"))
    assert not yields_to(typed(".200000002Z", "ACCOUNT_UNRESTRICTED"), typed(".200000001Z", "ACCOUNT_RESTRICT"))

"""The queue between receiver and writer."""

import threading
import time

from broker_events.ingest.handoff_queue import HandoffQueue
from broker_events.ingest.sources.source import Received


def event(number: int, size: int = 1) -> Received:
    return Received(b"x" * size, number)


def test_events_arrive_in_order_and_the_receiver_waits_while_it_is_full() -> None:
    inbox, count = HandoffQueue(max_events=10), 5_000
    largest = 0
    threading.Thread(target=lambda: [inbox.put(event(n)) for n in range(count)], daemon=True).start()
    seen: list[int] = []
    while len(seen) < count:
        events = inbox.take(5)
        largest = max(largest, len(events))
        seen += [received.received_at for received in events]
    assert seen == list(range(count))
    assert largest <= 10


def test_a_taker_that_wants_many_waits_for_as_many_or_its_time_or_a_full_inbox() -> None:
    inbox = HandoffQueue(max_events=5)
    taken: list[list[Received]] = []
    taker = threading.Thread(target=lambda: taken.append(inbox.take(30, at_least=3)), daemon=True)
    taker.start()
    for number in (1, 2):
        inbox.put(event(number))
        taker.join(0.05)
        assert taker.is_alive()
    inbox.put(event(3))
    taker.join(5)
    assert [received.received_at for received in taken[0]] == [1, 2, 3]
    inbox.put(event(4))
    assert len(inbox.take(0.01, at_least=3)) == 1
    for number in range(5):
        inbox.put(event(number))
    assert len(inbox.take(30, at_least=6)) == 5


def test_a_taker_that_wants_many_goes_on_when_the_inbox_is_full_of_bytes_or_closed() -> None:
    inbox = HandoffQueue(max_bytes=10)
    taken: list[int] = []
    for put_last in (lambda: inbox.put(event(1, size=50)), inbox.close):
        taker = threading.Thread(target=lambda: taken.append(len(inbox.take(30, at_least=100))), daemon=True)
        taker.start()
        taker.join(0.05)
        assert taker.is_alive()
        put_last()
        taker.join(5)
    assert taken == [1, 0]


def test_fewer_than_the_taker_wants_are_not_handed_on_before_it_comes_back_for_more() -> None:
    inbox = HandoffQueue()
    waiter = threading.Thread(target=inbox.wait_until_handed_on, daemon=True)
    inbox.put(event(1))
    waiter.start()
    assert len(inbox.take(0.05, at_least=100)) == 1
    assert waiter.is_alive()
    assert inbox.take(0.2, at_least=100) == []
    waiter.join(5)
    assert not waiter.is_alive()


def test_bytes_are_bounded_too_but_one_event_always_fits() -> None:
    inbox = HandoffQueue(max_bytes=10)
    assert inbox.put(event(1, size=50))
    second = threading.Thread(target=inbox.put, args=(event(2),), daemon=True)
    second.start()
    second.join(0.1)
    assert second.is_alive()
    assert [received.received_at for received in inbox.take(1)] == [1]
    second.join(5)
    assert not second.is_alive()


def test_waiting_until_handed_on_ends_when_the_taker_comes_back_for_more() -> None:
    inbox = HandoffQueue()
    inbox.put(event(1))
    waiter = threading.Thread(target=inbox.wait_until_handed_on, daemon=True)
    waiter.start()
    assert inbox.take(0)
    waiter.join(0.1)
    assert waiter.is_alive()  # taken, but perhaps not dealt with
    assert inbox.take(0.2) == []
    waiter.join(5)
    assert not waiter.is_alive()


def test_closing_lets_everybody_go() -> None:
    inbox = HandoffQueue(max_events=1)
    inbox.put(event(1))
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(inbox.put(event(2))), daemon=True),
        threading.Thread(target=lambda: results.append(inbox.wait_until_handed_on()), daemon=True),
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    inbox.close()
    for thread in threads:
        thread.join(5)
    assert results == [False, False]

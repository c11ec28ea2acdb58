"""What records leave behind: workers hardly ever look for reference cycles, so there must be none; and free memory."""

from __future__ import annotations

import gc
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from broker_events.processors.routing import Routing
from broker_events.runtime.events.duplicate_window import duplicate_window
from broker_events.runtime.process.memory import give_back
from broker_events.runtime.quarantine.writer import internal_error
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.invalid_event import InvalidEvent

EVENTS = load_catalog().events
SAMPLES = [path.read_bytes() for one in EVENTS.values() for path in one.folder.glob("samples/*/*.json")]
ODD = [b"", b"{", b"[1]", b'{"id":1}', json.dumps({"id": "1", "payload": {"biz_type": "?"}}).encode()]


@contextmanager
def no_cycles() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
        assert gc.collect() == 0
    finally:
        gc.enable()


def leave_a_cycle() -> None:
    cycle: list[object] = []
    cycle.append(cycle)


def test_a_cycle_is_found() -> None:
    with pytest.raises(AssertionError), no_cycles():
        leave_a_cycle()


def test_neither_typed_nor_refused_events_leave_cycles() -> None:
    topics = {contract.topics[0].name: number for number, contract in enumerate(EVENTS.values())}
    routing, window = Routing(EVENTS, topics, str, 10_000), duplicate_window(10)
    refused = 0
    with no_cycles():
        for value in SAMPLES + ODD:
            try:
                routing.type(value, b"key", window)
            except InvalidEvent:
                refused += 1
    assert refused > len(ODD)


def test_a_defect_leaves_no_cycles() -> None:
    record: Any = Message(topic="raw", partition=0, offset=0, key=b"key", value=b"{}")
    with no_cycles():
        try:
            raise ValueError("a defect")
        except ValueError as error:
            internal_error(record, error)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back when asked")
def test_memory_below_what_is_still_in_use_goes_back_to_the_system() -> None:
    give_back()
    before = resident_bytes()
    blocks = [bytes([number % 256]) * 60_000 for number in range(2_000)]  # too small for pages of their own
    last = blocks.pop()
    blocks.clear()
    assert resident_bytes() - before > 60_000_000  # the last block holds what is below it
    give_back()
    assert resident_bytes() - before < 20_000_000
    assert len(last) == 60_000

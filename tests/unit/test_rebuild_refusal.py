"""A rebuild refuses to judge state by a group that has lost its offsets."""

from __future__ import annotations

import pytest

from broker_events.audit.rebuild import refuse_without_offsets
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.process.errors import OperatorActionRequired

CREDIT, CLOSE = TopicPartition("broker.event.credit", 3), TopicPartition("broker.event.account-close", 3)
STATE = {"state.accounts": {b"ACC-1": b"x"}, "state.movements": {b"m": b"y"}, "alerts.active": {}}


def test_state_without_an_offset_is_refused_and_the_line_says_what_to_do() -> None:
    with pytest.raises(OperatorActionRequired, match=r"broker\.projector .* partition 3, .* 2 keys\. .*--to-earliest"):
        refuse_without_offsets("broker.projector", 3, {CREDIT: None, CLOSE: None}, STATE)


def test_one_offset_is_enough_as_a_topic_without_records_has_none() -> None:
    refuse_without_offsets("broker.projector", 3, {CREDIT: 0, CLOSE: None}, STATE)


def test_where_nothing_is_yet_nothing_is_refused() -> None:
    refuse_without_offsets("broker.projector", 3, {CREDIT: None, CLOSE: None}, {"state.accounts": {}})

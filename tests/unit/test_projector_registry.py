"""A schema that can't be looked up is no fault of the event: the worker restarts, nothing goes to quarantine."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from broker_events.processors.fold import TypedTopic
from broker_events.processors.projector import Projector
from broker_events.processors.rules import PROJECTIONS
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.process.errors import RestartRequired
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings
from broker_events.schemas.registry import RegistryError

GONE = RegistryError("the registry cannot be reached")


@pytest.mark.parametrize("of", ["event", "state"])
def test_a_registry_that_is_away(of: str) -> None:
    codec, states, quarantine = Mock(), Mock(), Mock()
    codec.decode.return_value = {"event_id": "e1", "biz_type": "ACCOUNT_CLOSE", "event_time": 0, "extra": {}}
    (codec.decode if of == "event" else states.get).side_effect = GONE
    tables: Any = {"state.accounts": {0: states}}
    typed = {"topic": TypedTopic("ACCOUNT_CLOSE", codec, PROJECTIONS["ACCOUNT_CLOSE"])}
    projector = Projector(Settings(), typed, Mock(states=tables), codec, quarantine, Mock(), Metrics(), Mock())
    record: Any = Mock()
    record.partition.return_value, record.timestamp.return_value = 0, (1, 1000)
    record.key.return_value, record.value.return_value = b"ACC-1", b"value"
    batch: Any = Mock(partitions={TopicPartition("topic", 0): [record]})
    with pytest.raises(RestartRequired, match="cannot be reached"):
        projector.process(batch)
    quarantine.put.assert_not_called()

"""A rebuild refuses to judge state by a group that has lost its offsets, and alerts by records it can't read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from rules_events import CATALOG

from broker_events.audit import rebuild as rebuild_module
from broker_events.audit.rebuild import Rebuild, refuse_without_offsets
from broker_events.runtime.consume.record import TopicPartition
from broker_events.runtime.process.errors import OperatorActionRequired, PipelineError, RestartRequired
from broker_events.schemas.codec import Codec
from broker_events.schemas.registry import RegistryError, SchemaNotRegistered

CREDIT, CLOSE = TopicPartition("broker.event.credit", 3), TopicPartition("broker.event.account-close", 3)
STATE = {"state.accounts": {b"ACC-1": b"x"}, "state.movements": {b"m": b"y"}, "alerts.active": {}}


def test_state_without_an_offset_is_refused_and_the_line_says_what_to_do() -> None:
    with pytest.raises(OperatorActionRequired, match=r"broker\.projector .* partition 3, .* 2 keys\. .*--to-earliest"):
        refuse_without_offsets("broker.projector", 3, {CREDIT: None, CLOSE: None}, STATE)


def test_one_offset_is_enough_as_a_topic_without_records_has_none() -> None:
    refuse_without_offsets("broker.projector", 3, {CREDIT: 0, CLOSE: None}, STATE)


def test_where_nothing_is_yet_nothing_is_refused() -> None:
    refuse_without_offsets("broker.projector", 3, {CREDIT: None, CLOSE: None}, {"state.accounts": {}})


def rebuilding(monkeypatch: pytest.MonkeyPatch, topic: str, value: bytes | None, answer: RegistryError) -> Rebuild:
    """A rebuild that reads one record of a topic; `answer` of the registry for schema ids other than 1."""
    of = {"topic": topic, "partition": 3, "offset": 7, "key": b"k", "value": value}
    record = Mock(**{f"{name}.return_value": content for name, content in of.items()})

    def read_to_end(_: object, starts: dict[TopicPartition, int]) -> Iterator[list[Any]]:
        assert [*starts] == [TopicPartition(topic, 3)]
        yield [record]

    monkeypatch.setattr(rebuild_module, "read_to_end", read_to_end)
    monkeypatch.setattr(rebuild_module, "first_offsets", lambda _, partitions: dict.fromkeys(partitions, 0))
    rebuild = object.__new__(Rebuild)
    rebuild._settings = Mock(topic=lambda name: name)
    rebuild._is_copy = False
    lookup = Mock(side_effect=answer)
    rebuild._codecs = {
        table: Codec(CATALOG.topics[name][0], 1, lookup)
        for table, name in (("alerts.active", "alerts"), ("state.movements", "state.movements"))
    }
    return rebuild


@pytest.mark.parametrize(
    ("answer", "error"),
    [(SchemaNotRegistered("no id 2"), OperatorActionRequired), (RegistryError("no answer"), RestartRequired)],
)
def test_alerts_are_not_judged_by_a_record_that_cannot_be_read(
    answer: RegistryError, error: type[PipelineError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the alert that the record shows to be written would be written again."""
    value = b"\0\0\0\0\2x"
    with pytest.raises(error, match=r"alerts\[3\]@7 .*no id 2|no answer"):
        rebuilding(monkeypatch, "alerts", value, answer)._read_alerts(3, Mock())
    with pytest.raises(error, match=r"state\.movements\[3\]@7 .*no id 2|no answer"):
        list(rebuilding(monkeypatch, "state.movements", value, answer)._live_movements(3))


def test_a_deleted_record_is_no_alert_and_no_movement(monkeypatch: pytest.MonkeyPatch) -> None:
    missing, answer = Mock(), RegistryError("")
    rebuilding(monkeypatch, "alerts", None, answer)._read_alerts(3, missing)
    missing.know.assert_not_called()
    assert not list(rebuilding(monkeypatch, "state.movements", None, answer)._live_movements(3))

"""What a deliverer does with an alert that it cannot decode: skip what never can be, wait for what may be later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from broker_events.runtime.process.errors import RestartRequired
from broker_events.schemas.codec import DecodeError, UnknownSchema
from broker_events.schemas.registry import RegistryError
from broker_events.sinks.deliver.receiver_worker import ReceiverWorker


def decoded(error: Exception) -> Any:
    def decode(_: bytes | None) -> None:
        raise error

    worker: Any = SimpleNamespace(_decoder=SimpleNamespace(decode=decode))
    record: Any = SimpleNamespace(partition=lambda: 1, offset=lambda: 7, value=lambda: b"x")
    return ReceiverWorker.decoded(worker, record)


@pytest.mark.parametrize("error", [RegistryError("no answer"), UnknownSchema("no schema 5")])
def test_without_the_schema_the_alert_waits(error: Exception) -> None:
    with pytest.raises(RestartRequired, match=str(error)):
        decoded(error)


def test_other_bytes_are_named() -> None:
    place, why = decoded(DecodeError("no Avro"))
    assert (place.partition, place.offset, why) == (1, 7, "can't be decoded: no Avro")

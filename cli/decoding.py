"""Reading Avro values in commands."""

from __future__ import annotations

from collections.abc import Callable

from broker_events.runtime import schema_ids
from broker_events.runtime.settings import Settings
from broker_events.schemas.models import Record
from broker_events.schemas.registry import RegistryError


def open_decoder(settings: Settings) -> Callable[[bytes], Record]:
    """Return what decodes the values of every topic with a schema, by the registry's ids.

    It raises ValueError for a value that can't be decoded, OperatorActionRequired or RestartRequired as
    `registry_problem` says.
    """
    decoder = schema_ids.open_decoder(settings)

    def decode(value: bytes) -> Record:
        try:
            return decoder.decode(value)
        except RegistryError as error:
            raise schema_ids.registry_problem(error) from None

    return decode

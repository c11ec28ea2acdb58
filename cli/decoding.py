"""Reading Avro values in commands."""

from __future__ import annotations

from collections.abc import Callable

from runtime.errors import MustRestart
from runtime.settings import Settings
from schemas.codec import DecodeError, EventDecoder
from schemas.models import Record
from schemas.registry import RegistryError, SchemaNotRegistered


def open_decoder(settings: Settings) -> Callable[[bytes], Record]:
    """Return what decodes the values of every topic with a schema, by the registry's ids.

    It raises ValueError for a value that can't be decoded, MustRestart when the registry can't be reached.
    """
    auth = settings.schema_registry_basic_auth
    decoder = EventDecoder(settings.schema_registry_url, None if auth is None else auth.get_secret_value())

    def decode(value: bytes) -> Record:
        try:
            return decoder.decode(value)
        except SchemaNotRegistered as error:
            raise DecodeError(str(error)) from None
        except RegistryError as error:
            raise MustRestart(str(error)) from None

    return decode

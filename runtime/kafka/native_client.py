"""Clients whose records native code reads and writes, where it was compiled (docs/adr/0010-native-passthrough.md)."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer, cimpl

from broker_events.native import extension
from broker_events.runtime.kafka.clients import Config

if TYPE_CHECKING:
    from broker_events.native._native import Client

log = logging.getLogger(__name__)

_PLUGINS: Final = "plugin.library.paths"

C = TypeVar("C", Consumer, Producer)


def make_client(kind: Callable[[Config], C], config: Config, *, native_passthrough: bool) -> tuple[C, Client | None]:
    """Return a client and what native code knows it by.

    That is None where records are not to go `native_passthrough`, without native code, and where librdkafka has no
    plugins.

    Raises KafkaException for a configuration that librdkafka refuses.
    """
    native: Any = extension.native
    if not native_passthrough or native is None or not _bind():
        return kind(config), None
    plugins = ";".join(filter(None, (config.get(_PLUGINS), native.__file__)))
    made: tuple[C, Client]
    try:
        made = native.Client.make(kind, config | {_PLUGINS: plugins})
    except KafkaException as error:
        client = kind(config)  # raises what is wrong with the rest of it
        log.info("records go by way of Python, as librdkafka does not load native code: %s", error)
        return client, None
    return made


def _bind() -> bool:
    """Hand native code the functions of the librdkafka that the Python client has loaded."""
    native: Any = extension.native
    library, names = ctypes.CDLL(cimpl.__file__), native.kafka_functions()
    try:
        functions = {name: getattr(library, name) for name in names}
    except AttributeError as missing:
        log.info("%s: records go by way of Python", missing)
        return False
    native.bind_kafka({name: ctypes.cast(function, ctypes.c_void_p).value for name, function in functions.items()})
    return True

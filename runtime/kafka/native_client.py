"""Kafka clients whose records native code reads and writes (docs/adr/0010-native-passthrough.md).

Native passthrough calls C functions of the librdkafka that confluent-kafka has loaded. It is used with the versions in
`TESTED_LIBRDKAFKA` only. In any other case records take the Python path, and the process logs one WARNING.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer, libversion

from broker_events.native import extension
from broker_events.runtime.kafka.clients import Config

if TYPE_CHECKING:
    from broker_events.native._native import Client

log = logging.getLogger(__name__)

# Run tests/unit/test_native_fetch.py and tests/broker/test_native_passthrough.py before adding a version.
TESTED_LIBRDKAFKA: Final = ("2.16.0",)
_LIBRARY: Final = "confluent_kafka.cimpl"
_PLUGINS: Final = "plugin.library.paths"

C = TypeVar("C", Consumer, Producer)


def make_client(kind: Callable[[Config], C], config: Config, *, native_passthrough: bool) -> tuple[C, Client | None]:
    """Return a client of class `kind`, and native code's handle of it; None if its records take the Python path.

    Raises KafkaException for a configuration that librdkafka rejects.
    """
    native: Any = extension.native
    if not native_passthrough or native is None:  # a worker without native code has logged that at its start
        return kind(config), None
    if (problem := _bind()) is not None:
        _warn(problem)
        return kind(config), None
    plugins = ";".join(filter(None, (config.get(_PLUGINS), native.__file__)))
    made: tuple[C, Client]
    try:
        made = native.Client.make(kind, config | {_PLUGINS: plugins})
    except KafkaException as error:
        client = kind(config)  # raises what is wrong with the rest of the configuration
        _warn(f"librdkafka can't load {native.__file__} as a plugin: {error}")
        return client, None
    return made


def _bind() -> str | None:
    """Pass the addresses of librdkafka's functions to native code. Returns None, or the reason why that is impossible.

    `cimpl` is a private module of confluent-kafka, so each step may fail with another version.
    """
    native: Any = extension.native
    version = libversion()[0]
    if version not in TESTED_LIBRDKAFKA:
        return f"librdkafka {version} is not a tested version ({', '.join(TESTED_LIBRDKAFKA)})"
    try:
        library = ctypes.CDLL(str(import_module(_LIBRARY).__file__))
        functions = {name: getattr(library, name) for name in native.kafka_functions()}
    except (ImportError, OSError, AttributeError) as error:
        return f"librdkafka's functions can't be found: {error}"
    native.bind_kafka({name: ctypes.cast(function, ctypes.c_void_p).value for name, function in functions.items()})
    return None


@cache
def _warn(problem: str) -> None:
    """Log the warning once per process: consumer and producer meet the same problem."""
    log.warning(
        "native passthrough is off: %s. Records take the Python path: same results, about 27 %% fewer events per "
        "second in the router (docs/adr/0010-native-passthrough.md)",
        problem,
    )

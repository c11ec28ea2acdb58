"""Schema ids from the registry, and schemas by id. Workers never register a schema."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from broker_events.runtime.process.addresses import is_loopback
from broker_events.runtime.process.errors import OperatorActionRequired, PipelineError, RestartRequired
from broker_events.runtime.process.retry import keep_trying
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import Catalog
from broker_events.schemas.codec import EventDecoder
from broker_events.schemas.registry import (
    CredentialsRefused,
    IncompatibleSchema,
    Registry,
    RegistryError,
    RegistryRefuses,
    RegistryUntrusted,
    SchemaNotRegistered,
    desired_subjects,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_PATIENCE_S: Final = 3.5
_PAUSES: Final = (1 / 7, 2 / 7, 4 / 7)
_REST_S: Final = 60.0
_WHERE: Final = "Is it running? PIPELINE_SCHEMA_REGISTRY_URL names it"
_KNOWN: Final = "quarantine"  # its schema is registered before any process starts

# Errors that a restart does not fix, and the setting to check.
_FOR_A_PERSON: Final = {
    CredentialsRefused: "PIPELINE_SCHEMA_REGISTRY_BASIC_AUTH: ",
    RegistryUntrusted: "PIPELINE_SCHEMA_REGISTRY_CA_LOCATION: ",
    RegistryRefuses: "PIPELINE_SCHEMA_REGISTRY_URL: ",
    SchemaNotRegistered: "",
    IncompatibleSchema: "",
}


def open_registry(settings: Settings) -> Registry:
    """Return a client of the configured registry; sends no request. Raises OperatorActionRequired."""
    return _open(Registry, settings)


def open_decoder(settings: Settings) -> EventDecoder:
    """Return a decoder of every topic's values, by the configured registry. Raises OperatorActionRequired."""
    return _open(EventDecoder, settings)


def registry_problem(error: RegistryError) -> PipelineError:
    """Return the error to end with: OperatorActionRequired if a restart would not help, otherwise RestartRequired."""
    setting = _FOR_A_PERSON.get(type(error))
    if setting is None:
        return RestartRequired(f"{error}. {_WHERE}")
    return OperatorActionRequired(f"{setting}{error}")


def answering(settings: Settings, ask: Callable[[Registry], T]) -> T:
    """Return what `ask` does with the registry. Retries for 5 s, or START_TIMEOUT_S if it is set.

    Raises the error of `registry_problem`.
    """
    registry = open_registry(settings)
    last: RegistryError | None = None

    def attempt() -> T:
        nonlocal last
        try:
            return ask(registry)
        except tuple(_FOR_A_PERSON) as error:
            raise registry_problem(error) from None
        except RegistryError as error:
            last = error
            raise

    what = f"schema registry at {settings.schema_registry_url}"
    try:
        return keep_trying(what, attempt, settings.persons_timeout_s, (RegistryError,))
    except RestartRequired:
        raise registry_problem(last or RegistryError("no answer")) from None


def resolve_schema_ids(settings: Settings, catalog: Catalog, stop: threading.Event | None = None) -> dict[str, int]:
    """Return the id of each topic's schema, by topic name without the prefix.

    Retries for `start_timeout_s` while the registry doesn't answer, or another server answers at its address. Raises
    OperatorActionRequired if a schema isn't registered or another server still answers, RestartRequired without answer.
    """
    registry = open_registry(settings)
    subjects = desired_subjects(catalog, settings.topic_prefix)

    refusal: RegistryRefuses | None = None

    def resolve() -> dict[str, int]:
        nonlocal refusal
        refusal = None
        try:
            return {_topic(settings, s.name): registry.resolve(s.name, s.schema) for s in subjects}
        except RegistryRefuses as error:
            refusal = error
            raise
        except tuple(_FOR_A_PERSON) as error:
            raise registry_problem(error) from None

    what = f"schema registry at {settings.schema_registry_url}"
    try:
        return keep_trying(what, resolve, settings.start_timeout_s, (RegistryError,), stop)
    except RestartRequired as error:
        if refusal is not None:
            raise registry_problem(refusal) from None
        raise RestartRequired(f"{error}. {_WHERE}") from None


class SchemaLookup:
    """A `schema_text` for `Codec` that retries ids that the registry doesn't know.

    A node of a registry cluster may lag behind. An id that is unknown for 3.5 s counts as unknown: one foreign record
    must not stop a worker. For a minute after that, unknown ids are not retried, so that many can't stop it either.
    """

    def __init__(
        self,
        schema_text: Callable[[int], str],
        within_s: float = _PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`schema_text` is that of a `Registry`; `sleep` and `clock` are in seconds.

        `within_s`: shorter limit of the retries, for use in an open transaction.
        """
        self._schema_text = schema_text
        self._sleep = sleep
        self._clock = clock
        self._pauses_s = [share * min(within_s, _PATIENCE_S) for share in _PAUSES]
        self._rests_until = float("-inf")

    def __call__(self, schema_id: int) -> str:
        """Return the JSON text of a schema. Raises RegistryError; SchemaNotRegistered for an unknown id."""
        if self._clock() < self._rests_until:
            return self._schema_text(schema_id)
        for pause_s in self._pauses_s:
            try:
                return self._schema_text(schema_id)
            except SchemaNotRegistered as error:
                log.warning("%s; retrying in %.1f s", error, pause_s)
                self._sleep(pause_s)
        try:
            return self._schema_text(schema_id)
        except SchemaNotRegistered:
            self._rests_until = self._clock() + _REST_S
            raise


def schema_lookup(settings: Settings, within_s: float = _PATIENCE_S) -> SchemaLookup:
    """Return the lookup in the configured registry. Raises OperatorActionRequired."""
    registry, subject = open_registry(settings), f"{settings.topic(_KNOWN)}-value"
    return SchemaLookup(lambda schema_id: registry.schema_text(schema_id, subject), within_s)


def _open(kind: Callable[[str, str | None, str | None, str | None], T], settings: Settings) -> T:
    """Call `kind` with the configured URL, user:password, CA file and proxy."""
    auth, ca = settings.schema_registry_basic_auth, settings.schema_registry_ca_location
    secret = None if auth is None else auth.get_secret_value()
    is_local = all(is_loopback(url.strip()) for url in settings.schema_registry_url.split(","))
    proxy = None if is_local else settings.schema_registry_proxy
    try:
        return kind(settings.schema_registry_url, secret, None if ca is None else str(ca), proxy)
    except RegistryError as error:
        raise OperatorActionRequired(str(error)) from None


def _topic(settings: Settings, subject: str) -> str:
    return subject.removeprefix(settings.topic("")).removesuffix("-value")

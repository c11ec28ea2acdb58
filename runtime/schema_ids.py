"""The registry as the settings name it, and its ids of our schemas: no worker ever registers anything."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from runtime.addresses import is_loopback
from runtime.errors import MustRestart, PipelineError, SettingsError
from runtime.settings import Settings
from runtime.startup import keep_trying
from schemas.catalog import Catalog
from schemas.codec import EventDecoder
from schemas.registry import (
    CredentialsRefused,
    IncompatibleSchema,
    Registry,
    RegistryError,
    RegistryRefuses,
    RegistryUntrusted,
    SchemaNotRegistered,
    desired_subjects,
)

T = TypeVar("T")

# What a restart would meet again, and the setting to look at.
_FOR_A_PERSON: Final = {
    CredentialsRefused: "PIPELINE_SCHEMA_REGISTRY_BASIC_AUTH: ",
    RegistryUntrusted: "PIPELINE_SCHEMA_REGISTRY_CA_LOCATION: ",
    RegistryRefuses: "PIPELINE_SCHEMA_REGISTRY_URL: ",
    SchemaNotRegistered: "",
    IncompatibleSchema: "",
}


def open_registry(settings: Settings) -> Registry:
    """A client of the registry that the settings name; nothing is asked yet. Raises SettingsError."""
    return _open(Registry, settings)


def open_decoder(settings: Settings) -> EventDecoder:
    """A decoder of every topic's values by the schemas of the registry that the settings name. Raises SettingsError."""
    return _open(EventDecoder, settings)


def registry_problem(error: RegistryError) -> PipelineError:
    """What a process ends with that met this error: SettingsError where a restart would not help, else MustRestart."""
    setting = _FOR_A_PERSON.get(type(error))
    return MustRestart(str(error)) if setting is None else SettingsError(f"{setting}{error}")


def resolve_schema_ids(settings: Settings, catalog: Catalog, stop: threading.Event | None = None) -> dict[str, int]:
    """Id of each topic's schema, by topic name without the prefix.

    Waits for a registry that doesn't answer, or whose address answers as no registry does: it may be starting. Raises
    SettingsError where a schema isn't registered or that answer stays, MustRestart where none comes within
    `start_timeout_s`.
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
    except MustRestart:
        if refusal is not None:
            raise registry_problem(refusal) from None
        raise


def _open(kind: Callable[[str, str | None, str | None, str | None], T], settings: Settings) -> T:
    """Make something that takes URL, user and password, CA file, proxy."""
    auth, ca = settings.schema_registry_basic_auth, settings.schema_registry_ca_location
    secret = None if auth is None else auth.get_secret_value()
    is_local = all(is_loopback(url.strip()) for url in settings.schema_registry_url.split(","))
    proxy = None if is_local else settings.schema_registry_proxy
    try:
        return kind(settings.schema_registry_url, secret, None if ca is None else str(ca), proxy)
    except RegistryError as error:
        raise SettingsError(str(error)) from None


def _topic(settings: Settings, subject: str) -> str:
    return subject.removeprefix(settings.topic("")).removesuffix("-value")

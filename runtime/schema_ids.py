"""The registry's ids of our schemas, resolved once at start: no worker ever registers anything."""

from __future__ import annotations

import threading

from runtime.errors import SettingsError
from runtime.settings import Settings
from runtime.startup import keep_trying
from schemas.catalog import Catalog
from schemas.registry import Registry, RegistryError, SchemaNotRegistered, desired_subjects


def open_registry(settings: Settings) -> Registry:
    """A client of the registry that the settings name; nothing is asked yet."""
    auth = settings.schema_registry_basic_auth
    return Registry(settings.schema_registry_url, None if auth is None else auth.get_secret_value())


def resolve_schema_ids(settings: Settings, catalog: Catalog, stop: threading.Event | None = None) -> dict[str, int]:
    """Id of each topic's schema, by topic name without the prefix.

    Waits for a registry that doesn't answer. Raises SettingsError where a schema isn't registered, MustRestart when
    the registry doesn't answer within `start_timeout_s`.
    """
    registry = open_registry(settings)
    subjects = desired_subjects(catalog, settings.topic_prefix)

    def resolve() -> dict[str, int]:
        try:
            return {_topic(settings, s.name): registry.resolve(s.name, s.schema) for s in subjects}
        except SchemaNotRegistered as error:
            raise SettingsError(str(error)) from None

    return keep_trying(
        f"schema registry at {settings.schema_registry_url}", resolve, settings.start_timeout_s, (RegistryError,), stop
    )


def _topic(settings: Settings, subject: str) -> str:
    return subject.removeprefix(settings.topic("")).removesuffix("-value")

"""Says what a replay of a quarantined record would do now."""

from __future__ import annotations

from typing import Final

from broker_events.processors.replay_preview import ReplayPreview
from broker_events.processors.routing import Routing
from broker_events.runtime.kafka.topics import typed_size_limit
from broker_events.runtime.quarantine.replay import Quarantined, is_too_large
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import RAW, Catalog
from broker_events.schemas.oversized import marked

REPLAYED: Final = "replayed already, left out"
ALREADY_TYPED: Final = "typed already, left out: see `broker-events rebuild`"
TOO_LARGE: Final = "too large with the headers of a replay, left out: raise MAX_MESSAGE_BYTES"
MARKER: Final = "a marker, left out: the event itself is not in Kafka, `show` says where it is"
LEFT_OUT: Final = (REPLAYED, ALREADY_TYPED, TOO_LARGE, MARKER)
"""Outcomes of records that are never replayed."""


class ReplayOutcome:
    """Judges quarantined records by this version's contracts, in the order of their replay."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._raw = settings.topic(RAW)
        self._max_message_bytes = settings.max_message_bytes
        # Ids of schemas don't matter: the records are not written.
        ids = dict.fromkeys(catalog.topics, 0)
        routing = Routing(catalog.events, ids, settings.topic, typed_size_limit(settings))
        self._preview = ReplayPreview(routing, settings.duplicate_window)

    def of(self, quarantined: Quarantined, *, is_replayed: bool) -> str:
        """Return the outcome in words: one of LEFT_OUT, or what `ReplayPreview` says."""
        event = quarantined.event
        if event.topic != self._raw:
            return ALREADY_TYPED
        if is_replayed:
            return REPLAYED
        if marked((header.name, header.value) for header in event.headers):
            return MARKER
        if is_too_large(event, self._max_message_bytes):
            return TOO_LARGE
        return self._preview.of(event)

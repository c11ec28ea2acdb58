"""Previews what a replay of quarantined records would do now. Pure."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Final

from broker_events.processors.routing import Routing
from broker_events.runtime.events.duplicate_window import DuplicateWindow, duplicate_window
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.models import QuarantinedEvent

TYPED: Final = "typed into "
REJECTED: Final = "rejected again: "
DUPLICATE: Final = "duplicate of an earlier record"


class ReplayPreview:
    """Judges records by the contracts of `routing`, in the order of their replay.

    It doesn't read the routers' duplicate windows. An event that was typed meanwhile will be a duplicate.
    """

    def __init__(self, routing: Routing, window: int) -> None:
        """`window`: number of events that the routers remember per partition (DUPLICATE_WINDOW)."""
        self._routing = routing
        self._windows = defaultdict[int, DuplicateWindow](partial(duplicate_window, window))

    def of(self, event: QuarantinedEvent) -> str:
        """Return the outcome of replaying a record that the router has rejected."""
        if event.reason == Reason.ID_CONFLICT:
            return REJECTED + Reason.ID_CONFLICT  # another event of its id is typed
        try:
            route, typed, _ = self._routing.type(event.value, event.key, self._windows[event.partition])
        except InvalidEvent as problem:
            return REJECTED + problem.reason
        except Exception:  # noqa: BLE001 (as the router does)
            return REJECTED + Reason.INTERNAL_ERROR
        return DUPLICATE if route is None or typed is None else TYPED + route.topic

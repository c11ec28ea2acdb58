"""What would become of quarantined records if they were replayed now. Pure."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Final

from broker_events.processors.routing import Routing
from broker_events.runtime.events.duplicate_window import DuplicateWindow, duplicate_window
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.models import QuarantinedEvent

TYPED: Final = "typed into "
REFUSED: Final = "refused again: "
REPEATED: Final = "known duplicate of one before it"


class ReplayPreview:
    """Judges records by the contracts of `routing`, in the order in which they would be replayed.

    What routers remember of typed events isn't looked at: an event that was typed meanwhile would be a known duplicate.
    """

    def __init__(self, routing: Routing, window: int) -> None:
        """`window`: how many events the routers remember of each partition (DUPLICATE_WINDOW)."""
        self._routing = routing
        self._windows = defaultdict[int, DuplicateWindow](partial(duplicate_window, window))

    def of(self, event: QuarantinedEvent) -> str:
        """Say what would become of a record that the router has refused."""
        if event.reason == Reason.ID_CONFLICT:
            return REFUSED + Reason.ID_CONFLICT  # the event whose id it has is typed
        try:
            route, typed, _ = self._routing.type(event.value, event.key, self._windows[event.partition])
        except InvalidEvent as problem:
            return REFUSED + problem.reason
        except Exception:  # noqa: BLE001 (as the router does)
            return REFUSED + Reason.INTERNAL_ERROR
        return REPEATED if route is None or typed is None else TYPED + route.topic

"""Looking up schemas by their ids, with patience for a registry that hasn't heard of one yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from broker_events.schemas.registry import SchemaNotRegistered

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 3.5
_PAUSES: Final = (1 / 7, 2 / 7, 4 / 7)
_REST_S: Final = 60.0


class SchemaLookup:
    """A `schema_text` for `Codec` that asks again for an id that the registry doesn't know.

    A registry of several nodes may answer from one that lags behind for a moment. An id that stays unknown for 3.5 s is
    unknown: one foreign record must not stop a worker. Nor must many of them: after that there is a minute in which
    unknown ids are asked for once.
    """

    def __init__(
        self,
        schema_text: Callable[[int], str],
        within_s: float = _PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`schema_text` is that of a `Registry`; `sleep` and `clock` are in seconds.

        `within_s`: less patience, where an open transaction would time out meanwhile.
        """
        self._schema_text = schema_text
        self._sleep = sleep
        self._clock = clock
        self._pauses_s = [share * min(within_s, _PATIENCE_S) for share in _PAUSES]
        self._rests_until = float("-inf")

    def __call__(self, schema_id: int) -> str:
        """JSON text of a schema. Raises RegistryError, as SchemaNotRegistered for an unknown id."""
        if self._clock() < self._rests_until:
            return self._schema_text(schema_id)
        for pause_s in self._pauses_s:
            try:
                return self._schema_text(schema_id)
            except SchemaNotRegistered as error:
                log.warning("%s; asking again in %.1f s", error, pause_s)
                self._sleep(pause_s)
        try:
            return self._schema_text(schema_id)
        except SchemaNotRegistered:
            self._rests_until = self._clock() + _REST_S
            raise

"""Whether this machine's clock is the cluster's.

A broker stamps what is appended to a topic with `message.timestamp.type=LogAppendTime`, and the producer's delivery
report has that time. So a record that is written anyway says what time it is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import PREFIX

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

_MILLISECONDS: Final = 1000


class ClusterClock:
    """Compares the two clocks whenever a record was appended; times in ms since the epoch."""

    def __init__(self, max_skew_s: float, now_s: Callable[[], float] = time.time) -> None:
        self._max_skew_ms = max_skew_s * _MILLISECONDS
        self._now_s = now_s
        self._difference: tuple[float, int] | None = None

    def sent(self) -> Callable[[KafkaError | None, Message], None]:
        """Return what to call with the delivery report of a record that is produced now."""
        sent_ms = self._now_s() * _MILLISECONDS

        def delivered(error: KafkaError | None, message: Message) -> None:
            kind, cluster_ms = message.timestamp()
            if error is None and kind == TIMESTAMP_LOG_APPEND_TIME:
                self.compare(sent_ms, cluster_ms, self._now_s() * _MILLISECONDS)

        return delivered

    def compare(self, sent_ms: float, cluster_ms: int, delivered_ms: float) -> None:
        """Note the cluster's time at some moment between these two of this machine."""
        own_ms = min(max(cluster_ms, sent_ms), delivered_ms)
        self._difference = (own_ms, cluster_ms) if abs(own_ms - cluster_ms) > self._max_skew_ms else None

    def verify(self) -> None:
        """Raise OperatorActionRequired where the clocks differed by more than allowed when they were compared last."""
        if self._difference is None:
            return
        own_ms, cluster_ms = self._difference
        seconds = abs(own_ms - cluster_ms) / _MILLISECONDS
        direction = "ahead of" if own_ms > cluster_ms else "behind"
        raise OperatorActionRequired(
            f"this machine's clock says {_iso(own_ms)}, the Kafka cluster's {_iso(cluster_ms)}: it is {seconds:,.0f} s "
            f"{direction} it, at most {self._max_skew_ms / _MILLISECONDS:g} are allowed ({PREFIX}MAX_CLOCK_SKEW_S). "
            "Records would get wrong times, by which retention deletes them. Set the clock (NTP), then start again"
        )


def _iso(milliseconds: float) -> str:
    return (
        datetime.fromtimestamp(milliseconds / _MILLISECONDS, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    )

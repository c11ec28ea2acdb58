"""The brokerage's event push as a source: one stream for all event types, with reconnects until it is stopped."""

import logging
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Final, NamedTuple

import grpc

from broker_events.ingest.sources.backoff import Backoff
from broker_events.ingest.sources.push_message import MessageKind, PushMessage, decode
from broker_events.ingest.sources.push_stream import PushStream, proxy_of
from broker_events.ingest.sources.source import Received, Resume
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.process.health import Health
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import Settings

log = logging.getLogger(__name__)

_REFUSED: Final = "refused"
_UNTRUSTED: Final = "untrusted"
_OVERSIZED: Final = "oversized"
_CONNECTION_LIMIT: Final = "connection_limit"
_REFUSED_CODES: Final = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT.name.lower()
_NO_TLS: Final = "WRONG_VERSION_NUMBER"
# gRPC's texts for a server whose identity can't be verified.
_DISTRUST: Final = (
    "CERTIFICATE_VERIFY_FAILED",
    "Hostname Verification Check failed",
    _NO_TLS,
    "Failed to create security handshaker",  # no certificate in the CA file
)
_ENDED_BY: Final = {
    MessageKind.REFUSED: _REFUSED,
    MessageKind.TOO_MANY_CONNECTIONS: _CONNECTION_LIMIT,
    MessageKind.EXPIRED: "expired",
}
# gRPC's text for a message above its limit; the message is lost, and the stream ends.
_LARGER: Final = "Received message larger than max"
_MAX_DETAIL: Final = 300


class _End(NamedTuple):
    """Why a stream ended: the metric's label, and the brokerage's words."""

    reason: str
    detail: str


class BrokerPush:
    """Subscribes, yields events, and subscribes again whenever the stream ends.

    Some ends raise OperatorActionRequired instead. A refused key or signature: a retry may lock the key. A message
    above gRPC's size limit: the brokerage would send it again. A server that has never been trusted: a trusted one
    whose certificate has expired is retried.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        health: Health,
        name: str = "grpc",
        *,
        accept_simulated: bool = False,
    ) -> None:
        """`accept_simulated`: whether the simulator may be the server; if not, it is refused before its first event."""
        self.name = name
        self._accept_simulated = accept_simulated
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._stopping = threading.Event()
        self._stream: PushStream | None = None
        self._last_message_s = 0.0
        self._last_event_s = 0.0
        started_s = time.time()
        metrics.last_message.set_function(lambda: self._last_message_s or started_s)
        metrics.last_event.set_function(lambda: self._last_event_s)
        for reason in (*_ENDED_BY.values(), "silence", "closed", "unavailable"):  # rate() needs an initial 0
            metrics.reconnects.labels(reason)

    def receive(self, resume: Resume) -> Iterator[Received]:
        backoff = Backoff()
        while not self._stopping.is_set():
            positions = resume()
            if self._stopping.is_set():
                return
            began = time.monotonic()
            end = yield from self._read(positions)
            self._metrics.connected.set(0)
            if self._stopping.is_set():
                return
            self._health.not_ready(f"no push stream: {end.reason}")
            self._metrics.reconnects.labels(end.reason).inc()
            detail = self._without_secrets(end.detail)
            if proxy := proxy_of(self._settings):
                detail += f", through the proxy {proxy}"
            if end.reason == _REFUSED:
                raise OperatorActionRequired(
                    f"the brokerage refused the subscription ({detail}): check PIPELINE_APP_KEY, PIPELINE_APP_SECRET, "
                    "PIPELINE_SIGNATURE_ALGORITHM and this machine's clock"
                )
            if end.reason == _UNTRUSTED and not self._last_message_s:
                raise OperatorActionRequired(
                    f"no trusted TLS connection to {self._settings.grpc_target} ({detail}): check PIPELINE_GRPC_TARGET "
                    f"and PIPELINE_GRPC_{'TLS: the server speaks no TLS' if _NO_TLS in detail else 'CA_LOCATION'}"
                )
            if end.reason == _INVALID:
                raise OperatorActionRequired(
                    f"the brokerage rejected the subscription ({detail}): check PIPELINE_GRPC_EVENT_TYPES, "
                    f"now {','.join(self._settings.grpc_event_types)}, and the positions in ingest.cursors, "
                    f"{dict(positions)}"
                )
            if end.reason == _OVERSIZED:
                raise OperatorActionRequired(
                    f"gRPC rejected a message for its size ({detail}), after the positions {dict(positions)} "
                    "or later. Raise PIPELINE_GRPC_MAX_MESSAGE_BYTES above its size, and the memory of this process: "
                    "see BrokerEventsOversizedEvent in docs/how-to/runbook.md"
                )
            wait_s = backoff.next_wait_s(time.monotonic() - began)
            if end.reason == _CONNECTION_LIMIT:
                wait_s = self._settings.grpc_connection_limit_wait_s
            log.warning("the push stream ended: %s (%s); next attempt in %.1f s", end.reason, detail, wait_s)
            self._stopping.wait(wait_s)

    def stop(self) -> None:
        self._stopping.set()
        if self._stream is not None:
            self._stream.cancel()

    def _read(self, positions: Mapping[str, str]) -> Generator[Received, None, _End]:
        """Yield the events of one stream; return why it ended."""
        log.info("subscribing at %s, resuming after %s", self._settings.grpc_target, dict(positions) or "no position")
        without_position = {name for name in self._settings.grpc_event_types if name not in positions}
        with PushStream(self._settings, positions) as stream:
            self._stream = stream
            if self._stopping.is_set():
                return _End("stopped", "")
            connected = simulated = False
            try:
                for data in stream:
                    received_at = time.time_ns() // 1000
                    self._last_message_s = received_at / 1e6
                    if not connected:
                        connected = True
                        simulated = stream.simulated
                        self._connected(simulated=simulated)
                    message = decode(data)
                    kind = message.kind
                    if kind is MessageKind.EVENT:
                        self._last_event_s = self._last_message_s
                        if message.event_type in without_position and message.position:
                            without_position.discard(message.event_type)
                            log.info("the first position of %s is %s", message.event_type, message.position)
                        yield _received(message, received_at, simulated=simulated)
                    elif kind in _ENDED_BY:
                        return _End(_ENDED_BY[kind], message.payload.decode("utf-8", "replace") or kind.name)
                    elif kind is MessageKind.UNKNOWN:
                        log.warning("ignoring a message of unknown type %d without an event", message.type)
            except grpc.RpcError as error:
                return _end_of(error, silent=stream.silent)
            return _End("closed", "by the brokerage")

    def _connected(self, *, simulated: bool) -> None:
        if simulated and not self._accept_simulated:
            settings = self._settings
            raise OperatorActionRequired(
                f"PIPELINE_GRPC_TARGET: {settings.grpc_target} is `broker-events simulate`. To write its simulated "
                f"events to {settings.kafka_bootstrap_servers}, topics {settings.topic('*')}, start with "
                f"--yes-write-simulated-events-to {settings.topic_prefix}"
            )
        log.info("the push stream is open%s", ", events are simulated" if simulated else "")
        self._metrics.connected.set(1)
        self._health.ready()

    def _without_secrets(self, text: str) -> str:
        """Shorten the brokerage's words and mask the key and secret, which it may echo."""
        secret = self._settings.app_secret
        for word in (self._settings.app_key, secret.get_secret_value() if secret else None):
            if word:
                text = text.replace(word, "***")
        return " ".join(text.split())[:_MAX_DETAIL]


def _received(message: PushMessage, received_at: int, *, simulated: bool) -> Received:
    return Received(
        message.payload,
        received_at,
        message.id,
        message.event_type,
        message.position,
        message.timestamp,
        message.version,
        simulated=simulated,
    )


def _end_of(error: grpc.RpcError, *, silent: bool) -> _End:
    if silent:
        return _End("silence", "no message of any kind")
    if not isinstance(error, grpc.Call):
        return _End("unknown", str(error))
    code, details = error.code(), error.details() or ""
    reason = _REFUSED if code in _REFUSED_CODES else code.name.lower()
    if any(sign in details for sign in _DISTRUST):
        reason = _UNTRUSTED
    if _LARGER in details:
        reason = _OVERSIZED
    return _End(reason, f"{code.name}: {details}")

"""One subscription to the brokerage's push: channel, signed request, and a watch for silence."""

import math
import threading
import time
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.experimental

from broker_events.ingest.sources.event_push_pb2 import SubscribeEvent, SubscribeRequest
from broker_events.ingest.sources.signature import TIMESTAMP_FORMAT, SignatureAlgorithm, signed_metadata
from broker_events.runtime.process.addresses import is_loopback
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import Settings

METHOD: Final = "/grpc.event.EventService/Subscribe"
# In the response's metadata of `broker-events simulate`, and of no other server.
SIMULATOR: Final = "broker-events-simulator"
_OPTIONS: Final[list[tuple[str, Any]]] = [
    # Messages are read on the calling thread, without a second one: five times the messages per second.
    (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),
    # A new channel opens a new connection. A pooled one may be broken and has its own backoff.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # A server with gRPC's default policy closes a connection that pings more often without traffic.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
]


class PushStream:
    """A subscription as a context manager; iterate it for serialised SubscribeResponses.

    Iteration ends when the server ends the stream, and raises grpc.RpcError when it breaks. `silent` is True after this
    client cancelled the stream because nothing came for `grpc_silence_s`.
    """

    def __init__(self, settings: Settings, positions: Mapping[str, str]) -> None:
        """`positions`: event type -> position to resume after; the brokerage chooses the start of a type without one.

        Raises OperatorActionRequired when target, key or secret is missing.
        """
        target, app_key, app_secret = check_push_settings(settings)
        request, metadata = signed_request(settings, app_key, app_secret, positions)
        self._channel = _open_channel(settings, target)
        subscribe: grpc.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(METHOD)
        self._call = subscribe(request, metadata=metadata)
        self._silence_s = settings.grpc_silence_s
        self._waiting_since = math.inf
        self._ended = threading.Event()
        self.silent = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, name="push-watch", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._call.cancel()
        self._channel.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        self._waiting_since = time.monotonic()
        data = next(self._call)
        self._waiting_since = math.inf  # the caller's work on a message is not silence
        return data

    @property
    def simulated(self) -> bool:
        """Whether the server is the simulator; call it after the first message, which the metadata precede."""
        return any(name == SIMULATOR for name, _ in self._call.initial_metadata() or ())

    def cancel(self) -> None:
        """End the iteration now. Any thread may call it."""
        self._call.cancel()

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._silence_s / 4)):
            if time.monotonic() - self._waiting_since > self._silence_s:
                self.silent = True
                self._call.cancel()
                return


def check_push_settings(settings: Settings) -> tuple[str, str, str]:
    """Return target, app key and app secret. Raises OperatorActionRequired that names the missing ones."""
    found = (
        settings.grpc_target,
        settings.app_key,
        settings.app_secret.get_secret_value() if settings.app_secret else "",
    )
    target, key, secret = (text or "" for text in found)
    values = {"PIPELINE_GRPC_TARGET": target, "PIPELINE_APP_KEY": key, "PIPELINE_APP_SECRET": secret}
    missing = [name for name, text in values.items() if not text]
    if missing:
        raise OperatorActionRequired(f"{', '.join(missing)}: needed for the brokerage's event push")
    return target, key, secret


def signed_request(
    settings: Settings, app_key: str, app_secret: str, positions: Mapping[str, str]
) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """Serialise the subscription of every event type and sign it, with a new nonce and the current time."""
    timestamp = time.strftime(TIMESTAMP_FORMAT, time.gmtime())
    request = SubscribeRequest(
        events=[SubscribeEvent(eventType=name, position=positions.get(name, "")) for name in settings.grpc_event_types],
        timestamp=timestamp,
    ).SerializeToString()
    metadata = signed_metadata(
        request,
        app_key=app_key,
        app_secret=app_secret,
        algorithm=SignatureAlgorithm(settings.signature_algorithm),
        nonce=str(uuid.uuid4()),
        timestamp=timestamp,
    )
    return request, metadata


def _open_channel(settings: Settings, target: str) -> grpc.Channel:
    # At least a record's size: a message that gRPC rejects has no position to resume after.
    largest = max(settings.grpc_max_message_bytes, 2 * settings.max_message_bytes)
    options = [*_OPTIONS, ("grpc.max_receive_message_length", largest), *_proxy_options(settings)]
    if not settings.grpc_tls:
        return grpc.insecure_channel(target, options=options)
    roots = settings.grpc_ca_location.read_bytes() if settings.grpc_ca_location else None
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(roots), options=options)


def proxy_of(settings: Settings) -> str | None:
    """Return the proxy of the stream; None for an address of this machine."""
    return None if is_loopback(settings.grpc_target or "") else settings.grpc_proxy


def _proxy_options(settings: Settings) -> list[tuple[str, Any]]:
    """Return options for a proxy from the settings alone; gRPC by itself would follow `https_proxy`."""
    proxy = proxy_of(settings)
    return [("grpc.enable_http_proxy", 0)] if proxy is None else [("grpc.http_proxy", proxy)]

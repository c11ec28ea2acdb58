"""A broker's event push (real gRPC) that does what a test tells it, stream by stream."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

from broker_events.ingest.sources.event_push_pb2 import SubscribeRequest, SubscribeResponse
from broker_events.ingest.sources.push_stream import METHOD
from broker_events.ingest.sources.signature import SignatureAlgorithm, sign

APP_KEY = "key-of-the-test"
APP_SECRET = "secret-of-the-test"  # noqa: S105 (it protects nothing)

Stream = Callable[["PushServer", SubscribeRequest, grpc.ServicerContext], Iterator[SubscribeResponse | bytes]]


def inner_event(number: int, event_type: str = "ACCOUNT", account: str = "A") -> SubscribeResponse:
    """An event whose payload is the inner object, with spaces and a repeated key that have to survive."""
    return SubscribeResponse(
        type=SubscribeResponse.Event,
        id=f"event-{number}",
        eventType=event_type,
        position=f"p{number}",
        timestamp="2026-01-01T00:00:00.123456789Z",
        payload=f'{{ "account_id":"{account}", "n":{number}, "n" : {number}, "biz_type":"ACCOUNT_UPDATE" }}',
    )


def whole_event(number: int, event_type: str = "ACCOUNT", account: str = "A") -> SubscribeResponse:
    """The same with the whole envelope as payload."""
    event = inner_event(number, event_type, account)
    event.payload = (
        f'{{"id":"{event.id}", "event_type":"{event_type}","position":"{event.position}",'
        f'"timestamp":"{event.timestamp}","payload":{event.payload}}}'
    )
    return event


def steady(
    server: "PushServer", request: SubscribeRequest, context: grpc.ServicerContext
) -> Iterator[SubscribeResponse]:
    """Accept, push every event after the positions asked for, and then stay open in silence."""
    yield from push(server, request)
    while context.is_active() and not server.closing.wait(0.05):
        pass


def push(server: "PushServer", request: SubscribeRequest, count: int | None = None) -> Iterator[SubscribeResponse]:
    """Accept, and push the first `count` events after the positions asked for."""
    yield SubscribeResponse(type=SubscribeResponse.SubscribeSuccess)
    order = {event.position: index for index, event in enumerate(server.events)}
    after = {event.eventType: order.get(event.position, -1) for event in request.events}
    wanted = (event for index, event in enumerate(server.events) if index > after.get(event.eventType, index))
    for number, event in enumerate(itertools.islice(wanted, count), start=1):
        if server.pause_s and number % 20 == 0:
            time.sleep(server.pause_s * 20)
        yield event


class PushServer:
    """Serves `streams` one after the other, the last one again and again, to whoever knows APP_SECRET.

    `requests` are the subscriptions in order; `nonces` of all calls, refused ones too.
    """

    def __init__(self, events: Sequence[SubscribeResponse], *streams: Stream, pause_s: float = 0) -> None:
        self.events = events
        self.pause_s = pause_s
        self.requests: list[SubscribeRequest] = []
        self.nonces: list[str] = []
        self.closing = threading.Event()
        self._streams = streams or (steady,)
        self._server = grpc.server(ThreadPoolExecutor(8))
        handler: grpc.RpcMethodHandler[bytes, SubscribeResponse | bytes] = grpc.unary_stream_rpc_method_handler(
            self._subscribe,
            response_serializer=lambda reply: reply if isinstance(reply, bytes) else reply.SerializeToString(),
        )
        _, service, method = METHOD.split("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.stop(0).wait()

    def positions(self, number: int) -> dict[str, str]:
        """What the subscription of this number asked for."""
        return {event.eventType: event.position for event in self.requests[number].events}

    def _subscribe(self, data: bytes, context: grpc.ServicerContext) -> Iterator[SubscribeResponse | bytes]:
        metadata = {str(name): str(value) for name, value in context.invocation_metadata()}
        self.nonces.append(metadata["x-signature-nonce"])
        signature = sign(
            data,
            app_key=APP_KEY,
            app_secret=APP_SECRET,
            algorithm=SignatureAlgorithm(metadata["x-signature-algorithm"]),
            nonce=metadata["x-signature-nonce"],
            timestamp=metadata["x-timestamp"],
        )
        if signature != metadata["x-signature"]:
            yield SubscribeResponse(
                type=SubscribeResponse.AuthError, payload=f"bad signature for {metadata['x-app-key']}"
            )
            return
        self.requests.append(SubscribeRequest.FromString(data))
        stream = self._streams[min(len(self.requests), len(self._streams)) - 1]
        yield from stream(self, self.requests[-1], context)

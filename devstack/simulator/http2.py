"""The server side of gRPC over HTTP/2, for calls with one request and a stream of responses.

grpcio's servers write each message on its own, which takes 30 us of a core: 25 000 messages a second at best. Here many
messages share a DATA frame, which is as good gRPC and costs an order of magnitude less.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import IntEnum
from functools import partial
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from broker_events.runtime.process.addresses import listening_socket

MAX_REQUEST = 1 << 20  # bytes
BACKLOG = 100
FLUSH_S = 1.0
FLUSH_POLL_S = 0.01
_PREFIX = 5  # bytes before a message: compressed flag, length


class Status(IntEnum):
    """The gRPC status codes in use here."""

    OK = 0
    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13


def frame(message: bytes) -> bytes:
    """Put gRPC's length prefix before a serialised message."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class Call:
    """One call: its path, metadata and request bytes, and the way back."""

    def __init__(self, connection: "Connection", stream_id: int, headers: Mapping[str, str]) -> None:
        self.path = headers.get(":path", "")
        self.metadata = {name: value for name, value in headers.items() if not name.startswith(":")}
        self.received = bytearray()
        self._connection = connection
        self._stream_id = stream_id

    @property
    def request(self) -> bytes:
        return bytes(self.received[_PREFIX:])

    @property
    def well_formed(self) -> bool:
        """Say whether exactly one uncompressed message came."""
        size = int.from_bytes(self.received[1:_PREFIX], "big")
        return self.received[:1] == b"\0" and len(self.received) == _PREFIX + size

    async def write(self, messages: bytes) -> None:
        """Send framed messages; waits as long as the client doesn't read."""
        await self._connection.send(self._stream_id, messages)

    def finish(self, status: Status, detail: str = "") -> None:
        """End the stream with a gRPC status."""
        self._connection.finish(self._stream_id, status, detail)

    def drop(self) -> None:
        """Cut the client's connection, as a broken network would."""
        self._connection.drop()


Handler = Callable[[Call], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One HTTP/2 connection. A call's task is cancelled when its client goes away."""

    def __init__(self, handler: Handler, connections: set["Connection"]) -> None:
        self._handler = handler
        self._connections = connections
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._calls: dict[int, Call] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._progress = asyncio.Event()  # a window opened or the socket took more
        self._socket_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP gives asyncio.Transport
        self._connections.add(self)
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._connections.discard(self)
        for task in tuple(self._tasks.values()):
            task.cancel()

    def pause_writing(self) -> None:
        self._socket_full = True

    def resume_writing(self) -> None:
        self._socket_full = False
        self._progress.set()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            self._flush()  # carries the GOAWAY that says why
            self._transport.close()
            return
        for event in events:
            match event:
                case RequestReceived(stream_id=int(stream_id), headers=headers):
                    self._calls[stream_id] = Call(self, stream_id, {str(k): str(v) for k, v in headers or ()})
                case DataReceived(stream_id=int(stream_id), data=bytes(chunk)):
                    self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
                    if len(self._calls[stream_id].received) <= MAX_REQUEST:
                        self._calls[stream_id].received += chunk
                case StreamEnded(stream_id=int(stream_id)):
                    task = asyncio.ensure_future(self._run(stream_id, self._calls.pop(stream_id)))
                    self._tasks[stream_id] = task
                    task.add_done_callback(partial(self._forget, stream_id))
                case StreamReset(stream_id=int(stream_id)):
                    self._calls.pop(stream_id, None)
                    if stream_id in self._tasks:
                        self._tasks[stream_id].cancel()
                case WindowUpdated() | RemoteSettingsChanged():
                    self._progress.set()
                case _:  # acknowledgements, PING: h2 answers them
                    pass
        self._flush()

    def _forget(self, stream_id: int, _: asyncio.Task[None]) -> None:
        del self._tasks[stream_id]

    async def _run(self, stream_id: int, call: Call) -> None:
        try:
            self._h2.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
            if call.well_formed:
                await self._handler(call)
            else:
                call.finish(Status.UNIMPLEMENTED, "one uncompressed message is expected")
        except (asyncio.CancelledError, ProtocolError):
            pass  # the client went away
        except Exception as error:
            call.finish(Status.INTERNAL, repr(error))
            raise

    async def send(self, stream_id: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            window = self._h2.local_flow_control_window(stream_id)
            if window <= 0 or self._socket_full:
                self._progress.clear()
                await self._progress.wait()
                continue
            size = min(window, self._h2.max_outbound_frame_size, len(rest))
            self._h2.send_data(stream_id, bytes(rest[:size]))
            rest = rest[size:]
            self._flush()

    def finish(self, stream_id: int, status: Status, detail: str) -> None:
        trailers = [("grpc-status", str(int(status)))]
        if detail:
            trailers.append(("grpc-message", quote(detail)))
        with suppress(ProtocolError):  # the client may have reset the stream in this moment
            self._h2.send_headers(stream_id, trailers, end_stream=True)
            self._flush()

    def drop(self) -> None:
        self._transport.abort()

    def close(self) -> None:
        """Say goodbye (GOAWAY) and close."""
        with suppress(ProtocolError):
            self._h2.close_connection()
            self._flush()
        self._transport.close()

    def _flush(self) -> None:
        self._transport.write(self._h2.data_to_send())


class Http2Server:
    """Listens and gives every call to `handler`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[Connection] = set()

    async def start(self, host: str, port: int, tls: tuple[str, str] | None) -> int:
        """Listen, on a free port for 0, and return the port; `tls` names certificate chain and key files (PEM)."""
        context = None
        if tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*tls)
            context.set_alpn_protocols(["h2"])
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._handler, self._connections),
            sock=listening_socket(host, port, BACKLOG),
            ssl=context,
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Say goodbye to everybody; what was sent before still goes out, unless a client takes longer than 1 s."""
        self._server.close()
        for connection in tuple(self._connections):
            connection.close()
        deadline = time.monotonic() + FLUSH_S
        while self._connections and time.monotonic() < deadline:  # noqa: ASYNC110  connections leave by themselves
            await asyncio.sleep(FLUSH_POLL_S)

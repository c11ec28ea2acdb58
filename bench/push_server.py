"""The simulated push with its whole log drawn beforehand: what is measured is the bridge, not the drawing.

`python -m bench.push_server COUNT ACCOUNTS`: prints the port and serves until SIGTERM. It accepts any subscription and
pushes the log from the start. grpcio's servers write each message on its own, which takes 30 to 50 us of a core: fewer
than the bridge takes in. This one puts many messages into a DATA frame of HTTP/2.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from bench.corpus import SEED
from broker_events.devstack.simulator.event_log import EventLog
from broker_events.devstack.simulator.simulator import BASE_TIME_NS, STEP_NS
from broker_events.devstack.simulator.traffic import Traffic
from broker_events.ingest.sources.event_push_pb2 import SubscribeResponse

_BATCH = 512  # events per write


class Push(asyncio.Protocol):
    """One connection with one subscription."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._progress = asyncio.Event()  # a window opened or the socket took more
        self._socket_is_full = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP gives asyncio.Transport
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._socket_is_full = True

    def resume_writing(self) -> None:
        self._socket_is_full = False
        self._progress.set()

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            match event:
                case RequestReceived(stream_id=int(stream_id)):
                    self._h2.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                case DataReceived(stream_id=int(stream_id)):
                    self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
                case StreamEnded(stream_id=int(stream_id)):
                    self._task = asyncio.ensure_future(self._push(stream_id))
        self._progress.set()
        self._flush()

    async def _push(self, stream_id: int) -> None:
        success = SubscribeResponse(type=SubscribeResponse.SubscribeSuccess).SerializeToString()
        await self._send(stream_id, [success])
        after = {"ACCOUNT": -1, "FUNDING": -1}
        for start in range(0, len(self._log), _BATCH):
            await self._send(stream_id, self._log.messages(start, min(start + _BATCH, len(self._log)), after))
            await asyncio.sleep(0)  # an open window lets a write pass without a pause for reading

    async def _send(self, stream_id: int, messages: list[bytes]) -> None:
        """Send the messages, each behind gRPC's prefix: a flag for compression and its length."""
        framed = b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)
        rest = memoryview(framed)
        while rest:
            window = self._h2.local_flow_control_window(stream_id)
            if window <= 0 or self._socket_is_full:
                self._progress.clear()
                await self._progress.wait()
                continue
            size = min(window, self._h2.max_outbound_frame_size, len(rest))
            self._h2.send_data(stream_id, bytes(rest[:size]))
            rest = rest[size:]
            self._flush()

    def _flush(self) -> None:
        self._transport.write(self._h2.data_to_send())


async def serve(count: int, accounts: int) -> None:
    """Draw `count` events, then push them to whoever subscribes, as fast as they are taken."""
    log = EventLog(
        Traffic(SEED, accounts),
        seed=SEED,
        clock=lambda sequence: BASE_TIME_NS + sequence * STEP_NS,
        count=count,
        payload_form="inner",
        without_position=False,
        journal=None,
    )
    log.grow(count)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Push(log), "127.0.0.1", 0)
    sys.stdout.write(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
    log.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))

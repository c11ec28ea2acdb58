"""TCP relays on 127.0.0.1: where a process's network is cut, slowed and reset.

A broker tells its clients one address for all, so one relay stands in front of each broker. Which process a connection
is from is in the first bytes that a Kafka client sends: the client id of its first request.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

CHUNK = 1 << 20  # the most that is under way at once: a slow link takes this much in each of its delays
# Request header of every version (Kafka protocol guide): size, api key, api version, correlation id, length of the id.
_HEADER = struct.Struct(">ihhih")
_RESET = struct.pack("ii", 1, 0)  # linger for 0 s: closing sends RST and drops what is under way
_CALL_S = 10.0


@dataclass
class _Link:
    """The connections of one process. A cut link loses nothing: as TCP does, it keeps what it has for later."""

    is_whole: asyncio.Event = field(default_factory=asyncio.Event)
    delay_s: float = 0.0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.is_whole.set()


class Network:
    """A context manager; its relays run in a thread of their own. Links are known by name."""

    def __init__(self) -> None:
        self._links: defaultdict[str, _Link] = defaultdict(_Link)
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async def end() -> None:
            for server in self._servers:
                server.close()
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        self._call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def relay(self, port: int, link: str | None = None) -> int:
        """Open a relay to `port` and return its own port.

        Its connections are of this link or, without a name, of that after the last dot of the Kafka client id.
        """

        async def listen() -> int:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await self._serve(reader, writer, port, link)

            server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=CHUNK)
            self._servers.append(server)
            bound: int = server.sockets[0].getsockname()[1]
            return bound

        return self._call(listen())

    def cut(self, link: str) -> None:
        """Let nothing through, in either direction, until `mend`; nothing is closed, new connections stay mute."""
        self._change(link, whole=False)

    def slow(self, link: str, delay_s: float) -> None:
        """Let everything take so much longer, in each direction, until `mend`."""
        self._change(link, delay_s=delay_s)

    def mend(self, link: str) -> None:
        self._change(link)

    def reset(self, link: str) -> int:
        """Break every open connection, as a RST does to both ends; how many there were."""

        async def reset() -> int:
            writers = self._links[link].writers
            for writer in writers:
                _abort(writer)
            return len(writers) // 2

        return self._call(reset())

    def _change(self, name: str, *, whole: bool = True, delay_s: float = 0.0) -> None:
        async def change() -> None:
            link = self._links[name]
            link.delay_s = delay_s
            (link.is_whole.set if whole else link.is_whole.clear)()

        self._call(change())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, name: str | None
    ) -> None:
        try:
            head, name = (b"", name) if name else await _introduction(reader)
            link = self._links[name]
            await link.is_whole.wait()
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port, limit=CHUNK)
        except (OSError, asyncio.IncompleteReadError):
            _abort(writer)
            return
        up_writer.write(head)
        link.writers |= {writer, up_writer}
        ways = [asyncio.ensure_future(_pass_on(link, *way)) for way in ((reader, up_writer), (up_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        link.writers -= {writer, up_writer}
        writer.close()
        up_writer.close()


async def _introduction(reader: asyncio.StreamReader) -> tuple[bytes, str]:
    """What a Kafka client sends first, as far as its id, and the id's last part."""
    head = await reader.readexactly(_HEADER.size)
    *_, length = _HEADER.unpack(head)
    client_id = await reader.readexactly(max(length, 0))
    return head + client_id, client_id.decode().rpartition(".")[2]


async def _pass_on(link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            if link.delay_s:
                await asyncio.sleep(link.delay_s)
            await link.is_whole.wait()
            writer.write(chunk)
            await writer.drain()


def _abort(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()

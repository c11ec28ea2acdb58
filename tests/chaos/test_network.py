"""The relays do to a connection what the name says, and to no other one."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest
from network import Network

PATIENCE_S = 20.0
MUTE_S = 0.3


class Echo(BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(4096):
            self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a server that sends back what it gets."""
    with ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


class Client:
    """A connection that introduces itself as a Kafka client does, and gets that back first."""

    def __init__(self, port: int, client_id: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        head = struct.pack(">ihhih", 0, 18, 4, 1, len(client_id)) + client_id.encode()
        self._socket.sendall(head)
        assert self.receive(len(head)) == head

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self._socket.recv(size - len(data))
            assert chunk, "closed"
            data += chunk
        return data

    def ask(self, question: bytes = b"?") -> float:
        """How many seconds an answer takes."""
        began = time.monotonic()
        self._socket.sendall(question)
        assert self.receive(len(question)) == question
        return time.monotonic() - began

    def is_mute(self) -> bool:
        """Whether nothing comes back now; the answer to this question comes later."""
        self._socket.settimeout(MUTE_S)
        try:
            self.ask()
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(PATIENCE_S)
        return False


def test_a_cut_link_is_mute_and_loses_nothing(echo: int, network: Network) -> None:
    port = network.relay(echo)
    one, other = Client(port, "test.router.r0"), Client(port, "r1")
    network.cut("r0")
    assert one.is_mute()
    other.ask()
    network.mend("r0")
    assert one.receive(1) == b"?"
    one.ask()


def test_a_slow_link_takes_longer_both_ways(echo: int, network: Network) -> None:
    client = Client(network.relay(echo), "r0")
    network.slow("r0", 0.1)
    assert client.ask() >= 0.2
    network.mend("r0")
    assert client.ask(b"x" * 200_000) < PATIENCE_S


def test_a_reset_breaks_the_connections_of_its_link(echo: int, network: Network) -> None:
    port = network.relay(echo)
    one, other = Client(port, "r0"), Client(port, "r1")
    assert network.reset("r0") == 1
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        one.ask()
    other.ask()
    Client(port, "r0").ask()


def test_a_link_can_have_a_name_of_its_own(echo: int, network: Network) -> None:
    port = network.relay(echo, "push")
    client = Client(port, "r0")
    network.cut("r0")
    client.ask()
    network.cut("push")
    assert client.is_mute()


def test_a_relay_to_nobody_refuses(network: Network) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises((ConnectionResetError, AssertionError)):
            Client(network.relay(unused.getsockname()[1]), "r0")

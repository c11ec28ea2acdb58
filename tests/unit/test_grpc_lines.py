"""gRPC writes no raw lines to standard error: its errors come back as codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import socket, sys, threading
import {module}
import grpc

def refuse_tls():
    while True:
        connection, _ = server.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 400 Bad Request" + bytes(100))

server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=refuse_tls, daemon=True).start()
address = "127.0.0.1:%d" % server.getsockname()[1]
with grpc.secure_channel(address, grpc.ssl_channel_credentials()) as channel:
    try:
        channel.unary_unary("/x/y")(b"", timeout=5)
    except grpc.RpcError as error:
        print(error.details())
"""


@pytest.mark.parametrize(
    "module", ["broker_events.ingest.sources.broker_push", "broker_events.devstack.simulator.service"]
)
def test_a_refused_handshake_is_an_error_and_no_line(module: str) -> None:
    program = PROGRAM.replace("{module}", module)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "WRONG_VERSION_NUMBER" in done.stdout
    assert done.stderr == ""

"""Both families of addresses, wherever something listens or connects."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from broker_events.ingest.sources.push_stream import PushStream
from broker_events.runtime.process.addresses import host_port, listening_socket
from broker_events.runtime.settings import load_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),  # noqa: S104
        ("localhost", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("::", ["::1", "127.0.0.1"]),
    ],
)
def test_listening(host: str, reached: list[str]) -> None:
    with listening_socket(host, 0, 10) as listening:
        port = listening.getsockname()[1]
        for address in reached:
            socket.create_connection((address, port), timeout=5).close()


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
def test_the_simulator_and_a_stream_from_it(host: str) -> None:
    command = [sys.executable, "-m", "broker_events.cli", "simulate", "--host", host, "--count", "3"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as simulator:
        try:
            assert simulator.stdout is not None
            line = simulator.stdout.readline()
            place = re.fullmatch(r"listening on (\S+)\n", line)
            assert place, line
            assert place[1].startswith(host_port(host, 0)[:-1])
            settings = load_settings(
                grpc_target=place[1],
                grpc_tls=False,
                app_key="demo-key",
                app_secret="demo-secret",  # noqa: S106
            )
            with PushStream(settings, {}) as stream:
                assert [next(stream) for _ in range(4)]
        finally:
            simulator.terminate()

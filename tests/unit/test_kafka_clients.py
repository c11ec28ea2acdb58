"""How clients of Kafka are configured, and what is said where there is no Kafka."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal

import pytest

from broker_events.runtime.kafka.clients import admin_client, consumer_config, producer_config
from broker_events.runtime.process.errors import RestartRequired
from broker_events.runtime.settings import Settings


def test_what_the_user_sets_wins() -> None:
    extra = {"linger.ms": 5, "retry.backoff.ms": 200, "fetch.wait.max.ms": 7, "queued.min.messages": 10}
    settings = Settings(kafka_extra=extra)
    for config in (
        producer_config(settings, transactional_id="t"),
        consumer_config(settings, group_id="g", queued_min_messages=100_000),
    ):
        assert config | extra == config
    assert producer_config(settings, transactional_id="t")["transactional.id"] == "t"


def test_the_telling_reason_is_the_last_word() -> None:
    with pytest.raises(RestartRequired, match=r"did not answer within 2 s: .*Failed to resolve 'nohost\.invalid"):
        admin_client(Settings(kafka_bootstrap_servers="nohost.invalid:9092", start_timeout_s=2))


@pytest.mark.parametrize("protocol", ["SSL", "PLAINTEXT"])
def test_a_listener_of_another_protocol_is_suspected(protocol: Literal["SSL", "PLAINTEXT"]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(1000)

        threading.Thread(target=hang_up, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        settings = Settings(kafka_bootstrap_servers=address, kafka_security_protocol=protocol, start_timeout_s=3)
        with pytest.raises(
            RestartRequired, match=rf"Does it expect {protocol}\? Check PIPELINE_KAFKA_SECURITY_PROTOCOL$"
        ):
            admin_client(settings)
        server.shutdown(socket.SHUT_RDWR)

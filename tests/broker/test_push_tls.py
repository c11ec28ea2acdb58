"""The broker's push over TLS: whom the bridge talks to, and whom it doesn't."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bridge_process import BridgeProcess, wait_for_raw, with_topics
from certificates import Authority, Certificate
from kafka_cluster import KafkaCluster
from push_server import APP_KEY, APP_SECRET
from simulator_process import simulator

from broker_events.ingest.sources.broker_push import BrokerPush
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.process.health import Health
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import load_settings

COUNT = 500


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Push:
    """A simulator with a certificate of its own, if any; `subscriptions` is known once it has ended."""

    def __init__(self, folder: Path, certificate: Certificate | None) -> None:
        self._report = folder / "report.json"
        self._options = ["--rate", "5000", "--count", str(COUNT), "--report", str(self._report)]
        if certificate is not None:
            self._options += ["--tls-cert", str(certificate.certificate), "--tls-key", str(certificate.key)]

    @contextmanager
    def running(self) -> Iterator[int]:
        """Run it and give its port."""
        with simulator(*self._options) as port:
            yield port

    @property
    def subscriptions(self) -> int:
        """How many subscriptions it has got, refused ones too."""
        pushed = json.loads(self._report.read_bytes())["pushed"]
        return int(pushed["subscriptions"]) + int(pushed["auth_errors"])


def test_a_bridge_takes_events_from_whom_it_can_verify_and_from_nobody_else(
    cluster: KafkaCluster, topic_prefix: str, tmp_path: Path, authority: Authority
) -> None:
    settings = with_topics(cluster, topic_prefix)
    stranger = Authority(tmp_path, "stranger")
    push = Push(tmp_path, authority.issue("push"))
    with push.running() as port:
        other: dict[str, Any] = {"grpc_tls": True, "grpc_ca_location": stranger.certificate}
        with BridgeProcess(settings, tmp_path, port=port, **other) as bridge:
            assert bridge.wait() == 2
        *_, line = bridge.output.splitlines()
        assert f"no trusted TLS connection to 127.0.0.1:{port}" in line
        assert "CERTIFICATE_VERIFY_FAILED" in line
        assert "PIPELINE_GRPC_CA_LOCATION" in line
        assert "Traceback" not in bridge.output
        right: dict[str, Any] = {"grpc_tls": True, "grpc_ca_location": authority.certificate}
        consent = ("--yes-write-simulated-events-to", topic_prefix)
        with BridgeProcess(settings, tmp_path, *consent, port=port, **right) as bridge:
            assert len(wait_for_raw(settings, COUNT)) == COUNT
            assert bridge.stop() == 0
    assert push.subscriptions == 1


def refusal(target: str, ca: Path | None) -> str:
    """What the source ends with before it has got anything."""
    settings = load_settings(grpc_target=target, grpc_ca_location=ca, app_key=APP_KEY, app_secret=APP_SECRET)
    with pytest.raises(OperatorActionRequired) as refused:
        next(BrokerPush(settings, Metrics(), Health()).receive(dict))
    return str(refused.value)


def test_the_authorities_of_the_system_are_not_those_of_a_company(tmp_path: Path, authority: Authority) -> None:
    push = Push(tmp_path, authority.issue("push"))
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("no certificate")
    with push.running() as port:
        assert "CERTIFICATE_VERIFY_FAILED" in refusal(f"127.0.0.1:{port}", None)
        assert "security handshaker" in refusal(f"127.0.0.1:{port}", nothing)
    assert push.subscriptions == 0


def test_a_certificate_for_another_host_is_refused(tmp_path: Path, authority: Authority) -> None:
    push = Push(tmp_path, authority.issue("push", host="push.example.com"))
    with push.running() as port:
        assert "Hostname Verification" in refusal(f"127.0.0.1:{port}", authority.certificate)
    assert push.subscriptions == 0


def test_there_is_no_way_back_to_plain_text(tmp_path: Path, authority: Authority) -> None:
    push = Push(tmp_path, None)
    with push.running() as port:
        assert "WRONG_VERSION_NUMBER" in refusal(f"127.0.0.1:{port}", authority.certificate)
    assert push.subscriptions == 0

"""Fixtures that every folder of tests may ask for."""

from __future__ import annotations

import signal
import uuid
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis import HealthCheck
from kafka_cluster import BROKERS, KafkaCluster, chosen_broker

from broker_events.devstack.artifacts import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_configure() -> None:
    # How long an example takes is a matter of the machine's load, not of the code.
    hypothesis.settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    hypothesis.settings.load_profile("any-machine")
    # A run that a shell has put into the background ignores Ctrl-C, and so would every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen_broker()  # a wrong TEST_BROKER stops the run before the first test


@pytest.fixture(scope="session")
def cluster() -> Iterator[KafkaCluster]:
    """Kafka and a schema registry for the whole session; tests keep apart by their topic_prefix."""
    try:
        with BROKERS[chosen_broker()]() as running:
            yield running
    except (pytest.UsageError, StackError) as error:  # once, not again for each test
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topics, groups, transactional ids and subjects that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"

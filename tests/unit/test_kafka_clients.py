"""How clients of Kafka are configured, and what is said where there is no Kafka."""

from __future__ import annotations

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

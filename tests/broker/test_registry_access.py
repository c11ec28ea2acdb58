"""A registry behind TLS and a password: what gets through, and what is said where nothing does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit
from registry_gate import Gate, gate

from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.schema_ids import resolve_schema_ids
from broker_events.runtime.settings import Settings, load_settings
from broker_events.schemas.catalog import load_catalog

USER_AND_PASSWORD = "pipeline:a-password:with-a-colon"  # noqa: S105 (it protects nothing)
WRONG = "pipeline:another-password"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def guarded(cluster: KafkaCluster, authority: Authority) -> Iterator[Gate]:
    with gate(cluster.registry_url, USER_AND_PASSWORD, authority.issue("registry")) as running:
        yield running


@pytest.fixture
def pipeline(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Pipeline:
    return Pipeline(cluster, topic_prefix, tmp_path, partitions=1)


def test_user_and_password_let_a_pipeline_through(pipeline: Pipeline, guarded: Gate, authority: Authority) -> None:
    access: dict[str, Any] = {
        "schema_registry_url": guarded.url,
        "schema_registry_basic_auth": USER_AND_PASSWORD,
        "schema_registry_ca_location": authority.certificate,
    }
    for arguments in (("topics", "apply"), ("schemas", "register")):
        done = pipeline.command(*arguments, **access)
        assert done.returncode == 0, done.stderr
    with (
        pipeline.worker("router", **access) as router,
        pipeline.worker("projector", **access | {"schema_registry_basic_auth": WRONG}) as stranger,
    ):
        pipeline.produce("raw", credit("paid", "ACC-1"), "ACC-1")
        pipeline.wait_for("event.credit", 1)
        assert router.wait_ready().stop() == 0
        assert stranger.wait() == 2
    assert USER_AND_PASSWORD not in router.log
    *_, line = stranger.log.splitlines()
    assert f"PIPELINE_SCHEMA_REGISTRY_BASIC_AUTH: {guarded.url} rejects user and password (HTTP 401)" in line
    assert "Traceback" not in stranger.log
    assert "another-password" not in stranger.log
    done = pipeline.command("tail", "event.credit", **access | {"schema_registry_basic_auth": WRONG})
    assert done.returncode == 2
    assert done.stderr.startswith("broker-events: PIPELINE_SCHEMA_REGISTRY_BASIC_AUTH: ")
    assert len(done.stderr.splitlines()) == 1


def settings_for(guarded: Gate, ca: Path | None, basic_auth: str | None) -> Settings:
    return load_settings(
        schema_registry_url=guarded.url, schema_registry_ca_location=ca, schema_registry_basic_auth=basic_auth
    )


@pytest.mark.parametrize(
    ("basic_auth", "status", "says"),
    [
        (WRONG, 401, "rejects user and password (HTTP 401)"),
        (None, 401, "rejects user and password (HTTP 401)"),
        (WRONG, 403, "rejects this user (HTTP 403)"),
    ],
)
def test_who_is_refused_is_told_which_setting_to_look_at(
    guarded: Gate, authority: Authority, basic_auth: str | None, status: int, says: str
) -> None:
    guarded.status = status
    with pytest.raises(OperatorActionRequired) as refusal:
        resolve_schema_ids(settings_for(guarded, authority.certificate, basic_auth), load_catalog())
    assert str(refusal.value) == f"PIPELINE_SCHEMA_REGISTRY_BASIC_AUTH: {guarded.url} {says}"
    assert guarded.passed == 0


def test_a_file_without_a_certificate_is_refused(guarded: Gate, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("no certificate")
    with pytest.raises(OperatorActionRequired, match="schema registry settings: "):
        resolve_schema_ids(settings_for(guarded, nothing, USER_AND_PASSWORD), load_catalog())


def test_a_certificate_that_does_not_verify_is_not_talked_to(guarded: Gate, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(OperatorActionRequired, match="PIPELINE_SCHEMA_REGISTRY_CA_LOCATION: the certificate of"):
        resolve_schema_ids(settings_for(guarded, stranger.certificate, USER_AND_PASSWORD), load_catalog())
    assert guarded.passed == 0

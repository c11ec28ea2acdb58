"""Kafka over TLS with passwords, client certificates and ACLs: the pipeline works with its rights, and with no less."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest
from alert_receiver import AlertReceiver, receivers_file, webhook
from certificates import HOST, Authority
from confluent_kafka import Consumer, KafkaException, TopicCollection
from confluent_kafka.admin import AclBinding, AclOperation, ResourceType
from kafka_cluster import KafkaCluster, chosen_broker
from pipeline_processes import COMMAND, PATIENCE_S, Pipeline, Worker, credit, envelope, environment
from secure_kafka import SecureKafka, rights, secure_kafka

from broker_events.ingest.sources.ndjson import NdjsonFiles
from broker_events.ingest.worker import run_files
from broker_events.processors import projector, router
from broker_events.runtime.kafka.acls import ROLES, user
from broker_events.runtime.kafka.clients import admin_client, consumer_config
from broker_events.runtime.kafka.transaction import Transaction
from broker_events.runtime.process.errors import OperatorActionRequired, PipelineError
from broker_events.runtime.settings import Settings, load_settings
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import EventDecoder
from broker_events.schemas.models import Alert
from broker_events.sinks.deliver import worker as deliver

PREFIX = "secure"
PASSWORD = "a-password-of-the-test"  # noqa: S105 (it protects nothing)
TOPICS = [*load_catalog().topics]
EVENTS = {topic for topic in TOPICS if topic.startswith("event.")}
STATE = {topic for topic in TOPICS if topic.startswith("state.")}
ALERTS = {"alerts", "alerts.active"}
READS = {
    "bridge": {"ingest.cursors"},
    "router": {"raw", "quarantine", "quarantine.recoveries"} | EVENTS,
    "projector": EVENTS | STATE | {"alerts.active"},
    "deliverer": ALERTS | {"alerts.deliveries"},
    "lake": EVENTS | STATE | {"raw", "alerts", "quarantine"},
    "topics": set[str](),
    "operator": {*TOPICS},
    "console": {*TOPICS} - {"console.audit", "ingest.cursors"},
    "replayer": {"quarantine", "quarantine.recoveries"},
    "repairer": EVENTS | STATE | ALERTS | {"raw", "quarantine", "ingest.cursors"},
    "copier": EVENTS | STATE | ALERTS | {"raw", "ingest.cursors"},
    "subscriber": EVENTS | ALERTS | STATE,
}
WRITES = {
    "bridge": {"raw", "ingest.cursors"},
    "router": EVENTS | {"quarantine"},
    "projector": STATE | ALERTS | {"quarantine"},
    "deliverer": {"alerts.deliveries"},
    "console": {"console.audit"},
    "replayer": {"raw", "quarantine.recoveries"},
    "repairer": STATE | ALERTS,
    "copier": STATE | ALERTS | {"raw", "ingest.cursors"},
}
ALERTING = envelope(
    "restricted",
    "ACCOUNT",
    {
        "account_id": "ACC-1",
        "account_number": "N1",
        "biz_type": "ACCOUNT_UPDATE",
        "restrictions": ["HK_STOCK_LIQUIDATE_ONLY"],
    },
)

Access = dict[str, Any]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    if chosen_broker() != "embedded":
        pytest.skip("only the embedded broker has users of the test's own")
    with secure_kafka(tmp_path_factory.mktemp("certificates")) as running:
        yield running


@pytest.fixture(scope="module")
def pipeline(kafka: SecureKafka, cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Return a pipeline that the test itself reaches as somebody who may do everything."""
    mine = KafkaCluster(kafka.kafka.bootstrap_servers, cluster.registry_url)
    return Pipeline(mine, PREFIX, tmp_path_factory.mktemp("secure"), partitions=1)


@pytest.fixture(scope="module")
def access(kafka: SecureKafka, pipeline: Pipeline) -> dict[str, Access]:
    """Settings of each role: half of them with a password, half with a certificate, all with the printed ACLs."""
    kafka.grant(rights(PREFIX))
    by_certificate = {"projector", "topics", "subscriber"}
    users = {role: user(pipeline.settings, role) for role in ROLES}
    return {
        role: kafka.mtls(name) if role in by_certificate else kafka.scram(name, PASSWORD)
        for role, name in users.items()
    }


@pytest.fixture(scope="module")
def made(pipeline: Pipeline, access: dict[str, Access]) -> Pipeline:
    """Return the pipeline with its topics and schemas, made by who may make them."""
    for arguments in (("topics", "apply"), ("schemas", "register")):
        done = pipeline.command(*arguments, **access["topics"])
        assert done.returncode == 0, done.stderr
    return pipeline


def settings_of(pipeline: Pipeline, access: Access, **more: object) -> Settings:
    common = {"topic_prefix": PREFIX, "partitions": 1, "schema_registry_url": pipeline.settings.schema_registry_url}
    return load_settings(**common | access | more)


def importing(pipeline: Pipeline, file: Path, access: Access) -> Worker:
    arguments = [*COMMAND, "ingest", "--file", str(file)]
    log = pipeline.folder / f"bridge-{time.monotonic_ns()}.log"
    return Worker(arguments, environment(pipeline.settings, **access), log)


def test_the_pipeline_runs_whole_with_these_rights(made: Pipeline, access: dict[str, Access], tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join((ALERTING, credit("paid", "ACC-1"), b"{broken")))
    with (
        AlertReceiver() as receiver,
        made.worker(
            "deliver", **access["deliverer"], delivery_receivers=receivers_file(tmp_path, webhook(receiver.url))
        ) as its_deliver,
        made.worker("router", **access["router"]) as its_router,
        made.worker("projector", **access["projector"]) as its_projector,
        importing(made, file, access["bridge"]) as bridge,
    ):
        assert bridge.wait() == 0, bridge.log
        alert = first_alert(settings_of(made, access["subscriber"]))
        assert (alert.account_key, alert.rule) == ("ACC-1", "LIQUIDATE_ONLY")
        made.wait_for("state.movements", 1)
        made.wait_for("alerts.deliveries", 1)
        assert len(receiver.verified()) == 1
        listed = made.command("quarantine", "list", **access["operator"])
        assert listed.returncode == 0, listed.stderr
        assert "not_json" in listed.stdout
        replayed = made.command("quarantine", "replay", "--yes", "--all", "--include-rejected", **access["replayer"])
        assert replayed.returncode == 0, replayed.stderr
        made.wait_for("quarantine", 2)
        for command in (("ledger",), ("explain", "paid", "--account", "ACC-1"), ("rebuild",)):
            audited = made.command(*command, **access["operator"])
            assert audited.returncode == 0, audited.stderr
        assert its_router.wait_ready().stop() == 0, its_router.log
        assert its_projector.wait_ready().stop() == 0, its_projector.log
        assert its_deliver.wait_ready().stop() == 0, its_deliver.log
        lake = access["lake"] | {"lake_warehouse": tmp_path / "lake"}
        assert made.command("lake", "apply", **lake).returncode == 0
        filled = made.command("lake", "--until-end", **lake)
        assert filled.returncode == 0, filled.stderr
        made.produce("state.movements", b"wrong", "of-nobody")
        repaired = made.command("rebuild", "--apply", "--delete-extra", **access["repairer"])
        assert repaired.returncode == 0, repaired.stderr
        assert "1 record written" in repaired.stdout.splitlines()
        assert PASSWORD not in bridge.log + its_router.log + its_projector.log


def first_alert(settings: Settings) -> Alert:
    group = f"{user(settings, 'subscriber')}-of-the-test"
    consumer = Consumer(consumer_config(settings, group_id=group) | {"auto.offset.reset": "earliest"})
    consumer.subscribe([settings.topic("alerts")])
    try:
        message = consumer.poll(PATIENCE_S)
    finally:
        consumer.close()
    assert message is not None
    assert message.error() is None
    alert = EventDecoder(settings.schema_registry_url).decode(message.value() or b"")
    assert isinstance(alert, Alert)
    return alert


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_and_writes_its_own_topics_alone(made: Pipeline, access: dict[str, Access], role: str) -> None:
    settings = settings_of(made, access[role])
    names = {settings.topic(topic): topic for topic in TOPICS}
    admin = admin_client(settings)  # with a name: without one its futures never resolve
    described = admin.describe_topics(TopicCollection([*names]), include_authorized_operations=True, request_timeout=30)
    may: dict[AclOperation, set[str]] = {operation: set() for operation in AclOperation}
    for name, future in described.items():
        try:
            for operation in future.result().authorized_operations or ():
                may[operation].add(names[name])
        except KafkaException:
            continue  # it may not even see it
    assert may[AclOperation.READ] == READS[role]
    assert may[AclOperation.WRITE] == WRITES.get(role, set())
    makes = {*TOPICS} if role == "topics" else set()
    assert may[AclOperation.CREATE] == may[AclOperation.ALTER_CONFIGS] == makes
    assert not may[AclOperation.DELETE] | may[AclOperation.ALTER]


@pytest.mark.parametrize(("role", "topic"), [("router", "raw"), ("projector", "event.credit"), ("bridge", "alerts")])
def test_what_a_worker_may_not_write_is_not_written(
    made: Pipeline, access: dict[str, Access], role: str, topic: str
) -> None:
    settings = settings_of(made, access[role])
    before = len(made.read(topic))
    transaction = Transaction(settings, f"{PREFIX}.{'ingest' if role == 'bridge' else role}.other")
    transaction.init()
    transaction.begin()
    transaction.produce(settings.topic(topic), b"forged", "ACC-1")
    with pytest.raises(PipelineError, match="Topic authorization failed"):
        transaction.commit()
    transaction.abort()
    assert len(made.read(topic)) == before


RUN: dict[str, Callable[[Settings, Event], object]] = {
    "router": router.run,
    "projector": projector.run,
    "bridge": lambda settings, stop: run_files(
        settings, stop, NdjsonFiles([Path("/dev/null")], limit=1_000_000), lambda _: None
    ),
    "deliverer": deliver.run,
}


def operation(binding: AclBinding) -> str:
    return AclOperation(binding.operation).name


def all_but_one() -> list[Any]:
    """Each worker with each of its rights, which it is to be without."""
    return [
        pytest.param(role, binding, id=f"{role}-{operation(binding)}-{binding.name}")
        for role in RUN
        for binding in rights(PREFIX, role)
        if not binding.name.endswith(".reader")  # without it a worker may have read all before it is refused
    ]


@pytest.mark.parametrize(("role", "missing"), all_but_one())
def test_a_worker_without_one_of_its_rights_says_which(
    made: Pipeline, kafka: SecureKafka, tmp_path: Path, role: str, missing: AclBinding
) -> None:
    name = f"{role}-{time.monotonic_ns()}"
    given = rights(PREFIX, role, "--principal", f"{role}=User:{name}")
    kafka.grant(each for each in given if not same(each, missing))
    file = receivers_file(tmp_path, webhook("http://127.0.0.1:9/"))
    settings = settings_of(made, kafka.mtls(name), delivery_receivers=file)
    stop = Event()
    limit = Timer(PATIENCE_S, stop.set)
    limit.start()
    try:
        with pytest.raises(OperatorActionRequired) as refusal:
            RUN[role](settings, stop)
    finally:
        limit.cancel()
    text = str(refusal.value)
    assert "\n" not in text
    assert missing.name in text
    if missing.restype is ResourceType.TOPIC:
        assert operation(missing).replace("_", "") in text.upper()
    assert "broker-events topics acls" in text


def same(one: AclBinding, other: AclBinding) -> bool:
    return (one.restype, one.name, one.operation) == (other.restype, other.name, other.operation)


def test_a_right_that_is_withdrawn_ends_a_worker_and_its_next_start_says_which(
    made: Pipeline, kafka: SecureKafka
) -> None:
    name = f"withdrawn-{time.monotonic_ns()}"
    given = rights(PREFIX, "router", "--principal", f"router=User:{name}")
    (withdrawn,) = (each for each in given if each.name.endswith(".event.") and each.operation is AclOperation.WRITE)
    kafka.grant(given)
    its = kafka.scram(name, PASSWORD)
    with made.worker("router", **its) as running:
        running.wait_ready()
        kafka.withdraw(withdrawn)
        before = len(made.read("event.credit"))
        made.produce("raw", credit("late", "ACC-1"), "ACC-1")
        assert running.wait() == 70, running.log
    with made.worker("router", **its) as next_one:
        assert next_one.wait() == 2
    assert last_line(next_one.log).endswith(
        "Write on topic secure.event.*. `broker-events topics acls` prints the ACLs that each worker needs"
    )
    assert len(made.read("event.credit")) == before


def last_line(log: str) -> str:
    """The error that a log without a traceback ends with."""
    assert "Traceback" not in log
    line = log.splitlines()[-1]
    assert " ERROR " in line
    return line


def wrong(kafka: SecureKafka, folder: Path, what: str) -> Access:
    """Settings that are right but for one thing."""
    stranger = Authority(folder, "stranger")
    scram, mtls = kafka.scram("somebody", PASSWORD), kafka.mtls("somebody")
    its = stranger.issue("somebody")
    identity = ("kafka_ssl_certificate_location", "kafka_ssl_key_location")
    host = scram["kafka_bootstrap_servers"].replace(HOST, "localhost")
    return {
        "password": scram | {"kafka_sasl_password": "not-" + PASSWORD},
        "authority": scram | {"kafka_ssl_ca_location": stranger.certificate},
        "host": scram | {"kafka_bootstrap_servers": host},
        "no certificate": {name: value for name, value in mtls.items() if name not in identity},
        "stranger": mtls | dict(zip(identity, (its.certificate, its.key), strict=True)),
    }[what]


@pytest.mark.parametrize(
    ("what", "setting"),
    [
        ("authority", "PIPELINE_KAFKA_SSL_CA_LOCATION"),
        ("host", "PIPELINE_KAFKA_SSL_CA_LOCATION"),
        ("no certificate", "PIPELINE_KAFKA_SSL_CERTIFICATE_LOCATION"),
        ("stranger", "PIPELINE_KAFKA_SSL_CERTIFICATE_LOCATION"),
    ],
)
def test_a_connection_that_is_not_trusted_names_the_setting(
    made: Pipeline, kafka: SecureKafka, tmp_path: Path, what: str, setting: str
) -> None:
    settings = settings_of(made, wrong(kafka, tmp_path, what), start_timeout_s=60)
    began = time.monotonic()
    with pytest.raises(OperatorActionRequired, match=setting) as refusal:
        admin_client(settings)
    assert time.monotonic() - began < 30
    assert "\n" not in str(refusal.value)
    assert PASSWORD not in str(refusal.value)


def test_a_wrong_password_ends_a_worker_with_one_line(made: Pipeline, kafka: SecureKafka, tmp_path: Path) -> None:
    with made.worker("router", **wrong(kafka, tmp_path, "password")) as stranger:
        assert stranger.wait() == 2
    assert "check PIPELINE_KAFKA_SASL_MECHANISM, _USERNAME and _PASSWORD" in last_line(stranger.log)
    assert PASSWORD not in stranger.log

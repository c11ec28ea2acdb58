"""Values of the chart reach the program as its settings; wrong ones are refused with the reason."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from command_line import parse
from manifests import (
    FULL,
    MINIMAL,
    SIMULATOR,
    VALUES,
    Manifest,
    containers,
    named,
    of_kind,
    pods,
    refusal,
    rendered,
)

from broker_events.runtime.kafka.topics import plan_topics
from broker_events.runtime.process.health import Health, HealthServer
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import PREFIX, Settings, load_settings
from broker_events.schemas.catalog import load_catalog

pytestmark = pytest.mark.timeout(1200)  # the first one builds Helm


def environment(container: Manifest, manifests: tuple[Manifest, ...], some_file: Path) -> dict[str, str]:
    """What a container's process would see: Secrets hold `user:secret`, every mounted file is `some_file`."""
    seen: dict[str, str] = {}
    for source in container.get("envFrom", []):
        (found,) = [
            m for m in of_kind(manifests, "ConfigMap") if m["metadata"]["name"] == source["configMapRef"]["name"]
        ]
        seen |= found["data"]
    for entry in container.get("env", []):
        is_field = "fieldRef" in entry.get("valueFrom", {})
        seen[entry["name"]] = entry.get("value", "pod-0" if is_field else "user:secret")
    there = {
        "_LOCATION": str(some_file),
        "_TOKENS": str(some_file),
        "_FOLDER": str(some_file.parent),
    }  # what is mounted in the pod
    return {name: there.get(name[name.rindex("_") :], text) for name, text in seen.items()}


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_the_program_takes_what_every_pod_gives_it(
    values: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_file = tmp_path / "file.pem"
    some_file.touch()
    manifests = rendered(values)
    for _, spec in pods(manifests):
        for container in containers(spec):
            if container["name"] in ("ready", "simulator"):
                continue
            with monkeypatch.context() as patch:
                for name in Settings.model_fields:
                    patch.delenv(PREFIX + name.upper(), raising=False)
                for name, text in environment(container, manifests, some_file).items():
                    patch.setenv(name, text)
                settings = load_settings()
            assert settings.kafka_bootstrap_servers.startswith(("kafka:", "kafka-0"))
            assert settings.http_host in ("0.0.0.0", "::")  # noqa: S104 (in the pod)


def test_values_arrive_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some_file = tmp_path / "file.pem"
    some_file.touch()
    manifests = rendered(FULL)
    (bridge,) = named(manifests, "StatefulSet", "bridge")["spec"]["template"]["spec"]["containers"]
    for name, text in environment(bridge, manifests, some_file).items():
        monkeypatch.setenv(name, text)
    settings = load_settings()
    assert settings.max_message_bytes == 16_777_216, "not 1.6777216e+07"
    assert settings.kafka_extra == {"socket.keepalive.enable": True, "statistics.interval.ms": 0}
    assert settings.grpc_event_types == ("ACCOUNT", "FUNDING")
    assert settings.grpc_silence_s == 90.5
    assert settings.kafka_sasl_username == "broker-bridge"
    assert settings.kafka_ssl_ca_location == some_file
    assert settings.app_secret is not None


def test_files_are_mounted_where_the_settings_say() -> None:
    for _, spec in pods(rendered(FULL)):
        projected = [volume["projected"] for volume in spec["volumes"] if volume["name"] == "files"]
        paths = {
            f"/etc/broker-events/{item['path']}"
            for volume in projected
            for source in volume["sources"]
            for item in (source.get("secret") or source["configMap"])["items"]
        }
        assert f"/etc/broker-events/{'kafka_ssl_ca_location'}" in paths


def test_only_the_bridge_has_the_secrets_of_the_push() -> None:
    for metadata, spec in pods(rendered(FULL)):
        names = {entry["name"] for container in containers(spec) for entry in container.get("env", [])}
        is_bridge = metadata["labels"]["app.kubernetes.io/component"] == "bridge"
        assert ("PIPELINE_APP_SECRET" in names) == is_bridge


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_every_container_runs_a_command_that_exists(values: Path) -> None:
    for _, spec in pods(rendered(values)):
        for container in containers(spec):
            if "command" not in container:
                parse(container["args"])


def test_probes_ask_for_pages_that_exist() -> None:
    pages = {
        container[probe]["httpGet"]["path"]
        for manifest in of_kind(rendered(MINIMAL), "StatefulSet")
        for container in manifest["spec"]["template"]["spec"]["containers"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    health = Health()
    server = HealthServer("127.0.0.1", 0, Metrics(), health)
    server.start()
    try:
        health.ready()
        for page in pages:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{page}", timeout=5) as answer:
                assert answer.status == 200
    finally:
        server.stop()


@pytest.mark.parametrize("settings", [(), ("settings.replication_factor=1", "settings.max_message_bytes=2097152")])
def test_strimzi_makes_the_topics_that_topics_apply_makes(settings: tuple[str, ...]) -> None:
    manifests = rendered(FULL, *settings, 'settings.topic_prefix="EU_west"')
    changed = dict(setting.removeprefix("settings.").split("=") for setting in settings)
    planned = plan_topics(
        load_catalog(),
        Settings.model_construct(
            topic_prefix="EU_west",
            partitions=48,
            replication_factor=int(changed.get("replication_factor", 3)),
            max_message_bytes=int(changed.get("max_message_bytes", 16_777_216)),
        ),
    )
    found = of_kind(manifests, "KafkaTopic")
    assert [
        (topic["spec"]["topicName"], topic["spec"]["partitions"], topic["spec"]["replicas"], topic["spec"]["config"])
        for topic in found
    ] == [(plan.name, plan.partitions, plan.replication_factor, plan.config) for plan in planned]
    for topic in found:
        assert topic["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert topic["metadata"]["name"] == topic["spec"]["topicName"].lower().replace("_", "-")


@pytest.mark.parametrize(("component", "replicas", "topic"), [("router", 24, "broker.raw"), ("projector", 12, None)])
def test_scaling_by_lag(component: str, replicas: int, topic: str | None) -> None:
    manifests = rendered(FULL)
    assert "replicas" not in named(manifests, "StatefulSet", component)["spec"], "an upgrade would set it back"
    spec = named(manifests, "ScaledObject", component)["spec"]
    assert spec["scaleTargetRef"]["name"] == named(manifests, "StatefulSet", component)["metadata"]["name"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, replicas)
    (trigger,) = spec["triggers"]
    assert trigger["metadata"] == {
        "bootstrapServers": "kafka-0.example.com:9093,kafka-1.example.com:9093",
        "consumerGroup": f"broker.{component}",
        "lagThreshold": "20000",
        "offsetResetPolicy": "earliest",
        "sasl": "scram_sha512",
        "tls": "enable",
    } | ({"topic": topic} if topic else {})
    authentication = named(manifests, "TriggerAuthentication", component)
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    given = [target for targets in authentication["spec"].values() for target in targets]
    assert {target["parameter"] for target in given} == {"username", "password", "ca"}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("settings.partitons=8", "additional properties 'partitons' not allowed"),
        ('settings.partitions="8"', "got string, want integer"),
        ("settings.partitions=0", "minimum: got 0, want 1"),
        ('settings.log_level="LOUD"', "value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
        ('settings.kafka_sasl_password="hush"', "value must be 'nothing here: it goes under secrets'"),
        ('settings.kafka_ssl_ca_location="/ca.pem"', "value must be 'nothing here: it goes under files'"),
        ('bridge.settings={"grpc_target": "p:443", "app_secret": "hush"}', "it goes under secrets"),
        ('settings.kafka_security_protocol="SASL_SSL"', "SASL_SSL needs settings.kafka_sasl_mechanism"),
        (
            (
                'router.settings={"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "PLAIN", '
                '"kafka_sasl_username": "u"}'
            ),
            "SASL_SSL needs secrets.kafka_sasl_password",
        ),
        ('files={"kafka_ssl_key_location": {"secret": "a", "key": "k"}}', "a client certificate needs both"),
        ('files={"kafka_ssl_ca_location": {"secret": "a", "key": "k"}}', "PLAINTEXT has no use for files.kafka_ssl_"),
        ('command={"args": ["ledger"], "name": "Ledger 1"}', "does not match pattern"),
        ('ledger={"enabled": true, "args": []}', "minItems: got 0, want 1"),
        ('settings.instance_id="router-0"', "additional properties 'instance_id' not allowed"),
        ('router.secrets={"app_secret": {"name": "push", "key": "secret"}}', "'app_secret' not allowed"),
        ('secrets={"kafka_sasl_password": "hush"}', "got string, want object"),
        ('files={"kafka_ssl_ca_location": {"secret": "a", "configMap": "b", "key": "c"}}', "'oneOf' failed"),
        ('image.tag="latest"', "image.tag: latest is another image tomorrow; name a version"),
        ("bridge.replicas=2", "additional properties 'replicas' not allowed"),
        ("pod.terminationGracePeriodSeconds=5", "minimum: got 5, want 15"),
        ('pod.extraEnv=[{"name": "PIPELINE_PARTITIONS", "value": "9"}]', "'not' failed"),
        ("routr.replicas=1", "additional properties 'routr' not allowed"),
        ("router.replicas=9", "router.replicas: 9, but there are 8 partitions: the others would be idle"),
        ('router.autoscaling={"enabled": true, "maxReplicas": 9}', "maxReplicas: 9, but there are 8 partitions"),
        ('router.autoscaling={"enabled": true, "minReplicas": 0}', "minimum: got 0, want 1"),
        ('router.autoscaling={"enabled": true, "minReplicas": 9}', "minReplicas: 9 is more than maxReplicas, 8"),
        ('router.autoscaling={"enabled": true, "lagThreshold": 8}', "markers alone leave a lag of up to 8"),
        ('projector.autoscaling={"enabled": true, "lagThreshold": 96}', "markers alone leave a lag of up to 96"),
        ('settings.kafka_bootstrap_servers=""', "settings.kafka_bootstrap_servers: where is Kafka?"),
        ('settings.schema_registry_url=""', "settings.schema_registry_url: where is the schema registry?"),
        ('bridge.settings={"grpc_target": ""}', "bridge.settings.grpc_target: where is the event push?"),
        ('strimzi={"enabled": true, "cluster": "events"}', "needs setup.topics: false"),
        ("simulator.port=80", "minimum: got 80, want 1,024"),
    ],
)
def test_wrong_values_are_refused(setting: str, said: str) -> None:
    assert said in refusal(MINIMAL, setting)


def test_a_refusal_never_quotes_a_secret() -> None:
    assert "hush" not in refusal(MINIMAL, 'settings.kafka_sasl_password="hush"')


def test_the_bridge_finds_the_simulator() -> None:
    manifests = rendered(SIMULATOR)
    service = named(manifests, "Service", "simulator")
    settings = named(manifests, "ConfigMap", "bridge")["data"]
    assert settings["PIPELINE_GRPC_TARGET"].startswith(f"{service['metadata']['name']}.events.svc:")
    assert settings["PIPELINE_GRPC_TARGET"].endswith(f":{service['spec']['ports'][0]['port']}")
    assert settings["PIPELINE_GRPC_TLS"] == "false"

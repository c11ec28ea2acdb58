"""Settings: where they come from, which wins, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import CONFIG_FILE, PREFIX, Settings, load_settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*Settings.model_fields, "config"]:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the config file that the environment names."""
    file = tmp_path / "pipeline.toml"
    monkeypatch.setenv(CONFIG_FILE, str(file))
    return file


def refusal(**overrides: object) -> str:
    with pytest.raises(OperatorActionRequired) as raised:
        load_settings(**overrides)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_names_that_a_deployment_shares() -> None:
    settings = load_settings(topic_prefix="eu", instance_id="router-0")
    assert settings.topic("event.transfer") == "eu.event.transfer"
    assert settings.group("router") == "eu.router"
    assert settings.transactional_id("router") == "eu.router.router-0"


def test_environment_over_file_over_default(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("topic_prefix = 'filed'\n", encoding="utf-8")
    assert load_settings().partitions == 8
    config.write_text("partitions = 12\ntopic_prefix = 'filed'\n", encoding="utf-8")
    assert load_settings().partitions == 12
    monkeypatch.setenv("PIPELINE_PARTITIONS", "16")
    assert load_settings().partitions == 16
    assert load_settings().topic_prefix == "filed"
    assert load_settings(partitions=3).partitions == 3
    assert load_settings(partitions=None).partitions == 16, "an option that nobody gave"


@pytest.mark.parametrize(
    ("text", "expected"), [("ACCOUNT", ("ACCOUNT",)), (" ACCOUNT , FUNDING,", ("ACCOUNT", "FUNDING"))]
)
def test_event_types_are_comma_separated(monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]) -> None:
    monkeypatch.setenv("PIPELINE_GRPC_EVENT_TYPES", text)
    assert load_settings().grpc_event_types == expected


def test_more_client_settings_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_KAFKA_EXTRA", '{"client.rack": "a", "fetch.min.bytes": 2}')
    assert load_settings().kafka_extra == {"client.rack": "a", "fetch.min.bytes": 2}
    monkeypatch.setenv("PIPELINE_KAFKA_EXTRA", "client.rack=a")
    assert refusal().startswith("PIPELINE_KAFKA_EXTRA: ")


def test_what_exactly_once_rests_on_is_no_extra() -> None:
    text = refusal(kafka_extra={"linger.ms": 5, "isolation.level": "read_uncommitted", "acks": 1})
    assert text.startswith("PIPELINE_KAFKA_EXTRA: acks, isolation.level can't be set here")


def test_sasl_needs_mechanism_user_and_password() -> None:
    secret = {"kafka_sasl_password": "hunter2"}
    text = refusal(kafka_security_protocol="SASL_SSL", **secret)
    assert text == (
        "PIPELINE_KAFKA_SECURITY_PROTOCOL: SASL_SSL requires "
        "PIPELINE_KAFKA_SASL_MECHANISM, PIPELINE_KAFKA_SASL_USERNAME"
    )
    load_settings(
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="user",
        **secret,
    )
    load_settings(kafka_security_protocol="SASL_SSL", kafka_extra={"sasl.mechanisms": "OAUTHBEARER"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("partitions", 0),
        ("partitions", "many"),
        ("replication_factor", 10),
        ("commit_interval_ms", 1),
        ("transaction_timeout_ms", 100),
        ("session_timeout_ms", 1),
        ("http_port", 70_000),
        ("topic_prefix", "with space"),
        ("topic_prefix", ""),
        ("instance_id", "a/b"),
        ("kafka_security_protocol", "TLS"),
        ("kafka_ssl_ca_location", "/no/such/file"),
        ("log_level", "LOUD"),
        ("start_timeout_s", 0),
    ],
)
def test_a_wrong_value_names_its_setting(name: str, value: object) -> None:
    text = refusal(**{name: value})
    assert text.startswith(f"PIPELINE_{name.upper()}: ")
    assert repr(str(value)) in text


def test_a_transaction_commits_well_before_the_broker_aborts_it() -> None:
    assert load_settings(commit_interval_ms=1000, transaction_timeout_ms=2000).commit_interval_ms == 1000
    with pytest.raises(
        OperatorActionRequired, match=r"PIPELINE_COMMIT_INTERVAL_MS: 1001 is more than half of .*_TIMEOUT_MS"
    ):
        load_settings(commit_interval_ms=1001, transaction_timeout_ms=2000)


def test_at_least_one_event_type() -> None:
    assert refusal(grpc_event_types=" , ").startswith("PIPELINE_GRPC_EVENT_TYPES: ")


def test_every_wrong_value_is_named_at_once() -> None:
    text = refusal(partitions=0, http_port=-1)
    assert "PIPELINE_PARTITIONS: " in text
    assert "PIPELINE_HTTP_PORT: " in text


@pytest.mark.parametrize(
    "servers",
    ["kafka", "kafka:9092", " a.b-c_1:1 , b:65535,", "[::1]:9092,[fe80::1%eth0]", "SASL_SSL://kafka:9093"],
)
def test_addresses_of_kafka(servers: str) -> None:
    assert load_settings(kafka_bootstrap_servers=servers).kafka_bootstrap_servers == servers


@pytest.mark.parametrize(
    "servers",
    ["http://kafka:9092", "::1:9092", "::1", "kafka:", "kafka:x", "kafka:65536", "a:1;b:2", "a:1 b:2", ",", "a/b"],
)
def test_what_is_no_address_of_kafka_is_named(servers: str) -> None:
    assert refusal(kafka_bootstrap_servers=servers) == (
        "PIPELINE_KAFKA_BOOTSTRAP_SERVERS: must be host:port, comma separated, with IPv6 addresses in brackets "
        f"(got {servers!r})"
    )


def test_a_url_is_no_target_of_the_push() -> None:
    assert refusal(grpc_target="https://push.example.com").startswith(
        "PIPELINE_GRPC_TARGET: must be host:port, not a URL"
    )
    assert load_settings(grpc_target="dns:///push.example.com:443").grpc_target == "dns:///push.example.com:443"


def test_brackets_around_an_address_to_listen_on_mean_nothing() -> None:
    assert load_settings(http_host="[::1]").http_host == "::1"


@pytest.mark.parametrize(
    "name", ["app_secret", "kafka_sasl_password", "kafka_ssl_key_password", "schema_registry_basic_auth"]
)
def test_a_secret_is_never_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hunter2" not in refusal(**{name: ["hunter2"]})
    monkeypatch.setenv(PREFIX + name.upper(), "user:hunter2")
    settings = load_settings()
    assert getattr(settings, name).get_secret_value() == "user:hunter2"
    assert "hunter2" not in f"{settings!r} {settings}"


def test_registry_credentials_have_a_user_and_are_not_in_the_url() -> None:
    text = refusal(schema_registry_basic_auth="hunter2")
    assert text == "PIPELINE_SCHEMA_REGISTRY_BASIC_AUTH: must be user:password"
    text = refusal(schema_registry_url="https://user:hunter2@registry:8081")
    assert "SCHEMA_REGISTRY_BASIC_AUTH" in text
    assert "hunter2" not in text
    assert "http://" in refusal(schema_registry_url="registry:8081")


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("PARTITION", "PARTITIONS"),
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_SASL_PASSWD", "KAFKA_SASL_PASSWORD"),
        ("SCHEMA_REGISTRY", "SCHEMA_REGISTRY_URL"),
        ("REPLICATION_FACTORS", "REPLICATION_FACTOR"),
    ],
)
def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, setting: str) -> None:
    monkeypatch.setenv(PREFIX + variable, "8")
    assert refusal() == f"PIPELINE_{variable}: no such setting; did you mean PIPELINE_{setting}?"
    monkeypatch.setenv(PREFIX + variable, "")
    load_settings()


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("PIPELINE_WORKSPACE", ""),  # Azure Pipelines
        ("PIPELINE_SERVICE_HOST", ""),  # Kubernetes: service links of a service named pipeline
        ("PIPELINE_SERVICE_PORT", ""),
        ("PIPELINE_PORT", "; did you mean PIPELINE_HTTP_PORT?"),
        ("PIPELINE_PORT_9464_TCP_ADDR", ""),
        ("PIPELINE_NAME", ""),
        ("PIPELINE_ID", ""),
        ("PIPELINE_URL", ""),
        ("PIPELINE_CONFIG_FILE", "; did you mean PIPELINE_CONFIG?"),
        ("PIPELINE_KAFKA_SERVERS", "; did you mean PIPELINE_KAFKA_BOOTSTRAP_SERVERS?"),
    ],
)
def test_a_variable_of_another_program_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, hint: str
) -> None:
    monkeypatch.setenv(variable, "x")
    assert load_settings().partitions == 8
    assert caplog.messages == [f"{variable}: ignored: no such setting{hint}"]


@pytest.mark.parametrize("name", [*Settings.model_fields, "config"])
def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, config: Path, name: str) -> None:
    config.write_text("", encoding="utf-8")
    default = load_settings()
    if name in Settings.model_fields:
        config.write_text(f'{name} = ""', encoding="utf-8")
        assert load_settings() == default
    monkeypatch.setenv(PREFIX + name.upper(), "")
    settings = load_settings()
    assert settings == default
    assert settings.model_fields_set == set()


def test_an_empty_variable_leaves_the_file_alone(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("partitions = 12", encoding="utf-8")
    monkeypatch.setenv("PIPELINE_PARTITIONS", "")
    assert load_settings().partitions == 12


def test_an_empty_password_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_KAFKA_SASL_PASSWORD", "")
    text = refusal(kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism="PLAIN", kafka_sasl_username="u")
    assert text.endswith("SASL_SSL requires PIPELINE_KAFKA_SASL_PASSWORD")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("partition = 8", "no such setting: 'partition'; did you mean 'partitions'?"),
        ("partitions 8", "Expected"),
        ("a = '\udcff'", "utf-8"),
    ],
)
def test_a_wrong_config_file_is_named(config: Path, content: str, says: str) -> None:
    config.write_text(content, encoding="utf-8", errors="surrogateescape")
    text = refusal()
    assert text.startswith(f"PIPELINE_CONFIG: {config}: ")
    assert says in text


def test_a_missing_config_file_is_named(config: Path) -> None:
    assert refusal().startswith(f"PIPELINE_CONFIG: {config}: ")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().partitions = 3  # type: ignore[misc]

"""Every setting of the pipeline; the only place that reads the environment."""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
import socket
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import pydantic_settings
from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from broker_events.runtime.lake_settings import LakeSettings
from broker_events.runtime.process.addresses import are_bootstrap_servers
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.schemas.urls import split_userinfo

log = logging.getLogger(__name__)

PREFIX: Final = "PIPELINE_"
CONFIG_FILE: Final = f"{PREFIX}CONFIG"

# A variable with this similarity to a setting (difflib's ratio) counts as misspelt.
_MISSPELT: Final = 0.8

_PERSONS_PATIENCE_S: Final = 5.0

_PROXY: Final = re.compile(r"http://([^\s:/?#\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")

# Exactly-once depends on these client settings, or a setting here controls them.
_NOT_EXTRA: Final = {
    "acks",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "message.max.bytes",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "session.timeout.ms",
    "transaction.timeout.ms",
    "transactional.id",
}


# librdkafka writes a topic's id in base64, also with + and /.
_PLACE: Final = re.compile(r"[A-Za-z0-9._-]+:(0|[1-9][0-9]{0,8}):(0|[1-9][0-9]{0,17})(:[A-Za-z0-9_/+-]{22})?")


def checked_place(text: str) -> str:
    """Return a record's place, TOPIC:PARTITION:OFFSET[:TOPIC_ID]. Raises ValueError for any other text."""
    if _PLACE.fullmatch(text) is None:
        raise ValueError("must be TOPIC:PARTITION:OFFSET:TOPIC_ID, as the last log line of the projector has it")
    return text


_JSON_EXAMPLES: Final = {
    "kafka_extra": '{"client.id": "router-0"}',
    "lake_catalog_properties": '{"uri": "http://catalog:8181"}',
    "rule_thresholds": '{"large-transfer": {"other": "50000"}}',
    "console_proxy_roles": '{"support": "viewer", "operations": "operator"}',
}

_RULE: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).utcoffset() is not None
    except ValueError:
        return False


def _comma_separated(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Settings(LakeSettings):
    """All settings: `PIPELINE_<NAME>` in the environment, `name = value` in the TOML file that PIPELINE_CONFIG names.

    The environment overrides the file. An empty value counts as not set. An unknown name in the file, or a misspelt one
    in the environment, stops the process. Any other unknown PIPELINE_ variable is logged as a warning.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port, comma separated")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="security protocol of the Kafka connection"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism; required with a SASL_ protocol"
    )
    kafka_sasl_username: str | None = Field(None, description="SASL user")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password")
    kafka_ssl_ca_location: Path | None = Field(None, description="CA certificates (PEM); default: the system's")
    kafka_ssl_certificate_location: Path | None = Field(None, description="client certificate (PEM), for mTLS")
    kafka_ssl_key_location: Path | None = Field(None, description="client key (PEM), for mTLS")
    kafka_ssl_key_password: SecretStr | None = Field(None, description="password of the client key")
    kafka_extra: dict[str, str | int | bool] = Field(
        default_factory=dict,
        description="more librdkafka settings for every client, as JSON; none that exactly-once depends on",
    )
    schema_registry_url: str = Field("http://127.0.0.1:8081", description="Confluent-compatible schema registry")
    schema_registry_basic_auth: SecretStr | None = Field(None, description="user:password for the registry")
    schema_registry_ca_location: Path | None = Field(
        None, description="CA certificates (PEM) for an https registry; default: those of certifi"
    )

    schema_registry_proxy: str | None = Field(
        None, description="http://host:port of the HTTP proxy to the registry; never used for this machine"
    )

    topic_prefix: str = Field(
        "broker",
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        description="first part of every topic, group and transactional id",
    )
    partitions: int = Field(
        8, ge=1, le=1000, description="partition count of every topic; can't change once topics exist"
    )
    replication_factor: int = Field(1, ge=1, le=9, description="replicas of every topic (3 in production)")
    instance_id: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="stable name of this worker; a new worker of this name fences the old one",
    )
    superseded_action: Literal["exit", "wait"] = Field(
        "exit",
        description="when another process fences this one: exit with code 4, or wait (not ready) for a stop signal; "
        "use wait if the supervisor restarts every exit code",
    )

    state_folder: Path | None = Field(
        None,
        description="folder of this worker for state on disk; default: all state in memory, restored at each start",
    )
    state_memory_mb: int = Field(
        512,
        ge=1,
        le=1_000_000,
        description="memory for state, in MiB, of a worker with a STATE_FOLDER: caches and buffers",
    )

    commit_interval_ms: int = Field(
        100,
        ge=5,
        le=5000,
        description="minimum commit interval while a worker catches up; maximum for the bridge at low volume",
    )
    transaction_records: int = Field(100_000, ge=1, description="maximum number of records read per transaction")
    transaction_timeout_ms: int = Field(
        10_000, ge=2000, le=60_000, description="Kafka aborts a dead worker's open transaction after this time"
    )
    session_timeout_ms: int = Field(
        10_000, ge=6000, le=60_000, description="a worker without heartbeats loses its partitions after this time"
    )
    duplicate_window: int = Field(
        25_000, ge=0, description="minimum number of recent typed events per raw partition kept for deduplication"
    )
    max_clock_skew_s: float = Field(
        60,
        ge=1,
        le=3600,
        description="maximum clock difference: an event stamped further ahead of its receipt is not ordered by its own "
        "time; the bridge stops if its clock differs more from Kafka's; use one value for all workers",
    )
    # A derived record may be 4 times as large, and librdkafka's consumers end at a response above 100 MB by default.
    max_message_bytes: int = Field(
        8_388_608,
        ge=1_048_576,
        le=24_000_000,
        description="size limit of a record in the raw topic; other topics allow 4 times as much",
    )
    compression: Literal["lz4", "zstd", "snappy", "gzip", "none"] = Field(
        "lz4", description="compression of new records; kafkajs reads only gzip and none by itself"
    )
    quarantine_limit_share: float = Field(
        0.5, ge=0, le=1, description="alarm above this share of quarantined records; 1 disables"
    )
    quarantine_limit_records: int = Field(
        1000, ge=1, description="minimum number of recent records that the share is computed from"
    )
    quarantine_limit_consecutive: int = Field(
        1000, ge=0, description="alarm after this many consecutive quarantined records; 0 disables"
    )
    quarantine_limit_action: Literal["unready", "stop"] = Field(
        "unready", description="at the alarm: fail /ready until it ends (unready), or exit with code 3 (stop)"
    )
    projector_skip: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = Field(
        (),
        description="typed records to quarantine if they can't be processed: TOPIC:PARTITION:OFFSET:TOPIC_ID, ...",
    )
    projector_skip_reason: str | None = Field(
        None, description="why these records are skipped; stored in each quarantine record"
    )
    rules: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = Field(
        (),
        description="alert rules as data to switch on: NAME or NAME@TIME, comma separated; with a time, a rule applies "
        "to events received at it or later; projectors and rebuild need the same value",
    )
    rules_folder: Path | None = Field(None, description="folder with more alert rules, each in a folder of its own")
    rule_thresholds: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description='other thresholds of alert rules, as JSON: {"large-transfer": {"other": "50000"}}',
    )
    delivery_receivers: Path | None = Field(None, description="TOML file of the receivers of alerts, for `deliver`")
    start_timeout_s: float = Field(60, gt=0, description="how long to wait for Kafka and the registry at start")
    http_host: str = Field("127.0.0.1", description="address of /metrics, /live and /ready")
    http_port: int = Field(0, ge=0, le=65535, description="port of /metrics, /live and /ready; 0 takes a free one")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="minimum level of log entries")
    log_format: Literal["text", "json"] = Field(
        "text", description="format of a log entry: a line of text or a JSON object"
    )

    grpc_target: str | None = Field(None, description="host:port of the brokerage's event push")
    grpc_tls: bool = Field(default=True, description="TLS to the event push; disable for a local simulator only")
    grpc_ca_location: Path | None = Field(None, description="CA certificates (PEM) for the event push")
    grpc_proxy: str | None = Field(
        None, description="http://host:port of the HTTP proxy to the event push; never used for this machine"
    )
    grpc_event_types: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = Field(
        ("ACCOUNT", "FUNDING"), min_length=1, description="event types to subscribe, comma separated"
    )
    grpc_max_message_bytes: int = Field(
        67_108_864,
        ge=16_777_216,
        le=1_073_741_824,
        description="size limit of a push message; an event above MAX_MESSAGE_BYTES becomes a marker",
    )
    grpc_silence_s: float = Field(180, gt=0, description="reconnect after this time without a message")
    grpc_connection_limit_wait_s: float = Field(60, gt=0, description="wait after NumOfConnExceed")
    console_host: str = Field("127.0.0.1", description="address of the console; another machine's needs CONSOLE_TOKENS")
    console_port: int = Field(8420, ge=0, le=65535, description="port of the console; 0 takes a free one")
    console_folder: Path | None = Field(
        None, description="folder of this console's tables; default: a temporary one, filled again at each start"
    )
    console_names: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = Field(
        (), description="host names by which browsers reach the console, comma separated"
    )
    console_tokens: Path | None = Field(
        None, description="file of hashed tokens and their roles; `broker-events console token` writes its lines"
    )
    console_proxy_addresses: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = Field(
        (), description="addresses or networks of the OIDC proxy whose headers name the user; none: no headers count"
    )
    console_proxy_user_header: str = Field("X-Forwarded-Email", description="header of the proxy with the user's name")
    console_proxy_groups_header: str = Field(
        "X-Forwarded-Groups", description="header of the proxy with the user's groups, comma separated"
    )
    console_proxy_roles: dict[str, Literal["viewer", "investigator", "operator"]] = Field(
        default_factory=dict, description="console role by group of the proxy, as JSON; a user without one is refused"
    )
    console_actions: bool = Field(default=False, description="let operators replay quarantined records in the console")
    console_requests_per_s: float = Field(
        20, gt=0, le=10_000, description="requests per second that one token or address may send to the console"
    )

    app_key: str | None = Field(None, description="app key of the event push")
    app_secret: SecretStr | None = Field(
        None, description="app secret of the event push; signs requests, is never sent"
    )
    signature_algorithm: Literal["HMAC-SHA256", "HMAC-SHA1"] = Field(
        "HMAC-SHA256", description="signature algorithm that the brokerage requires"
    )

    @field_validator(
        "kafka_ssl_ca_location",
        "kafka_ssl_certificate_location",
        "kafka_ssl_key_location",
        "schema_registry_ca_location",
        "grpc_ca_location",
        "console_tokens",
    )
    @classmethod
    def _file_exists(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError("no such file")
        return path

    @field_validator("projector_skip")
    @classmethod
    def _are_places(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(checked_place, places))

    @field_validator("rules")
    @classmethod
    def _are_rules(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        for rule in rules:
            name, _, since = rule.partition("@")
            if not _RULE.fullmatch(name) or ("@" in rule and not _is_time(since)):
                raise ValueError("must be names of rules, such as transfer-rejected, or NAME@2026-01-31T00:00:00Z")
        if len({rule.partition("@")[0] for rule in rules}) != len(rules):
            raise ValueError("a rule is named twice")
        return rules

    @model_validator(mode="after")
    def _skips_have_a_reason(self) -> Self:
        if self.projector_skip and not (self.projector_skip_reason or "").strip():
            raise ValueError(
                f"{PREFIX}PROJECTOR_SKIP needs {PREFIX}PROJECTOR_SKIP_REASON: the reason to skip the records"
            )
        return self

    @field_validator("kafka_extra")
    @classmethod
    def _leaves_exactly_once_alone(cls, extra: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        if refused := sorted(_NOT_EXTRA & extra.keys()):
            raise ValueError(f"{', '.join(refused)} can't be set here: the pipeline sets them itself")
        return extra

    @model_validator(mode="after")
    def _transactions_commit_in_time(self) -> Self:
        if self.commit_interval_ms > self.transaction_timeout_ms / 2:
            raise ValueError(
                f"{PREFIX}COMMIT_INTERVAL_MS: {self.commit_interval_ms} is more than half of "
                f"{PREFIX}TRANSACTION_TIMEOUT_MS, {self.transaction_timeout_ms}, after which Kafka aborts"
            )
        return self

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> Self:
        """KAFKA_EXTRA may configure other mechanisms, which need other settings."""
        if self.kafka_security_protocol.startswith("SASL_") and not any(
            name.startswith("sasl.") for name in self.kafka_extra
        ):
            needed = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
            missing = [PREFIX + name.upper() for name in needed if getattr(self, name) is None]
            if missing:
                protocol = f"{PREFIX}KAFKA_SECURITY_PROTOCOL: {self.kafka_security_protocol}"
                raise ValueError(f"{protocol} requires {', '.join(missing)}")
        return self

    @field_validator("schema_registry_url")
    @classmethod
    def _url_without_password(cls, url: str) -> str:
        if any(split_userinfo(part.strip())[1] for part in url.split(",")):
            raise ValueError("put user and password in SCHEMA_REGISTRY_BASIC_AUTH, not in the URL")
        return url

    @field_validator("kafka_bootstrap_servers", "schema_registry_url", "grpc_target", "http_host")
    @classmethod
    def _is_not_blank(cls, address: str | None) -> str | None:
        if address is not None and not address.strip():
            raise ValueError("is empty")
        return address

    @field_validator("kafka_bootstrap_servers", "grpc_target", "http_host")
    @classmethod
    def _address_without_password(cls, address: str | None) -> str | None:
        if address is not None and "@" in address:
            raise ValueError("must be an address without user and password")
        return address

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _are_addresses(cls, servers: str) -> str:
        if not are_bootstrap_servers(servers):
            raise ValueError("must be host:port, comma separated, with IPv6 addresses in brackets")
        return servers

    @field_validator("grpc_target")
    @classmethod
    def _is_no_url(cls, target: str | None) -> str | None:
        if target is not None and re.match(r"https?:", target, re.IGNORECASE):
            raise ValueError("must be host:port, not a URL")
        return target

    @field_validator("http_host")
    @classmethod
    def _without_brackets(cls, host: str) -> str:
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    @field_validator("schema_registry_proxy", "grpc_proxy")
    @classmethod
    def _is_a_proxy(cls, url: str | None) -> str | None:
        if url is not None and "@" in url:
            raise ValueError("must be without user and password: a proxy with authentication is not supported")
        if url is not None and not _PROXY.fullmatch(url):
            raise ValueError("must be http://host:port")
        return url

    @field_validator("schema_registry_basic_auth")
    @classmethod
    def _user_and_password(cls, auth: SecretStr | None) -> SecretStr | None:
        if auth is not None and ":" not in auth.get_secret_value():
            raise ValueError("must be user:password")
        return auth

    @property
    def max_clock_skew_us(self) -> int:
        """`max_clock_skew_s` in microseconds."""
        return round(self.max_clock_skew_s * 1_000_000)

    @property
    def persons_timeout_s(self) -> float:
        """`start_timeout_s` if it is set, otherwise a shorter one for commands that a person waits for."""
        return self.start_timeout_s if "start_timeout_s" in self.model_fields_set else _PERSONS_PATIENCE_S

    def topic(self, name: str) -> str:
        """Kafka name of a catalog topic: `raw` -> `broker.raw`."""
        return f"{self.topic_prefix}.{name}"

    def group(self, app: str) -> str:
        """Consumer group of an app: `router` -> `broker.router`."""
        return f"{self.topic_prefix}.{app}"

    def transactional_id(self, app: str) -> str:
        """Transactional id of this worker of an app: `router` -> `broker.router.<instance id>`."""
        return f"{self.topic_prefix}.{app}.{self.instance_id}"


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 (each value is validated by its field)
    """Settings from overrides (command line), environment and config file, in this order.

    Raises OperatorActionRequired with one line that names each wrong setting; secret values are never in it.
    """
    known = {name.upper(): name for name in Settings.model_fields}
    given = {name.removeprefix(PREFIX) for name, value in os.environ.items() if name.startswith(PREFIX) and value}
    names = {*known, CONFIG_FILE.removeprefix(PREFIX)}
    for name in sorted(given - names):
        if near := difflib.get_close_matches(name, names, 1, _MISSPELT):
            raise OperatorActionRequired(f"{PREFIX}{name}: no such setting; did you mean {PREFIX}{near[0]}?")
        near = difflib.get_close_matches(name, names, 1)
        question = f"; did you mean {PREFIX}{near[0]}?" if near else ""
        log.warning("%s%s: ignored: no such setting%s", PREFIX, name, question)
    from_file = _read_config_file(os.environ.get(CONFIG_FILE))
    from_environment = {known[name] for name in given & known.keys()}
    values = {name: value for name, value in from_file.items() if name not in from_environment}
    values |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**values)
    except ValidationError as error:
        problem = "; ".join(_one_line(problem) for problem in error.errors())
    except pydantic_settings.SettingsError as error:  # not JSON
        cause = error.__cause__
        where = f" at character {cause.pos + 1}" if isinstance(cause, json.JSONDecodeError) else ""
        name = next(name for name in _JSON_EXAMPLES if f'"{name}"' in str(error))
        problem = f"{PREFIX}{name.upper()}: not valid JSON{where}; an example: {_JSON_EXAMPLES[name]}"
    raise OperatorActionRequired(problem)  # here: the context of an error that is raised above would hold the values


def _read_config_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        problem = next((_no_setting(name) for name in values if name not in Settings.model_fields), None)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problem = str(error)
    if problem is not None:  # here: the context of an error that is raised above would hold the file's text
        raise OperatorActionRequired(f"{CONFIG_FILE}: {path}: {problem}")
    return {name: value for name, value in values.items() if value != ""}


def _no_setting(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, 1)
    question = f"; did you mean {near[0]!r}?" if near else ""
    return f"no such setting: {name.rpartition('@')[2]!r}{question}"


def _one_line(problem: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:  # the message names its settings
        return str(message)
    field = str(problem["loc"][0])
    words = ("password", "secret", "auth", "extra", "registry_url", "proxy", "catalog_properties")
    secret = any(word in field for word in words)
    got = "" if secret or "@" in str(problem["input"]) else f" (got {str(problem['input'])[:80]!r})"
    return f"{PREFIX}{field.upper()}: {message}{got}"

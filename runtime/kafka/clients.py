"""librdkafka configurations. All clients share security settings and partitioner."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from broker_events.runtime.process.errors import Fenced, OperatorActionRequired, RestartRequired
from broker_events.runtime.process.retry import keep_trying
from broker_events.runtime.settings import Settings

log = logging.getLogger(__name__)

# The partitioner of Java clients; records without a key go to a random partition.
PARTITIONER: Final = "murmur2_random"

_SAME_ERROR_S: Final = 5.0
_ERRORS_KEPT: Final = 20
# "HTTP" as the first four bytes of a response, which are its size.
_HTTP_AS_SIZE: Final = "1213486160"
_LOCAL: Final = "make demo and broker-events stack start a Kafka on this machine and print the lines to export"
# Timeouts of the attempts to connect: short first, so that a wrong password is reported soon.
_ATTEMPTS_S: Final = (1.0, 2.0, 5.0)

Headers = list[tuple[str, str | bytes | None]]
Config = dict[str, Any]


def client_config(settings: Settings) -> Config:
    """Return the settings of every client: addresses, security and KAFKA_EXTRA."""
    config: Config = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "reconnect.backoff.max.ms": 2000,
        # With the default, rebootstrap, librdkafka 2.16 forgets a broker that has gone away: a transactional call that
        # waits for it never returns, whatever its timeout says.
        "metadata.recovery.strategy": "none",
        "socket.keepalive.enable": True,
        "logger": logging.getLogger("librdkafka"),
        "error_cb": _ErrorLog(),
    }
    secrets = {
        "sasl.password": settings.kafka_sasl_password,
        "ssl.key.password": settings.kafka_ssl_key_password,
    }
    plain = {
        "sasl.mechanisms": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "ssl.ca.location": settings.kafka_ssl_ca_location,
        "ssl.certificate.location": settings.kafka_ssl_certificate_location,
        "ssl.key.location": settings.kafka_ssl_key_location,
    }
    config |= {name: str(value) for name, value in plain.items() if value is not None}
    config |= {name: secret.get_secret_value() for name, secret in secrets.items() if secret is not None}
    return config | settings.kafka_extra


def consumer_config(settings: Settings, **more: Any) -> Config:  # noqa: ANN401 (librdkafka values)
    """A consumer that sees committed records only and never commits by itself; `more` uses _ for . in names."""
    return (
        client_config(settings)
        | {
            "isolation.level": "read_committed",
            "check.crcs": True,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # workers assign explicit offsets; a reset would skip or repeat records
            "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 50,
            "fetch.queue.backoff.ms": 10,  # the queue is emptied in milliseconds; the default pause is 1 s
        }
        | _dotted(more)
        | settings.kafka_extra
    )


def member_config(settings: Settings, group_id: str, **more: Any) -> Config:  # noqa: ANN401 (librdkafka values)
    """The consumer of a worker: a static member of its group, named by INSTANCE_ID (docs/adr/0021)."""
    return consumer_config(
        settings,
        group_id=group_id,
        client_id=f"{group_id}.{settings.instance_id}",
        group_instance_id=settings.instance_id,
        partition_assignment_strategy="range",
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.session_timeout_ms // 5,
        max_poll_interval_ms=300_000,
        enable_partition_eof=True,
        **more,
    )


def producer_config(settings: Settings, **more: Any) -> Config:  # noqa: ANN401 (librdkafka values)
    """An idempotent producer that waits for all in-sync replicas; `more` uses _ for . in names."""
    return (
        client_config(settings)
        | {
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": PARTITIONER,
            "compression.type": settings.compression,
            "linger.ms": 50,  # a commit flushes at once; lingering fills batches during catch-up
            "batch.size": 500_000,
            "message.max.bytes": settings.max_message_bytes,
            "queue.buffering.max.messages": 500_000,
            # A partition rejects the next transaction for a few ms, until the last one's marker is written.
            "retry.backoff.ms": 10,
        }
        | _dotted(more)
        | settings.kafka_extra
    )


def admin_client(settings: Settings, stop: threading.Event | None = None) -> AdminClient:
    """An admin client on a cluster that has answered; waits for it as `keep_trying` does.

    Raises OperatorActionRequired if librdkafka rejects a setting, or Kafka rejects password or certificates.
    """
    connection: deque[KafkaError] = deque(maxlen=_ERRORS_KEPT)
    problem = ""
    try:
        admin = AdminClient(client_config(settings) | {"error_cb": connection.append, "log_level": 0})
    except KafkaException as error:
        problem = error.args[0].str()
    if problem:  # here: the context of an error that is raised above would hold the values
        raise OperatorActionRequired(f"Kafka client: {problem}")
    patience_s = iter(_ATTEMPTS_S)
    reason: KafkaError | None = None
    seen: list[KafkaError] = []

    def ask() -> None:
        nonlocal reason
        connection.clear()
        try:
            admin.list_topics(timeout=min(next(patience_s, _ATTEMPTS_S[-1]), settings.start_timeout_s / 4))
        except KafkaException as exception:
            admin.poll(0)  # connection errors arrive by callback
            for error in connection:
                _raise_if_distrusted(error)
            seen.extend(connection)
            if connection:  # librdkafka does not repeat it at each attempt
                reason = connection[0]
            raise _NoAnswer((exception.args[0] if reason is None else reason).str()) from None

    address = f"Kafka at {settings.kafka_bootstrap_servers}"
    try:
        keep_trying(address, ask, settings.start_timeout_s, (_NoAnswer,), stop)
    except RestartRequired as error:
        is_set = "kafka_bootstrap_servers" in settings.model_fields_set
        named = "names it" if is_set else f"is not set, so the default counts; {_LOCAL}"
        advice = f"Is it running? PIPELINE_KAFKA_BOOTSTRAP_SERVERS {named}"
        if _hangs_up(seen):
            advice += f". Does it expect {settings.kafka_security_protocol}? Check PIPELINE_KAFKA_SECURITY_PROTOCOL"
        raise RestartRequired(f"{error}. {advice}") from None
    return admin


def answering(settings: Settings) -> Settings:
    """Return the settings once Kafka has answered. Without START_TIMEOUT_S, waits 5 s: a person is waiting.

    Raises as `admin_client`.
    """
    admin_client(settings.model_copy(update={"start_timeout_s": settings.persons_timeout_s}))
    return settings


class _NoAnswer(Exception):
    """The cluster did not answer; the text is librdkafka's reason."""


def _hangs_up(errors: list[KafkaError]) -> bool:
    """Whether the server closes connections at once, as one with another security protocol does.

    With SSL librdkafka asks about it; without, it only says that all brokers are down, and not why.
    """
    codes = {error.code() for error in errors}
    return codes == {KafkaError._ALL_BROKERS_DOWN} or any("listener?" in error.str() for error in errors)  # noqa: SLF001


def _raise_if_distrusted(error: KafkaError) -> None:
    """Raise OperatorActionRequired if a connection failed because one side doesn't trust the other."""
    text = error.str()
    if error.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001 (the public names of client-side codes)
        settings = "PIPELINE_KAFKA_SASL_MECHANISM, _USERNAME and _PASSWORD"
    elif "certificate verify failed" in text:
        settings = "PIPELINE_KAFKA_SSL_CA_LOCATION, and whether the certificate names the host of the address"
    elif "SSL alert" in text:
        settings = "PIPELINE_KAFKA_SSL_CERTIFICATE_LOCATION and _KEY_LOCATION"
    elif _HTTP_AS_SIZE in text:
        text = "an HTTP server answers, not Kafka"
        settings = "PIPELINE_KAFKA_BOOTSTRAP_SERVERS"
    else:
        return
    raise OperatorActionRequired(f"Kafka connection: {text}; check {settings}")


def raise_if_hopeless(error: KafkaError, topic: str | None, group: str) -> None:
    """Log an error that librdkafka recovers from; raise for any other.

    `topic`: the topic of the error, if any. Raises OperatorActionRequired for missing ACLs, Fenced if another member of
    the group has taken over the instance id, otherwise RestartRequired.
    """
    if _FENCED_MEMBER in error.str():  # a fatal error has a code of its own
        raise Fenced(f"another process has taken over the instance id in the group {group} ({error.str()})")
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        raise refused(f"Read on topic {topic} ({error.str()})")
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        raise refused(f"Read on group {group} ({error.str()})")
    if error.fatal() or error.code() in _HOPELESS:
        raise RestartRequired(f"Kafka consumer: {error.str()}")
    log.warning("Kafka consumer: %s; librdkafka retries", error.str())


def refused(what: str) -> OperatorActionRequired:
    """Return the error for a missing ACL; `what`: for example `Write on topic broker.raw`."""
    return OperatorActionRequired(
        f"Kafka denied this user: {what}. `broker-events topics acls` prints the ACLs that each worker needs"
    )


_FENCED_MEMBER: Final = KafkaError(KafkaError.FENCED_INSTANCE_ID).str()
_HOPELESS: Final = {
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 (the public names of client-side codes)
    KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}


def _dotted(config: Config) -> Config:
    return {name.replace("_", "."): value for name, value in config.items()}


class _ErrorLog:
    """Logs errors that librdkafka recovers from; the same error at most once per `_SAME_ERROR_S`."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}

    def __call__(self, error: KafkaError) -> None:
        now = time.monotonic()
        if now - self._last.get(error.code(), -_SAME_ERROR_S) >= _SAME_ERROR_S:
            self._last[error.code()] = now
            log.warning("Kafka: %s", error.str())

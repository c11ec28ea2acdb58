"""A Kafka that lets nobody do what no ACL allows: SCRAM and client certificates over TLS, and a way in for the test."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from certificates import Authority
from click.testing import CliRunner
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pipeline_processes import eventually

from broker_events.cli.main import cli
from broker_events.devstack.kafka import EmbeddedKafka

SCRAM, MTLS = "SCRAM", "MTLS"
MECHANISM = "SCRAM-SHA-512"
REQUEST_S = 30
RESOURCES = {
    "--topic": ResourceType.TOPIC,
    "--group": ResourceType.GROUP,
    "--transactional-id": ResourceType.TRANSACTIONAL_ID,
}


class SecureKafka:
    """The broker, its authority and its users; everything that is done with `admin` is allowed."""

    def __init__(self, kafka: EmbeddedKafka, authority: Authority) -> None:
        self.kafka = kafka
        self.authority = authority
        self.admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})

    def scram(self, user: str, password: str) -> dict[str, Any]:
        """Settings of a user with this password, who is made or gets a new one."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(user, info, password.encode())
        self.admin.alter_user_scram_credentials([change], request_timeout=REQUEST_S)[user].result()
        eventually(lambda: self._knows(user))
        return {
            "kafka_bootstrap_servers": self.kafka.addresses(SCRAM),
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": MECHANISM,
            "kafka_sasl_username": user,
            "kafka_sasl_password": password,
            "kafka_ssl_ca_location": self.authority.certificate,
        }

    def mtls(self, user: str) -> dict[str, Any]:
        """Settings of a user with a certificate of this name."""
        certificate = self.authority.issue(user)
        return {
            "kafka_bootstrap_servers": self.kafka.addresses(MTLS),
            "kafka_security_protocol": "SSL",
            "kafka_ssl_ca_location": self.authority.certificate,
            "kafka_ssl_certificate_location": certificate.certificate,
            "kafka_ssl_key_location": certificate.key,
        }

    def grant(self, wanted: Iterable[AclBinding]) -> None:
        """Give these rights; return when the broker goes by them."""
        granted = [*wanted]
        for future in self.admin.create_acls(granted, request_timeout=REQUEST_S).values():
            future.result()
        eventually(lambda: all(map(self._goes_by, granted)))

    def withdraw(self, binding: AclBinding) -> None:
        """Take a right back; return when the broker goes by it."""
        (future,) = self.admin.delete_acls([_filter(binding)], request_timeout=REQUEST_S).values()
        assert future.result()
        eventually(lambda: not self._goes_by(binding))

    def _knows(self, user: str) -> bool:
        known = self.admin.describe_user_scram_credentials(request_timeout=REQUEST_S)
        assert isinstance(known, Future), "of one user a dictionary, of all users one future"
        return user in known.result()

    def _goes_by(self, binding: AclBinding) -> bool:
        return bool(self.admin.describe_acls(_filter(binding), request_timeout=REQUEST_S).result())


def _filter(binding: AclBinding) -> AclBindingFilter:
    fields = ("restype", "name", "resource_pattern_type", "principal", "host", "operation", "permission_type")
    return AclBindingFilter(*(getattr(binding, field) for field in fields))


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """Run it; its certificates are in `folder`."""
    authority = Authority(folder)
    server = authority.issue("kafka")
    settings = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # whoever comes by the plain listener: the test, and the broker itself
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": server.both,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": authority.certificate,
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+)$/$1/",
        f"listener.name.{MTLS.lower()}.ssl.client.auth": "required",
        f"listener.name.{SCRAM.lower()}.sasl.enabled.mechanisms": MECHANISM,
        f"listener.name.{SCRAM.lower()}.{MECHANISM.lower()}.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
    }
    with EmbeddedKafka(listeners={SCRAM: "SASL_SSL", MTLS: "SSL"}, settings=settings) as kafka:
        yield SecureKafka(kafka, authority)


def rights(prefix: str, *arguments: str) -> list[AclBinding]:
    """What the kafka-acls commands would create that `broker-events topics acls` prints for this topic prefix."""
    printed = CliRunner().invoke(cli, ["topics", "acls", *arguments], env={"PIPELINE_TOPIC_PREFIX": prefix})
    assert printed.exit_code == 0, printed.output
    return [binding for line in printed.output.splitlines() for binding in _bindings(shlex.split(line, comments=True))]


def _bindings(command: list[str]) -> Iterator[AclBinding]:
    words = iter(command)
    options: dict[str, list[str]] = {"--operation": []}
    for word in words:
        if word not in ("kafka-acls", "--add"):
            options.setdefault(word, []).append(next(words))
    for operation in options["--operation"]:
        ((resource, (name,)),) = ((kind, options[option]) for option, kind in RESOURCES.items() if option in options)
        (pattern,) = options.get("--resource-pattern-type", ["literal"])
        (principal,) = options["--allow-principal"]
        allowed = next(each for each in AclOperation if each.name.replace("_", "") == operation.upper())
        kind = ResourcePatternType[pattern.upper()]
        yield AclBinding(resource, name, kind, principal, "*", allowed, AclPermissionType.ALLOW)

"""Registers schemas in the schema registry, checks them and looks up their ids.

Works with every registry that implements Confluent's API (Confluent, Karapace, Apicurio under /apis/ccompat/v7). Only
`Registry.register` registers schemas. Producers never do, so no incompatible schema can be registered by accident.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeVar

import confluent_kafka
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from broker_events.schemas.catalog import Catalog
from broker_events.schemas.field_types import Json, type_changes
from broker_events.schemas.urls import split_userinfo, without_userinfo

LEVEL = "FULL_TRANSITIVE"
_TIMEOUT_S = 10
_NO_PROXY = "http://127.0.0.1:9"
_NOT_THE_REGISTRYS = {None, SchemaRegistryError.UNKNOWN, 404}  # a proxy or web server; registry codes have 5 digits
_MAY_PASS = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_UNAVAILABLE = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
_DENIED = {401: "user and password", 403: "this user"}  # by HTTP status
_UNKNOWN_CODES = {40401, 40403, 40408}  # subject, schema, the subject's own compatibility level

_KEEP_TYPE = "readers of that version would read wrong values. Keep the type and add a new nullable field"
_KEEP_FIELD = "its readers would read null. Keep the field"
_ADD_FIELDS = "only nullable fields with the default null may be added"

_UNVERIFIED = "CERTIFICATE_VERIFY_FAILED"  # OpenSSL's message

_T = TypeVar("_T")


class RegistryError(RuntimeError):
    """The registry cannot be reached, rejects the request or does not have the requested schema."""

    def __init__(self, text: str) -> None:
        super().__init__(without_userinfo(text))


class CredentialsRefused(RegistryError):
    """The server rejects user and password (401) or denies the request to this user (403)."""


class RegistryRefuses(RegistryError):
    """A retry would fail the same way: the server is not a registry, or it rejects the request."""


class RegistryUntrusted(RegistryError):
    """The certificate of the registry cannot be verified."""


class SchemaNotRegistered(RegistryError):
    """The registry does not have the requested schema."""


class IncompatibleSchema(RegistryError):
    """A schema is incompatible with a registered version of its subject."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A topic's subject and its schema: `name` is `<topic with prefix>-value`, `schema` is JSON text."""

    name: str
    schema: str


@dataclass(frozen=True, slots=True)
class Registration:
    """What `register` did for a subject."""

    subject: str
    outcome: Literal["created", "unchanged", "new version"]
    schema_id: int


@dataclass(frozen=True, slots=True)
class SubjectState:
    """A problem that `check` found. `register` repairs every problem except `incompatible`."""

    subject: str
    problem: Literal["missing", "new version", "incompatible", "wrong level"]
    detail: str


def desired_subjects(catalog: Catalog, prefix: str) -> tuple[Subject, ...]:
    """Return one subject per Avro topic. `prefix` is the deployment's topic prefix, without the dot."""
    return tuple(
        Subject(f"{prefix}.{topic}-value", contract.schema_text)
        for topic, (contract, _) in catalog.topics.items()
        if contract.schema_text is not None
    )


class Registry:
    """A schema registry at `url`, or at several, comma separated; `ca_location` is a PEM file for https.

    `basic_auth` is `user:password`; a URL may contain them instead. Errors never show them. `proxy` is the URL of an
    HTTP proxy. Proxies from the environment (HTTP_PROXY and others) are ignored.
    Every method raises `RegistryError` if the registry cannot be reached or rejects the request.
    """

    def __init__(
        self, url: str, basic_auth: str | None = None, ca_location: str | None = None, proxy: str | None = None
    ) -> None:
        try:
            urls, userinfo = zip(*(split_userinfo(part.strip()) for part in url.split(",")), strict=True)
        except ValueError as error:
            raise RegistryError(f"schema registry settings: the URL {error}") from None
        if basic_auth is not None and any(userinfo):
            raise RegistryError("schema registry settings: the URL and basic_auth both contain a user")
        url = ",".join(urls)
        self._url = url if proxy is None else f"{url} (through the proxy {proxy})"
        basic_auth = basic_auth or next(filter(None, userinfo), None)
        # One retry instead of the client's three: callers log every failed attempt and retry themselves.
        settings: dict[str, object] = {"url": url, "timeout": _TIMEOUT_S, "max.retries": 1}
        if basic_auth is not None:
            settings["basic.auth.user.info"] = basic_auth
        if ca_location is not None:
            settings["ssl.ca.location"] = ca_location
        # Any proxy setting stops the client from using the environment's. The session below uses none.
        settings["proxy"] = proxy or _NO_PROXY
        problem = ""
        try:
            self._client = SchemaRegistryClient(settings)
        except (ValueError, OSError) as error:  # OSError: a CA file without a certificate
            problem = str(error)
        except Exception:  # noqa: BLE001  (the HTTP library's error quotes parts of the URL)
            problem = "the proxy is not a valid URL"
        if problem:  # raised here, because an error raised above would carry the URL in its context
            raise RegistryError(f"schema registry settings: {problem}")
        if proxy is None:
            _connect_directly(self._client)

    def register(self, subjects: Iterable[Subject]) -> list[Registration]:
        """Register the schemas that are not registered yet. Idempotent.

        Sets every subject's compatibility level and tests its schema against all registered versions first. If any
        test fails, registers none and raises `IncompatibleSchema`, which names all failures.
        """
        wanted = tuple(subjects)
        for subject in wanted:
            self._require_level(subject.name)
        broken = [f"{subject.name}: {conflict}" for subject in wanted for conflict in self._conflicts(subject)]
        if broken:
            raise IncompatibleSchema(f"nothing was registered; {'; '.join(broken)}")
        return [self._register(subject) for subject in wanted]

    def check(self, subjects: Iterable[Subject]) -> list[SubjectState]:
        """Return the problems of these subjects, empty if there are none. Changes nothing."""
        findings = []
        for subject in subjects:
            level = self._level(subject.name)
            if not self.versions(subject.name):
                findings.append(SubjectState(subject.name, "missing", "the subject has no schema yet"))
                continue
            if level != LEVEL:
                findings.append(SubjectState(subject.name, "wrong level", f"compatibility is {level}, not {LEVEL}"))
            conflicts = self._conflicts(subject)
            findings += [SubjectState(subject.name, "incompatible", conflict) for conflict in conflicts]
            if not conflicts and self._id(subject) is None:
                detail = "this version's schema is compatible with every registered version, but not registered yet"
                findings.append(SubjectState(subject.name, "new version", detail))
        return findings

    def resolve(self, subject: str, schema: str) -> int:
        """Return the id of a schema (JSON text) under a subject. Raises `SchemaNotRegistered` if there is none."""
        schema_id = self._id(Subject(subject, schema))
        if schema_id is None:
            raise SchemaNotRegistered(
                f"{subject} at {self._url} does not have this version's schema. Run `broker-events schemas register`"
            )
        return schema_id

    def schema_text(self, schema_id: int, known_subject: str | None = None) -> str:
        """Return the schema of an id as JSON text. Raises `SchemaNotRegistered` for an unknown id.

        Some servers answer a lookup of an unknown id with an HTTP error that is not a registry's. If the registry then
        has versions of `known_subject`, it works, and the id counts as unknown. A timeout, a failed connection and an
        answer that asks to come back later say nothing about the id.
        """
        try:
            schema = self._find(lambda: self._client.get_schema(schema_id))
        except RegistryError as error:
            if known_subject is None or not _is_about_the_id(error) or not self._has(known_subject):
                raise
            raise SchemaNotRegistered(f"the registry works, but not for the schema id {schema_id}: {error}") from error
        if schema is None or schema.schema_str is None:
            raise SchemaNotRegistered(f"the registry at {self._url} has no schema with the id {schema_id}")
        return schema.schema_str

    def latest(self, subject: str) -> Json | None:
        """Return the newest schema of a subject, None if it has none."""
        versions = self.versions(subject)
        return self._version(subject, versions[-1]) if versions else None

    def _require_level(self, subject: str) -> None:
        if self._level(subject) != LEVEL:
            self._ask(lambda: self._client.set_compatibility(subject, LEVEL))
            level = self._level(subject)
            if level != LEVEL:
                raise RegistryRefuses(f"the registry at {self._url} left {subject} at {level}; it must be {LEVEL}")

    def _register(self, subject: Subject) -> Registration:
        existed = bool(self.versions(subject.name))
        schema_id = self._id(subject)
        if schema_id is not None:
            return Registration(subject.name, "unchanged", schema_id)
        schema_id = self._ask(lambda: self._client.register_schema(subject.name, Schema(subject.schema, "AVRO")))
        return Registration(subject.name, "new version" if existed else "created", schema_id)

    def _conflicts(self, subject: Subject) -> list[str]:
        """Describe why the schema cannot join its subject: changed types, otherwise the registry's rejection."""
        versions, registered = self.versions(subject.name), self._id(subject) is not None
        if not versions:
            return []
        ours, found = json.loads(subject.schema), {}
        for version in versions:
            for path, old, new in type_changes(self._version(subject.name, version), ours):
                if new is not None:
                    found[path] = f"{path or 'the record'} is {old} in version {version} and {new} here; {_KEEP_TYPE}"
                elif not registered:  # an older version lacks fields of newer ones
                    found[path] = f"{path}, {old} in version {version}, is missing here; {_KEEP_FIELD}"
        schema = Schema(subject.schema, "AVRO")
        compatible = registered or self._ask(lambda: self._client.test_compatibility_all_versions(subject.name, schema))
        rejection = [] if compatible or found else [f"the registry rejects it as not {LEVEL}; {_ADD_FIELDS}"]
        return [*found.values(), *rejection]

    def _version(self, subject: str, version: int) -> Json:
        registered = self._ask(lambda: self._client.get_version(subject, version))
        schema = json.loads(registered.schema.schema_str or "null")
        if not isinstance(schema, dict):
            raise RegistryError(f"version {version} of {subject} at {self._url} is not a record schema")
        return schema

    def _id(self, subject: Subject) -> int | None:
        schema = Schema(subject.schema, "AVRO")
        registered = self._find(lambda: self._client.lookup_schema(subject.name, schema))
        return None if registered is None else registered.schema_id

    def _level(self, subject: str) -> str | None:
        return self._find(lambda: self._client.get_compatibility(subject))

    def _has(self, subject: str) -> bool:
        try:
            return bool(self.versions(subject))
        except RegistryError:
            return False

    def versions(self, subject: str) -> list[int]:
        return self._find(lambda: self._client.get_versions(subject)) or []

    def _find(self, call: Callable[[], _T]) -> _T | None:
        """Return the registry's answer, None if it reports that there is no such subject, schema or level."""
        try:
            return self._ask(call)
        except RegistryError as error:
            cause = error.__cause__
            if isinstance(cause, SchemaRegistryError) and cause.error_code in _UNKNOWN_CODES:
                return None
            raise

    def _ask(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except SchemaRegistryError as error:
            status = error.http_status_code
            kind = RegistryRefuses if _is_final(status) else RegistryError
            if status in _DENIED:
                raise CredentialsRefused(f"{self._url} rejects {_DENIED[status]} (HTTP {status})") from error
            if error.error_code in _NOT_THE_REGISTRYS:
                raise self._no_registry(f"HTTP {status}", kind) from error
            raise kind(f"the registry at {self._url} rejects the request: {error}") from error
        except (ValueError, KeyError) as error:
            raise self._no_registry("another format") from error
        except Exception as error:  # errors of the client's HTTP library, which may change
            if _UNVERIFIED in str(error):
                raise RegistryUntrusted(f"the certificate of {self._url} cannot be verified: {error}") from error
            raise RegistryError(f"the registry at {self._url} cannot be reached: {error}") from error

    def _no_registry(self, answer: str, kind: type[RegistryError] = RegistryRefuses) -> RegistryError:
        return kind(
            f"{self._url} answered with {answer}, not as a schema registry. Check the path of the URL "
            "(Apicurio: /apis/ccompat/v7; Confluent and Karapace: none)"
        )


def _is_about_the_id(error: RegistryError) -> bool:
    """Whether the server has answered the lookup of an id, and not only that it can't answer now."""
    cause = error.__cause__
    return isinstance(cause, SchemaRegistryError) and cause.http_status_code not in _MAY_PASS | _UNAVAILABLE


def _is_final(status: int) -> bool:
    """Whether the error is a client error (RFC 9110, 15.5) that a retry cannot resolve."""
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _MAY_PASS


def _connect_directly(client: SchemaRegistryClient) -> None:
    """Replace the client's HTTP session by one without any proxy, for which the client has no setting.

    Raises RegistryError if this version of confluent-kafka keeps its session elsewhere: with the old one, requests
    would go to the proxy at `_NO_PROXY`.
    """
    try:
        rest = client._rest_client  # noqa: SLF001
        session = rest.session
        rest.session = type(session)(verify=rest.verify, auth=rest.auth, timeout=rest.timeout, trust_env=False)
    except (AttributeError, TypeError) as error:
        raise RegistryError(
            f"confluent-kafka {confluent_kafka.version()} doesn't let us replace its HTTP session ({error}). "
            "Install confluent-kafka 2.16.0, which it is tested with"
        ) from error
    session.close()

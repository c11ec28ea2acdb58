"""A real registry: what is registered, what is refused, and what subscribers decode with it."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import DecodeError, EventDecoder
from broker_events.schemas.frame import frame
from broker_events.schemas.models import Exchange, Transfer
from broker_events.schemas.registry import (
    LEVEL,
    IncompatibleSchema,
    Registry,
    RegistryError,
    SchemaNotRegistered,
    Subject,
    desired_subjects,
)

CATALOG = load_catalog()


class Cluster(Protocol):
    @property
    def registry_url(self) -> str: ...


@pytest.fixture
def url(cluster: Cluster) -> str:
    return cluster.registry_url


@pytest.fixture
def subjects(topic_prefix: str) -> tuple[Subject, ...]:
    """All subjects, under a prefix of their own."""
    return desired_subjects(CATALOG, topic_prefix)


def changed(subject: Subject, *, drop: str = "", add: dict[str, Any] | None = None) -> Subject:
    schema = json.loads(subject.schema)
    schema["fields"] = [field for field in schema["fields"] if field["name"] != drop]
    if add is not None:
        schema["fields"].append(add)
    return replace(subject, schema=json.dumps(schema))


def nullable(name: str, avro_type: str) -> dict[str, Any]:
    return {"name": name, "type": ["null", avro_type], "default": None, "doc": "For a test."}


@contextmanager
def client(url: str) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": url}) as plain:
        yield plain


def test_subjects_are_those_of_the_avro_topics() -> None:
    names = {subject.name for subject in desired_subjects(CATALOG, "broker")}
    assert len(names) == 20
    assert {
        "broker.event.transfer-value",
        "broker.alerts-value",
        "broker.alerts.active-value",
        "broker.alerts.deliveries-value",
        "broker.console.audit-value",
    } <= names
    assert not {"broker.raw-value", "broker.ingest.cursors-value"} & names


def test_registering_twice_changes_nothing(url: str, subjects: tuple[Subject, ...]) -> None:
    assert {finding.problem for finding in Registry(url).check(subjects)} == {"missing"}

    first = Registry(url).register(subjects)
    second = Registry(url).register(subjects)

    assert [each.subject for each in first] == [subject.name for subject in subjects]
    assert {each.outcome for each in first} == {"created"}
    assert {each.outcome for each in second} == {"unchanged"}
    assert [each.schema_id for each in first] == [each.schema_id for each in second]
    assert Registry(url).check(subjects) == []
    for subject, done in zip(subjects, first, strict=True):
        assert Registry(url).resolve(subject.name, subject.schema) == done.schema_id
        assert json.loads(Registry(url).schema_text(done.schema_id)) == json.loads(subject.schema)
    with client(url) as plain:
        assert {plain.get_compatibility(subject.name) for subject in subjects} == {LEVEL}
        assert {len(plain.get_versions(subject.name)) for subject in subjects} == {1}


def test_a_new_optional_field_is_a_new_version(url: str, subjects: tuple[Subject, ...]) -> None:
    old, *_ = subjects
    Registry(url).register([old])
    new = changed(old, add=nullable("ticket", "string"))

    assert [(each.subject, each.problem) for each in Registry(url).check([new])] == [(old.name, "new version")]
    with pytest.raises(SchemaNotRegistered, match="broker-events schemas register"):
        Registry(url).resolve(new.name, new.schema)
    (done,) = Registry(url).register([new])

    assert done.outcome == "new version"
    assert Registry(url).check([new]) == []
    assert Registry(url).resolve(old.name, old.schema) != done.schema_id  # an older worker still finds its own
    assert [each.outcome for each in Registry(url).register([old])] == ["unchanged"]


def test_an_incompatible_schema_stops_everything(url: str, subjects: tuple[Subject, ...]) -> None:
    fine, broken, *_ = subjects
    Registry(url).register([broken])
    broken = changed(broken, add={"name": "ticket", "type": "string", "doc": "Without a default."})

    with pytest.raises(IncompatibleSchema, match=broken.name):
        Registry(url).register([fine, broken])

    problems = [(each.subject, each.problem) for each in Registry(url).check([fine, broken])]
    assert problems == [(fine.name, "missing"), (broken.name, "incompatible")]
    with client(url) as plain:
        assert plain.get_versions(broken.name) == [1]


def test_all_earlier_versions_count(url: str, subjects: tuple[Subject, ...]) -> None:
    plain, *_ = subjects
    with_text = changed(plain, add=nullable("ticket", "string"))
    with_number = changed(plain, add=nullable("ticket", "long"))
    Registry(url).register([with_text])
    with client(url) as other:
        other.register_schema(plain.name, Schema(plain.schema, "AVRO"))  # it says nothing against a number

    with pytest.raises(IncompatibleSchema, match="ticket is null or string in version 1 and null or long here"):
        Registry(url).register([with_number])


def retyped(subject: Subject, path: str, avro_type: Any) -> Subject:
    """Return the subject with another type of the field at a dotted path, nullable if it was."""
    schema = json.loads(subject.schema)
    fields, *rest = schema["fields"], *path.split(".")
    for name in rest[:-1]:
        fields = next(each for each in fields if each["name"] == name)["type"]["items"]["fields"]
    found = next(each for each in fields if each["name"] == rest[-1])
    found["type"] = ["null", avro_type] if isinstance(found["type"], list) else avro_type
    return replace(subject, schema=json.dumps(schema))


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}


@pytest.mark.parametrize(
    ("topic", "path", "avro_type", "says"),
    [
        ("event.transfer", "amount", "string", "and string here"),
        ("event.transfer", "amount", "bytes", "and bytes here"),
        ("event.transfer", "fee", {**DECIMAL, "scale": 8}, "scale 18) in version 1 and null or bytes (decimal, "),
        ("event.transfer", "status", "bytes", "status is string in version 1 and bytes here"),
        ("event.transfer", "event_time", {"type": "long", "logicalType": "timestamp-millis"}, "millis) here"),
        ("event.transfer", "event_time", "long", "event_time is long (timestamp-micros) in version 1 and long here"),
        ("event.account-restrict", "restrict_infos.restriction_start_time", "long", "null or long here"),
        ("event.transfer", "extra", {"type": "map", "values": "bytes"}, "1 and map of bytes here"),
        ("state.movements", "history_dropped", "long", "history_dropped is int in version 1 and long here"),
    ],
)  # fmt: skip
def test_another_type_is_refused(
    url: str, subjects: tuple[Subject, ...], topic: str, path: str, avro_type: Any, says: str
) -> None:
    ours = by_name(subjects, topic)
    Registry(url).register([ours])
    other = retyped(ours, path, avro_type)

    (found,) = Registry(url).check([other])
    assert (found.subject, found.problem) == (ours.name, "incompatible")
    assert found.detail.startswith(f"{path} is ")
    assert says in found.detail
    assert found.detail.endswith("Keep the type and add a new nullable field")
    with pytest.raises(IncompatibleSchema) as refusal:
        Registry(url).register([other])
    assert str(refusal.value) == f"nothing was registered; {ours.name}: {found.detail}"
    with pytest.raises(SchemaNotRegistered):
        Registry(url).resolve(other.name, other.schema)

    with client(url) as stranger:
        stranger.set_compatibility(ours.name, "NONE")
        stranger.register_schema(ours.name, Schema(other.schema, "AVRO"))
    assert {each.problem for each in Registry(url).check([ours])} == {"wrong level", "incompatible"}


def test_a_field_that_is_gone_is_refused(url: str, subjects: tuple[Subject, ...]) -> None:
    ours = by_name(subjects, "event.transfer")
    Registry(url).register([ours])
    with pytest.raises(IncompatibleSchema, match=r"fee, null or bytes .* is missing here; its readers would read null"):
        Registry(url).register([changed(ours, drop="fee")])
    renamed = changed(ours, drop="fee", add=nullable("charge", "string"))
    assert [each.problem for each in Registry(url).check([renamed])] == ["incompatible"]
    Registry(url).register([changed(ours, add=nullable("ticket", "string"))])
    assert Registry(url).check([ours]) == [], "an older program beside a newer one"


def test_a_weaker_level_is_found_and_set_right(url: str, subjects: tuple[Subject, ...]) -> None:
    subject, *_ = subjects
    Registry(url).register([subject])
    with client(url) as plain:
        plain.set_compatibility(subject.name, "NONE")

    assert [each.problem for each in Registry(url).check([subject])] == ["wrong level"]
    Registry(url).register([subject])
    assert Registry(url).check([subject]) == []


def test_what_is_no_registry_is_said(url: str, subjects: tuple[Subject, ...]) -> None:
    root = url.partition("/apis")[0]
    with pytest.raises(RegistryError, match="Check the path of the URL"):
        Registry(f"{root}/nowhere").check(subjects)
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        Registry("http://127.0.0.1:1").resolve(subjects[0].name, subjects[0].schema)
    with pytest.raises(RegistryError, match="settings: the URL must be http://host:port"):
        Registry("127.0.0.1:8081")
    with pytest.raises(SchemaNotRegistered, match="no schema with the id 2000000000"):
        Registry(url).schema_text(2_000_000_000)


def by_name(subjects: tuple[Subject, ...], topic: str) -> Subject:
    return next(subject for subject in subjects if subject.name.endswith(f".{topic}-value"))


def typed(biz_type: str, sample: str, schema_id: int) -> bytes:
    contract = CATALOG.events[biz_type]
    path: Path = contract.folder / "samples/accept" / f"{sample}.json"
    value = path.read_bytes()
    return Transcoder(contract, schema_id).encode(value)


def test_subscribers_get_models(url: str, subjects: tuple[Subject, ...]) -> None:
    ids = {each.subject: each.schema_id for each in Registry(url).register(subjects)}
    decoder = EventDecoder(url)

    transfer = decoder.decode(typed("TRANSFER", "documented-returned", ids[by_name(subjects, "event.transfer").name]))
    exchange = decoder.decode(typed("EXCHANGE", "longest-numbers", ids[by_name(subjects, "event.exchange").name]))

    assert isinstance(transfer, Transfer)
    assert transfer.status == "RETURNED"
    assert transfer.amount == Decimal(1000)
    assert transfer.event_time == datetime(2025, 3, 29, 7, 2, 33, 200962, tzinfo=UTC)
    assert isinstance(exchange, Exchange)
    assert str(exchange.from_amount) == "99999999999999999999.999999999999999999"
    with pytest.raises(DecodeError, match="wire format"):
        decoder.decode(b'{"id": "event_1"}')


def test_subscribers_read_other_versions(url: str, subjects: tuple[Subject, ...]) -> None:
    ours = by_name(subjects, "event.transfer")
    older = changed(ours, drop="fee")
    newer = changed(ours, add=nullable("ticket", "string"))
    decoder = EventDecoder(url)
    whole = typed("TRANSFER", "wire-with-fee", 0)
    record = fastavro.schemaless_reader(io.BytesIO(whole[5:]), json.loads(ours.schema), None)

    for version, fee in ((older, None), (newer, Decimal(25))):
        (done,) = Registry(url).register([version])
        body = io.BytesIO()
        fastavro.schemaless_writer(body, json.loads(version.schema), record)
        transfer = decoder.decode(frame(done.schema_id) + body.getvalue())
        assert isinstance(transfer, Transfer)
        assert (transfer.amount, transfer.fee) == (Decimal("1000.1"), fee)


def test_records_of_others_are_refused(url: str, topic_prefix: str) -> None:
    schema = {"type": "record", "name": "Other", "namespace": "elsewhere", "fields": []}
    (done,) = Registry(url).register([Subject(f"{topic_prefix}.other-value", json.dumps(schema))])
    with pytest.raises(DecodeError, match=r"elsewhere\.Other"):
        EventDecoder(url).decode(frame(done.schema_id))

"""A page per topic: key, promises with what holds them, fields, types by language, samples, code. Markdown or HTML."""

import json
from collections.abc import Iterator
from typing import Any, Final

from broker_events.schemas.catalog import Catalog, Contract, TopicContract
from broker_events.schemas.export.page import Block, Code, Heading, Paragraph, Table, html_body, html_document, markdown
from broker_events.schemas.field_types import Json, field_types
from broker_events.schemas.schema_rules import records

# By Avro type, as the libraries of examples/ give it.
LANGUAGES: Final = ("Python", "Java", "Go", "Node", "Rust", "JSON of `tail`")
_TYPES: Final[dict[str, tuple[str, ...]]] = {
    "string": ("str", "String", "string", "string", "String", "text"),
    "boolean": ("bool", "boolean", "bool", "boolean", "bool", "true or false"),
    "int": ("int", "int", "int", "number", "i32", "number"),
    "long": ("int", "long", "int64", "bigint", "i64", "number"),
    "long (timestamp-micros)": (
        "datetime", "Instant", "time.Time", "bigint, microseconds", "i64, microseconds",
        "text, 2025-01-31T09:30:00.000000Z",
    ),
    "bytes": ("bytes", "ByteBuffer", "[]byte", "Buffer", "Vec<u8>", 'text, or {"base64": ...}'),
    "bytes (decimal, precision 38, scale 18)": (
        "Decimal", "BigDecimal", "*big.Rat", "text from BigInt", "text from BigInt", "text with 18 decimals",
    ),
}  # fmt: skip
_CODE: Final = """\
broker-events tail {topic} --from "1h ago"
kcat -C -b kafka:9092 -r http://registry:8081 -s value=avro -X isolation.level=read_committed -t {prefix}.{topic}
python examples/python/read_topic.py {prefix}.{topic}"""
_PROGRAMS: Final = (
    "Programs in Java, Go, Node and Rust, and a Kafka Connect job, are in `examples/`. They read committed records, "
    "decode amounts exactly, handle tombstones and continue after their last offset."
)
_SAMPLES: Final = 2


def topic_page(contract: Contract, topic: TopicContract, prefix: str) -> list[Block]:
    """Return the page's blocks, the title first."""
    return [
        Heading(1, topic.name),
        Paragraph(contract.description),
        Table(("", ""), [*_facts(contract, topic, prefix)]),
        Heading(2, "Promises"),
        Table(("promise", "text", "held by"), [*_promises(topic)]),
        *_fields(contract),
        *_samples(contract),
        Heading(2, "Read it"),
        Code("sh", _CODE.format(topic=topic.name, prefix=prefix)),
        Paragraph(_PROGRAMS),
    ]


def markdown_pages(catalog: Catalog, prefix: str) -> dict[str, str]:
    """Return the pages of all topics by file name."""
    return {f"{name}.md": markdown(topic_page(*found, prefix)) for name, found in catalog.topics.items()}


def html_pages(catalog: Catalog, prefix: str) -> dict[str, str]:
    """Return the pages of all topics by file name, each complete in itself, and an index."""
    pages = {
        f"{name}.html": html_document(name, html_body(topic_page(*found, prefix)))
        for name, found in catalog.topics.items()
    }
    rows = "".join(f'<li><a href="{name}">{name.removesuffix(".html")}</a></li>' for name in pages)
    return {"index.html": html_document("Topics", f"<h1>Topics</h1><ul>{rows}</ul>"), **pages}


def _facts(contract: Contract, topic: TopicContract, prefix: str) -> Iterator[tuple[str, str]]:
    kept = f"{topic.retention_days} days" if topic.retention_days is not None else "without limit"
    if topic.is_compacted:
        kept = f"the newest record of each key, {kept} (compacted)"
    lifecycle = contract.lifecycle
    until = "" if lifecycle.ends is None else f" until {lifecycle.ends}; use {lifecycle.successor}"
    yield "Kafka name", f"`{prefix}.{topic.name}`"
    yield "key", f"{topic.key} ({topic.key_class})"
    if contract.schema is None:
        yield "value", f"bytes ({contract.value_class})"
    else:
        yield (
            "value",
            f"Avro `{contract.schema['namespace']}.{contract.schema['name']}`, subject `{prefix}.{topic.name}-value`",
        )
    yield "kept", kept
    yield "contract", f"`{contract.name}` {contract.version}, {lifecycle.status}{until}"
    yield "owner", f"{contract.owner}, {contract.channel}"


def _promises(topic: TopicContract) -> Iterator[tuple[str, ...]]:
    for promise in topic.promises:
        yield promise.kind, promise.text, ", ".join(f"{kind} `{name}`" for kind, name in promise.proofs.items())


def _fields(contract: Contract) -> Iterator[Block]:
    if contract.schema is None:
        return
    types = field_types(contract.schema)
    about: dict[str, Json] = {}
    definitions: dict[str, Json] = {record["name"]: record for _, record in records(contract.schema)}
    for path in types:
        if path:
            about[path] = _field(contract.schema, path.split("."), definitions)
    rows: list[tuple[str, ...]] = [
        (f"`{path}`", types[path], field["class"], field["doc"]) for path, field in about.items()
    ]
    yield Heading(2, "Fields")
    yield Paragraph("A dot leads into a record, also one in a list or a map. The class says who may see a value.")
    yield Table(("field", "type", "class", "meaning"), rows)
    used = [name for name in _TYPES if any(name == _leaf(text) for text in types.values())]
    yield Heading(2, "Types in your language")
    yield Table(("Avro", *LANGUAGES), [(name, *(f"`{one}`" for one in _TYPES[name])) for name in used])


def _field(record: Json, path: list[str], definitions: dict[str, Json]) -> Json:
    field: Json = next(field for field in record["fields"] if field["name"] == path[0])
    return field if len(path) == 1 else _field(_record_in(field["type"], definitions), path[1:], definitions)


def _record_in(avro_type: Any, definitions: dict[str, Json]) -> Json:  # noqa: ANN401  (any JSON)
    match avro_type:
        case ["null", branch]:
            return _record_in(branch, definitions)
        case str():
            return definitions[avro_type.rpartition(".")[2]]
        case {"type": "record"}:
            found: Json = avro_type
            return found
    return _record_in(avro_type.get("items") or avro_type["values"], definitions)


def _leaf(words: str) -> str:
    return words.removeprefix("null or ").removeprefix("array of ").removeprefix("map of ")


def _samples(contract: Contract) -> Iterator[Block]:
    paths = sorted(contract.folder.glob("samples/accept/*.record.json"))[:_SAMPLES]
    if paths:
        yield Heading(2, "Samples")
        yield Paragraph("Values as `broker-events tail` prints them.")
    for path in paths:
        yield Code("json", json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=2, ensure_ascii=False))

"""Rules for a schema.avsc, checked when the contracts are loaded.

Every schema is a record. Each record and field has a doc and known properties only. Each nullable field has the default
null, so that readers and writers of all versions are compatible (FULL_TRANSITIVE). Each field has a `class`, one of
`schemas.field_classes`; a field that holds records has the strictest class of their fields.

Event schemas also start with the common fields, end with `extra` and use only types that the transcoder supports.
A string of an event, alone or in an array, is an id or code of at most `MAX_ID_BYTES`. A field with `"free_text": true`
has no such limit. If a member occurs twice with different values, the event is rejected, unless the field has
`"may_repeat": true`. Then the last value counts.
"""

import json
import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from broker_events.schemas.field_classes import CLASSES, FieldClass, class_within

Json = dict[str, Any]

TIMESTAMP: Json = {"type": "long", "logicalType": "timestamp-micros"}
DECIMAL: Json = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}
EXTRA_TYPE: Json = {"type": "map", "values": "string"}

MAX_ID_BYTES = 4096
"""Maximum UTF-8 bytes of an id or code. Keys, headers, states and alerts contain copies of it."""

# Name, type and origin of the fields that every event starts with, in this order.
COMMON_FIELDS: tuple[tuple[str, Any, str | list[str]], ...] = (
    ("event_id", "string", "/id"),
    ("event_type", "string", "/event_type"),
    ("biz_type", "string", "/payload/biz_type"),
    ("position", ["null", "string"], "/position"),
    ("event_time", TIMESTAMP, "/timestamp"),
    ("event_time_text", "string", "/timestamp"),
    ("account_id", ["null", "string"], ["/payload/account_id", "/payload/account"]),
)

_CLASS_DOCS = "docs/adr/0022-field-classes.md"
_SCALARS: tuple[Any, ...] = ("string", "boolean", "int", "long", TIMESTAMP, DECIMAL)
_RECORD_PROPERTIES = {"type", "name", "namespace", "doc", "fields"}
_FIELD_PROPERTIES = {"name", "type", "class", "doc", "default"}
_EVENT_FIELD_PROPERTIES = _FIELD_PROPERTIES | {"from", "free_text", "may_repeat"}
# Sources of a value: a member of the envelope or the payload; in an array, of the item.
_ORIGIN = re.compile(r"(/payload)?/(?!payload$)([^~/]|~[01])+")
_ORIGIN_IN_ITEM = re.compile(r"/([^~/]|~[01])+")


class ContractError(ValueError):
    """A contract violates a rule. Has the file, the key in it ("" for the file itself) and the problem."""

    def __init__(self, path: Path, key: str, problem: str) -> None:
        super().__init__(f"{path}: {key}: {problem}" if key else f"{path}: {problem}")
        self.path = path
        self.key = key
        self.problem = problem


def read_schema(path: Path, *, of_event: bool) -> Json:
    """Read and check a schema.avsc; `of_event`: apply the rules for events too.

    Raises `ContractError` for a missing file, invalid JSON, repeated keys, invalid Avro and violated rules.
    """

    def unique(members: list[tuple[str, Any]]) -> Json:
        found = dict(members)
        if len(found) != len(members):
            keys = [key for key, _ in members]
            repeated = next(key for key in keys if keys.count(key) > 1)
            raise ContractError(path, repeated, "occurs twice")
        return found

    try:
        schema = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except FileNotFoundError as error:
        raise ContractError(path, "", "is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ContractError(path, "", f"is not JSON: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise ContractError(path, "type", "must be a record")
    if not schema.get("namespace"):
        raise ContractError(path, "namespace", "is missing")
    properties = _EVENT_FIELD_PROPERTIES if of_event else _FIELD_PROPERTIES
    for key, record in records(schema):
        _check_record(path, key, record, properties)
    try:
        fastavro.parse_schema(schema)
    except (SchemaParseException, UnknownType) as error:
        raise ContractError(path, "", f"is not valid Avro: {error}") from error
    _check_classes(path, schema)
    if of_event:
        _check_event_schema(path, schema)
    return schema


def records(schema: Any, key: str = "") -> Iterator[tuple[str, Json]]:  # noqa: ANN401  (any JSON)
    """Yield every record that a schema defines, the outermost first, with the dotted path of its field."""
    if isinstance(schema, list):
        for branch in schema:
            yield from records(branch, key)
    elif isinstance(schema, dict):
        if schema.get("type") == "record":
            yield key, schema
            for field in schema.get("fields", []):
                yield from records(field.get("type"), _inside(key, field.get("name", "?")))
        else:
            yield from records(schema.get("items") or schema.get("values"), key)


def _check_classes(path: Path, schema: Json) -> None:
    known: dict[str, FieldClass] = {}
    for key, record in records(schema):
        for field in record["fields"]:
            place = _inside(_inside(key, field["name"]), "class")
            if field.get("class") not in CLASSES:
                raise ContractError(
                    path, place, f"must be one of {', '.join(CLASSES)}; see docs/adr/0022-field-classes.md"
                )
    class_within(schema, known)
    for key, record in records(schema):
        for field in record["fields"]:
            within = class_within(field["type"], known)
            if within not in (None, field["class"]):
                place = _inside(_inside(key, field["name"]), "class")
                raise ContractError(path, place, f"must be {within}, the strictest class of the fields in it")


def _check_event_schema(path: Path, schema: Json) -> None:
    fields: list[Json] = schema["fields"]
    for position, (name, avro_type, origin) in enumerate(COMMON_FIELDS):
        field = fields[position] if position < len(fields) else {}
        if (field.get("name"), field.get("type"), field.get("from")) != (name, avro_type, origin):
            raise ContractError(path, name, f"must be field {position + 1}, with type {avro_type} and from {origin}")
    last = fields[-1]
    if (last["name"], last["type"], last.get("from")) != ("extra", EXTRA_TYPE, "*"):
        raise ContractError(path, "extra", f'must be the last field, with type {EXTRA_TYPE} and from "*"')
    payload = fields[len(COMMON_FIELDS) : -1]
    _check_event_fields(path, "", payload, "/payload/")


def _check_record(path: Path, key: str, record: Json, field_properties: set[str]) -> None:
    _check_properties(path, key, record, _RECORD_PROPERTIES)
    if not record.get("fields"):
        raise ContractError(path, _inside(key, "fields"), "must not be empty")
    names = [field.get("name") for field in record["fields"]]
    for field in record["fields"]:
        place = _inside(key, str(field.get("name", "?")))
        _check_properties(path, place, field, field_properties)
        if names.count(field.get("name")) > 1:
            raise ContractError(path, place, "occurs twice")
        if not str(field.get("name", "")).isidentifier() or keyword.iskeyword(field["name"]):
            raise ContractError(path, place, "is not a Python identifier; put the brokerage's name into from")
        union = field.get("type")
        if isinstance(union, list):
            if len(union) != 2 or union[0] != "null":  # noqa: PLR2004  (null and one more)
                raise ContractError(path, place, 'a union must be ["null", T]')
            if field.get("default", ...) is not None:
                raise ContractError(path, place, "a nullable field must have the default null")


def _check_properties(path: Path, key: str, node: Json, known: set[str]) -> None:
    for name in node.keys() - known:
        raise ContractError(path, _inside(key, name), f"unknown property; known are {', '.join(sorted(known))}")
    doc = node.get("doc")
    if not isinstance(doc, str) or not doc.strip() or set(doc) & set('"\\\n'):
        wanted = "must be one line of text, without double quotes and backslashes"
        raise ContractError(path, _inside(key, "doc"), f"is missing; it {wanted}" if doc is None else wanted)


def _check_event_fields(path: Path, key: str, fields: list[Json], prefix: str) -> None:
    by_name = {field["name"]: field for field in fields}
    for field in fields:
        name: str = field["name"]
        place = _inside(key, name)
        origin = _origin(path, place, field, prefix)
        if _value_type(field) == TIMESTAMP:
            text = by_name.get(f"{name}_text")
            expected = ["null", "string"] if isinstance(field["type"], list) else "string"
            if not text or text["type"] != expected or _origin(path, place, text, prefix) != origin:
                raise ContractError(path, place, f"needs a field {name}_text of type {expected} from {origin}")
        if field.get("free_text", True) is not True or ("free_text" in field and _value_type(field) != "string"):
            raise ContractError(path, _inside(place, "free_text"), "must be true and is allowed for strings only")
        if field.get("may_repeat", True) is not True:
            raise ContractError(path, _inside(place, "may_repeat"), "must be true")
        _check_event_type(path, place, _value_type(field))


def _check_event_type(path: Path, place: str, avro_type: Any) -> None:  # noqa: ANN401  (any JSON)
    if avro_type in _SCALARS:
        return
    if isinstance(avro_type, dict) and avro_type.keys() == {"type", "items"} and avro_type["type"] == "array":
        items = avro_type["items"]
        if items == "string":
            return
        if isinstance(items, dict) and items.get("type") == "record":
            _check_event_fields(path, place, items["fields"], "/")
            return
    raise ContractError(path, place, f"events do not support the type {json.dumps(avro_type)}")


def _value_type(field: Json) -> Any:  # noqa: ANN401  (any JSON)
    """Return the type of a field without its null."""
    return field["type"][1] if isinstance(field["type"], list) else field["type"]


def _origin(path: Path, place: str, field: Json, prefix: str) -> list[str]:
    """Return the JSON Pointers of the field's value. The first one with a value wins."""
    origin = field.get("from", prefix + field["name"])
    pointers: list[str] = origin if isinstance(origin, list) else [origin]
    form = _ORIGIN_IN_ITEM if prefix == "/" else _ORIGIN
    if not pointers or not all(isinstance(pointer, str) and form.fullmatch(pointer) for pointer in pointers):
        raise ContractError(path, _inside(place, "from"), "must be a JSON Pointer to a member, or a list of them")
    return pointers


def _inside(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name

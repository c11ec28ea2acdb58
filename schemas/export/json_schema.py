"""JSON Schema of a topic's values as `broker-events tail` and webhooks print them: amounts and times as exact text."""

from typing import Any, Final

from broker_events.schemas.catalog import Catalog, Contract
from broker_events.schemas.field_types import Json

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_PLAIN: Final[dict[str, Json]] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "int": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "long": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "bytes": {
        "description": "Text if the bytes are UTF-8, otherwise base64.",
        "oneOf": [
            {"type": "string"},
            {"type": "object", "properties": {"base64": {"type": "string"}}, "required": ["base64"]},
        ],
    },
}
_TIME: Final[Json] = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
}


def json_schemas(catalog: Catalog) -> dict[str, Json]:
    """Return the documents by file name, one per contract with a schema."""
    return {
        f"{name}.schema.json": json_schema(contract)
        for name, contract in catalog.contracts.items()
        if contract.schema is not None
    }


def json_schema(contract: Contract) -> Json:
    """Return the JSON Schema of a contract that has an Avro schema."""
    schema = contract.schema
    if schema is None:
        raise ValueError(f"{contract.name} has no schema")
    definitions: dict[str, Json] = {}
    _record(schema, definitions)
    return {
        "$schema": DIALECT,
        "$id": f"urn:broker-events:{contract.name}:{contract.version}",
        "title": schema["name"],
        **definitions.pop(schema["name"]),
        "$defs": definitions,
    }


def _record(schema: Json, definitions: dict[str, Json]) -> Json:
    name = schema["name"]
    definitions[name] = {}  # keeps the place of the outer record before the inner ones
    definitions[name] = {
        "type": "object",
        "description": schema["doc"],
        "properties": {
            field["name"]: {
                **_type(field["type"], definitions),
                "description": field["doc"],
                "x-class": field["class"],
            }
            for field in schema["fields"]
        },
        "required": [field["name"] for field in schema["fields"]],
        "additionalProperties": False,
    }
    return {"$ref": f"#/$defs/{name}"}


def _type(avro_type: Any, definitions: dict[str, Json]) -> Json:  # noqa: ANN401  (any JSON)
    match avro_type:
        case ["null", branch]:
            return {"oneOf": [{"type": "null"}, _type(branch, definitions)]}
        case str():
            return _PLAIN.get(avro_type) or {"$ref": f"#/$defs/{avro_type.rpartition('.')[2]}"}
        case {"logicalType": "timestamp-micros"}:
            return _TIME
        case {"logicalType": "decimal", "precision": precision, "scale": scale}:
            return {"type": "string", "pattern": rf"^-?[0-9]{{1,{precision - scale}}}\.[0-9]{{{scale}}}$"}
        case {"type": "record"}:
            return _record(avro_type, definitions)
    return _collection(avro_type, definitions)


def _collection(avro_type: Json, definitions: dict[str, Json]) -> Json:
    match avro_type:
        case {"type": "array", "items": items}:
            return {"type": "array", "items": _type(items, definitions)}
        case {"type": "map", "values": values}:
            return {"type": "object", "additionalProperties": _type(values, definitions)}
    raise ValueError(f"no JSON Schema for the Avro type {avro_type}")

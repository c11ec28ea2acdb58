"""Contracts as Open Data Contract Standard 3.1 documents. Written from the contracts, never read back."""

import json
from typing import Any, Final

from broker_events.schemas.catalog import Catalog, Contract, TopicContract
from broker_events.schemas.field_types import Json, field_types

_LOGICAL: Final = {
    "string": "string",
    "boolean": "boolean",
    "int": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "bytes": "string",
    "timestamp-micros": "timestamp",
    "decimal": "number",
}


def odcs_texts(catalog: Catalog, prefix: str) -> dict[str, str]:
    """Return the documents as YAML by file name, one per contract. `prefix`: of the topics, without the dot."""
    return {f"{name}.odcs.yaml": _yaml(odcs(one, prefix)) for name, one in catalog.contracts.items()}


def odcs(contract: Contract, prefix: str) -> Json:
    """Return the document of one contract."""
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": f"urn:broker-events:{contract.name}",
        "name": contract.name,
        "version": contract.version,
        "status": contract.lifecycle.status,
        "domain": "brokerage",
        "dataProduct": "broker-events",
        "description": {
            "purpose": contract.description,
            "usage": "Read with isolation.level=read_committed.",
        },
        "servers": [{"server": "kafka", "type": "kafka", "host": "kafka:9092", "format": _format(contract)}],
        "support": [{"channel": contract.owner, "url": contract.channel}],
        "schema": [_object(contract, topic, prefix) for topic in contract.topics],
        "slaProperties": [sla for topic in contract.topics for sla in _promises(topic)],
    }


def _format(contract: Contract) -> str:
    return "bytes" if contract.schema is None else "avro"


def _object(contract: Contract, topic: TopicContract, prefix: str) -> Json:
    name = topic.name if contract.schema is None else contract.schema["name"]
    found: Json = {
        "name": topic.name,
        "physicalName": f"{prefix}.{topic.name}",
        "physicalType": "topic",
        "logicalType": "object",
        "businessName": name,
        "description": f"Key: {topic.key}.",
    }
    if contract.schema is not None:
        types = field_types(contract.schema)
        found["properties"] = _properties(contract.schema, types, "", {})
    return found


def _properties(record: Json, types: dict[str, str], path: str, named: dict[str, Json]) -> list[Json]:
    named[record["name"]] = record
    found = []
    for field in record["fields"]:
        place = f"{path}.{field['name']}" if path else field["name"]
        is_nullable = isinstance(field["type"], list)
        value = field["type"][1] if is_nullable else field["type"]
        found.append(
            {
                "name": field["name"],
                "description": field["doc"],
                "classification": field["class"],
                "required": not is_nullable,
                "physicalType": types[place],
                **_logical(value, types, place, named),
            }
        )
    return found


def _logical(avro_type: Any, types: dict[str, str], place: str, named: dict[str, Json]) -> Json:  # noqa: ANN401
    if isinstance(avro_type, str):
        if avro_type in _LOGICAL:
            return {"logicalType": _LOGICAL[avro_type]}
        return _logical(named[avro_type.rpartition(".")[2]], types, place, named)
    match avro_type:
        case {"logicalType": logical}:
            return {"logicalType": _LOGICAL[logical]}
        case {"type": "record"}:
            return {"logicalType": "object", "properties": _properties(avro_type, types, place, named)}
        case {"type": "array", "items": items}:
            return {"logicalType": "array", "items": _logical(items, types, place, named)}
    return {"logicalType": "object"}  # ODCS 3.1 has no map


def _promises(topic: TopicContract) -> list[Json]:
    found = []
    for promise in topic.promises:
        proofs = ", ".join(f"{kind} {name}" for kind, name in promise.proofs.items())
        sla: Json = {"property": promise.kind, "value": promise.text, "element": topic.name}
        if promise.kind == "retention" and topic.retention_days is not None:
            sla |= {"value": topic.retention_days, "unit": "d"}
        found.append(sla | {"description": f"{promise.text} Held by: {proofs}."})
    return found


def _yaml(document: Json) -> str:
    return "".join(f"{line}\n" for line in _lines(document))


def _lines(node: Any) -> list[str]:  # noqa: ANN401  (any JSON)
    """Write dicts and lists in block style. Scalars are JSON, which YAML accepts."""
    lines = []
    items = node.items() if isinstance(node, dict) else ((None, item) for item in node)
    for key, value in items:
        start = "-" if key is None else f"{key}:"
        if not isinstance(value, (dict, list)) or not value:
            lines.append(f"{start} {json.dumps(value, ensure_ascii=False)}")
            continue
        inner = _lines(value)
        if key is None:
            lines += [f"- {inner[0]}", *(f"  {line}" for line in inner[1:])]
        else:
            lines += [start, *(f"  {line}" for line in inner)]
    return lines

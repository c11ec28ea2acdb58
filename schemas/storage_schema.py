"""Schemas without logical types. The Avro bytes are the same."""

from typing import Any


def storage_schema(schema: Any) -> Any:  # noqa: ANN401  (any JSON)
    """Return `schema` (parsed JSON) with times as plain long (microseconds) and decimals as plain bytes.

    Both schemas give the same Avro bytes. This one avoids the cost of creating datetimes and Decimals.
    """
    if isinstance(schema, list):
        return [storage_schema(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if "logicalType" in schema:
        return schema["type"]
    return {key: storage_schema(part) if key in _PARTS else part for key, part in schema.items()}


_PARTS = ("fields", "type", "items", "values")

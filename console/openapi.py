"""The OpenAPI 3.1 document of the API, from the pydantic models of its answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from broker_events.console.answers import DOCUMENTS, Answer, Problem
from broker_events.console.web import API

_ERRORS: Final = {
    "400": "A parameter is wrong.",
    "401": "No valid token.",
    "404": "Nothing has this name.",
    "429": "Too many requests; Retry-After says when to come back.",
    "503": "min_position is not reached, or a record can't be decoded now; Retry-After says when to come back.",
}
_CONVERTER: Final = re.compile(r"\{(\w+):\w+\}")


class Parameter(NamedTuple):
    """A parameter of an operation."""

    name: str
    kind: Literal["string", "integer"]
    text: str
    place: Literal["query", "path"] = "query"
    minimum: int | None = None
    maximum: int | None = None


class Operation(NamedTuple):
    """A GET operation: path below /api/v1 as Starlette writes it, one line of text, the model of its answer."""

    path: str
    summary: str
    model: type[Answer]
    parameters: Sequence[Parameter] = ()


_MIN_POSITION: Final = Parameter(
    "min_position",
    "string",
    "[TOPIC:]PARTITION:OFFSET of a record that the answer must contain; 503 until it does. Repeatable.",
)


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document."""
    models: list[type[BaseModel]] = sorted(
        {*(each.model for each in operations), Problem, *DOCUMENTS}, key=lambda model: model.__name__
    )
    _, schemas = models_json_schema(
        [(model, "serialization") for model in models], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "broker-events console",
            "version": version("broker-events"),
            "description": "Accounts, movements, alerts, events and quarantined records. Amounts are strings with "
            "every digit. `positions` and `behind_s` in every answer say how old it is.",
        },
        "servers": [{"url": API}],
        "security": [{"token": []}, {}],
        "paths": {_CONVERTER.sub(r"{\1}", each.path): {"get": _operation(each)} for each in operations},
        "components": {
            "schemas": _with_records(schemas["$defs"]),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _with_records(schema: Any) -> Any:  # noqa: ANN401 (any JSON)
    """Point `x-record` of `answers` to the schema of that record."""
    match schema:
        case {"x-record": name, **rest}:
            return {"$ref": f"#/components/schemas/{name}", **rest}
        case dict():
            return {name: _with_records(value) for name, value in schema.items()}
        case list():
            return [_with_records(value) for value in schema]
    return schema


def _operation(operation: Operation) -> dict[str, Any]:
    name = re.sub(r"\W+", "_", _CONVERTER.sub(r"\1", operation.path)).strip("_")
    ok = {"$ref": f"#/components/schemas/{operation.model.__name__}"}
    error = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "operationId": name,
        "summary": operation.summary,
        "parameters": [_parameter(each) for each in (*operation.parameters, _MIN_POSITION)],
        "responses": {
            "200": {
                "description": "The answer.",
                "headers": {"ETag": {"description": "For If-None-Match.", "schema": {"type": "string"}}},
                "content": {"application/json": {"schema": ok}},
            },
            "304": {"description": "The answer of this ETag still holds."},
            **{status: {"description": text, "content": error} for status, text in _ERRORS.items()},
        },
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.kind}
    for name in ("minimum", "maximum"):
        if (bound := getattr(parameter, name)) is not None:
            schema[name] = bound
    if parameter.kind == "integer":
        schema.setdefault("maximum", (1 << 63) - 1 if parameter.place == "path" else 10**18 - 1)
    if parameter is _MIN_POSITION:
        schema = {"type": "array", "items": {"type": "string"}}
    found: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.text,
        "schema": schema,
    }
    return found | ({"required": True} if parameter.place == "path" else {})

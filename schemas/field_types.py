"""The type of every field in a schema, and the differences between two schemas of one record.

Avro resolves some types as others without an error: bytes as string, int as long, a decimal of another scale unchanged.
A reader would then compute with wrong values. So a field keeps its type in every version (ADR 0019).
"""

from typing import Any, NamedTuple

Json = dict[str, Any]


class TypeChange(NamedTuple):
    """`path` is the dotted field path, empty for the root record. `new` is None for a removed field."""

    path: str
    old: str
    new: str | None


def field_types(schema: Any) -> dict[str, str]:  # noqa: ANN401  (any JSON)
    """Describe the type of each field, by dotted path: `{"amount": "bytes (decimal, precision 38, scale 18)"}`.

    Includes fields of nested records, also inside arrays, maps, unions and references by name. Names have no namespace,
    which Avro resolution ignores. Raises `KeyError`, `TypeError` or `AttributeError` for an invalid schema.
    """
    types = {"": ""}
    types[""] = _Walk(types).words(schema, "")
    return types


class _Walk:
    """Adds the fields' types to `types`."""

    def __init__(self, types: dict[str, str]) -> None:
        self._types = types
        self._named: dict[str, Json] = {}
        self._open: list[str] = []  # records being visited: a record may contain itself

    def words(self, avro_type: Any, path: str) -> str:  # noqa: ANN401  (any JSON)
        if isinstance(avro_type, list):
            return " or ".join(self.words(branch, path) for branch in avro_type)
        if isinstance(avro_type, str):
            definition = self._named.get(_short(avro_type))
            return avro_type if definition is None else self.words(definition, path)
        kind = avro_type["type"]
        if not isinstance(kind, str):
            return self.words(kind, path)
        if kind in _INNER:
            return f"{kind} of {self.words(avro_type[_INNER[kind]], path)}"
        details = [f"{label}{avro_type[name]}" for name, label in _DETAILS.items() if name in avro_type]
        name = self._visit(avro_type, path) if "name" in avro_type else ""
        return f"{kind}{name} ({', '.join(details)})" if details else f"{kind}{name}"

    def _visit(self, definition: Json, path: str) -> str:
        name = _short(definition["name"])
        self._named[name] = definition
        if name not in self._open:
            self._open.append(name)
            for field in definition.get("fields", ()):
                place = f"{path}.{field['name']}" if path else field["name"]
                self._types[place] = ""  # keep the field before its nested fields
                self._types[place] = self.words(field["type"], place)
            self._open.pop()
        return f" {name}"


def type_changes(old: Any, new: Any) -> list[TypeChange]:  # noqa: ANN401  (any JSON)
    """Return the fields of `old` that are missing or have another type in `new`. Both schemas are parsed JSON."""
    before, after = field_types(old), field_types(new)
    return [TypeChange(path, was, after.get(path)) for path, was in before.items() if after.get(path) != was]


def _short(name: str) -> str:
    return name.rpartition(".")[2]


_INNER = {"array": "items", "map": "values"}
_DETAILS = {"logicalType": "", "precision": "precision ", "scale": "scale ", "size": "size ", "symbols": "symbols "}

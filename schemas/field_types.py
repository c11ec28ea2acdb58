"""The type of every value in a record, and what two schemas of one record disagree about.

Avro reads some types as others: bytes as string and back, int as long, a decimal of another scale as it is. A reader
would compute with other values and raise no error, so a field keeps its type in every version (ADR 0019).
"""

from typing import Any, NamedTuple

Json = dict[str, Any]


class TypeChange(NamedTuple):
    """`path` is dotted and names the field; the root record's is empty. `new` is None for a field that is gone."""

    path: str
    old: str
    new: str | None


def field_types(schema: Any) -> dict[str, str]:  # noqa: ANN401  (any JSON)
    """Type of each field by dotted path, in words: `{"amount": "bytes (decimal, precision 38, scale 18)"}`.

    Fields of nested records are in it, whether the record stands in an array, a map, a union or is named again.
    Names are without namespace, which resolution does not look at. Raises `KeyError`, `TypeError` or `AttributeError`
    for what is no Avro schema.
    """
    types = {"": ""}
    types[""] = _Walk(types).words(schema, "")
    return types


class _Walk:
    """Puts the fields' types into `types`."""

    def __init__(self, types: dict[str, str]) -> None:
        self._types = types
        self._named: dict[str, Json] = {}
        self._open: list[str] = []  # records that are being looked into: one may hold itself

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
        name = self._look_into(avro_type, path) if "name" in avro_type else ""
        return f"{kind}{name} ({', '.join(details)})" if details else f"{kind}{name}"

    def _look_into(self, definition: Json, path: str) -> str:
        name = _short(definition["name"])
        self._named[name] = definition
        if name not in self._open:
            self._open.append(name)
            for field in definition.get("fields", ()):
                place = f"{path}.{field['name']}" if path else field["name"]
                self._types[place] = ""  # above the fields inside it
                self._types[place] = self.words(field["type"], place)
            self._open.pop()
        return f" {name}"


def type_changes(old: Any, new: Any) -> list[TypeChange]:  # noqa: ANN401  (any JSON)
    """List the fields of `old` that have another type in `new` or are not in it. Both are parsed JSON."""
    before, after = field_types(old), field_types(new)
    return [TypeChange(path, was, after.get(path)) for path, was in before.items() if after.get(path) != was]


def _short(name: str) -> str:
    return name.rpartition(".")[2]


_INNER = {"array": "items", "map": "values"}
_DETAILS = {"logicalType": "", "precision": "precision ", "scale": "scale ", "size": "size ", "symbols": "symbols "}

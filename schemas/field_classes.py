"""The class of a field: how sensitive its values are (docs/adr/0022).

`public`: the same for all accounts. `internal`: a fact that names nobody, such as an amount, a status or a time.
`personal`: identifies a person or an account, or may hold anything, such as free text. `secret`: never shown.
"""

from typing import Any, Final, Literal

from broker_events.schemas.field_types import Json

FieldClass = Literal["public", "internal", "personal", "secret"]

CLASSES: Final[tuple[FieldClass, ...]] = ("public", "internal", "personal", "secret")
"""From the least to the most sensitive."""


def strictest(*classes: FieldClass) -> FieldClass:
    """Return the most sensitive of these classes, `public` if there are none."""
    return max(classes, key=CLASSES.index, default="public")


def class_within(avro_type: Any, records: dict[str, FieldClass]) -> FieldClass | None:  # noqa: ANN401  (any JSON)
    """Return the strictest class of the fields in a type, None if the type holds no record.

    `records` has the class of each record that is already known by name, and receives those found here. The schema has
    passed the rules for fields: each one has a class.
    """
    if isinstance(avro_type, list):
        found = [one for branch in avro_type if (one := class_within(branch, records)) is not None]
        return strictest(*found) if found else None
    if isinstance(avro_type, str):
        return records.get(avro_type.rpartition(".")[2])
    if avro_type["type"] != "record":
        inner = avro_type.get("items") or avro_type.get("values")
        return None if inner is None else class_within(inner, records)
    fields: list[Json] = avro_type["fields"]
    classes = [class_within(field["type"], records) or field["class"] for field in fields]
    return records.setdefault(avro_type["name"], strictest(*classes))

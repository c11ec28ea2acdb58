"""Hides the values of sensitive fields in a decoded record."""

from collections.abc import Set as AbstractSet
from typing import Final

from broker_events.schemas.field_classes import FieldClass
from broker_events.schemas.models import FIELD_CLASSES, Record

SHOWN: Final[AbstractSet[FieldClass]] = frozenset({"public", "internal"})
"""Classes whose values stay readable."""

HIDDEN: Final = "…"
_LAST: Final = 4
_LONG: Final = 8  # a shorter value would lose little by hiding its beginning


def masked(record: Record, shown: AbstractSet[FieldClass] = SHOWN) -> dict[str, object]:
    """Return the fields of a record, with the values of every class that is not in `shown` hidden.

    A hidden value becomes `mask(value)`. Null and empty collections stay. Records in fields, lists and maps are masked
    field by field.
    """
    classes = FIELD_CLASSES[type(record).__name__]
    return {name: _masked(getattr(record, name), classes[name], shown) for name in type(record).model_fields}


def mask(value: object, field_class: FieldClass = "personal") -> object:
    """Hide a value. A personal text without spaces, such as an account id, keeps its last four characters: `…HA4E`."""
    if value is None or value in ((), [], {}):
        return value
    if (
        field_class == "personal"
        and isinstance(value, str)
        and len(value) >= _LONG
        and not any(map(str.isspace, value))
    ):
        return HIDDEN + value[-_LAST:]
    return HIDDEN


def _masked(value: object, field_class: FieldClass, shown: AbstractSet[FieldClass]) -> object:
    match value:
        case Record():
            return masked(value, shown)
        case (Record(), *_):
            return [_masked(item, field_class, shown) for item in value]
        case dict() if any(isinstance(item, Record) for item in value.values()):
            return {key: _masked(item, field_class, shown) for key, item in value.items()}
    return value if field_class in shown else mask(value, field_class)

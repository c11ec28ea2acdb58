"""The language of rules: CEL with exact decimals and without floats. Declares it to CEL's type checker.

CEL has no decimals, and its standard operators can't be extended. So the operators that decimals need are excluded from
the standard library and declared again with one more overload.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cel_expr_python import cel

from broker_events.processors.alert_rules.protobuf_types import DECIMAL, PACKAGE, RecordTypes

_T: Final = cel.Type
_BOOL, _INT, _STRING, _TIME, _SPAN = _T.BOOL, _T.INT, _T.STRING, _T.TIMESTAMP, _T.DURATION

Operands = tuple[str, Any, tuple[Any, ...]]
"""Overload id, result and operands."""


class Language:
    """Type-checks expressions over these variables: `variables` has the CEL type of each, by name."""

    def __init__(self, records: RecordTypes, variables: Mapping[str, str]) -> None:
        # Types of messages are found in the pool of an environment, so it is there before them.
        pool = records.pool()
        self._environment = cel.NewEnv(
            descriptor_pool=pool,
            config=cel.NewEnvConfigFromYaml(_EXCLUDED),
            variables={name: _type(kind) for name, kind in variables.items()},
            functions=[
                cel.FunctionDecl(name, [_overload(name, *each) for each in overloads])
                for name, overloads in _functions(records.names()).items()
            ],
        )

    def check(self, text: str) -> tuple[bytes, Any]:
        """Return the serialized checked expression and its type. Raises RuntimeError with CEL's report."""
        checked = self._environment.compile(text)
        return checked.serialize(), checked.return_type()


def is_bool(kind: Any) -> bool:  # noqa: ANN401 (cel.Type)
    return bool(kind == _BOOL)


def is_string(kind: Any) -> bool:  # noqa: ANN401 (cel.Type)
    return bool(kind == _STRING)


def is_string_list(kind: Any) -> bool:  # noqa: ANN401 (cel.Type)
    return bool(kind == _T.List(_STRING))


def _type(name: str) -> Any:  # noqa: ANN401 (cel.Type)
    return {"timestamp": _TIME}.get(name) or _T(name)


def _functions(records: list[str]) -> dict[str, list[Operands]]:
    decimal = _T(DECIMAL)
    strings = _T.List(_STRING)
    elements = [_STRING, _INT, _BOOL, decimal, *(_T(f"{PACKAGE}.{name}") for name in records)]
    return {
        **{name: list(_comparisons(name, decimal)) for name in ("_<_", "_<=_", "_>_", "_>=_")},
        "_+_": [
            ("add_int64", _INT, (_INT, _INT)),
            ("add_decimal", decimal, (decimal, decimal)),
            ("add_string", _STRING, (_STRING, _STRING)),
            ("add_timestamp_duration", _TIME, (_TIME, _SPAN)),
            ("add_duration_timestamp", _TIME, (_SPAN, _TIME)),
            ("add_duration_duration", _SPAN, (_SPAN, _SPAN)),
            # Macros such as filter add lists; CEL's own overload is generic, which a declaration can't be.
            *((f"add_list_{number}", _T.List(each), (_T.List(each),) * 2) for number, each in enumerate(elements)),
        ],
        "_-_": [
            ("subtract_int64", _INT, (_INT, _INT)),
            ("subtract_decimal", decimal, (decimal, decimal)),
            ("subtract_timestamp_timestamp", _SPAN, (_TIME, _TIME)),
            ("subtract_timestamp_duration", _TIME, (_TIME, _SPAN)),
            ("subtract_duration_duration", _SPAN, (_SPAN, _SPAN)),
        ],
        "_*_": [
            ("multiply_int64", _INT, (_INT, _INT)),
            ("multiply_decimal", decimal, (decimal, decimal)),
        ],
        "-_": [("negate_int64", _INT, (_INT,)), ("negate_decimal", decimal, (decimal,))],
        "string": [("string_int64", _STRING, (_INT,)), ("string_decimal", _STRING, (decimal,))],
        "decimal": [("decimal_string", decimal, (_STRING,)), ("decimal_int64", decimal, (_INT,))],
        "last4": [("last4", _STRING, (_STRING,))],
        "spells": [("spells", _BOOL, (_STRING, _STRING))],
        "markets": [("markets", strings, (strings, _STRING))],
    }


def _comparisons(name: str, decimal: Any) -> Iterator[Operands]:  # noqa: ANN401 (cel.Type)
    word = {"_<_": "less", "_<=_": "less_equals", "_>_": "greater", "_>=_": "greater_equals"}[name]
    kinds = {"int64": _INT, "string": _STRING, "timestamp": _TIME, "duration": _SPAN, "decimal": decimal}
    for kind, operand in kinds.items():
        yield f"{word}_{kind}", _BOOL, (operand, operand)


def _overload(name: str, overload_id: str, result: Any, operands: tuple[Any, ...]) -> Any:  # noqa: ANN401 (cel types)
    return cel.Overload(id=overload_id, return_type=result, parameters=list(operands), is_member=name in _MEMBERS)


_MEMBERS: Final = {"spells"}

# Excluded and declared again; the others would make floats, or have no meaning for the data of an event.
_EXCLUDED: Final = "stdlib:\n  exclude_functions:\n" + "".join(
    f'    - name: "{name}"\n'
    for name in (
        *("_<_", "_<=_", "_>_", "_>=_", "_+_", "_-_", "_*_", "-_", "string"),
        *("double", "uint", "bytes", "dyn", "type", "matches"),
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
    )
)

"""Protobuf messages made of tables: of CEL's syntax trees, and of Avro records as CEL's type checker sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2, wrappers_pb2

Field = descriptor_pb2.FieldDescriptorProto

PACKAGE: Final = "broker"
DECIMAL: Final = f"{PACKAGE}.Decimal"
"""Name of the type of amounts. It has no fields: rules compare and add amounts, and see nothing inside."""

_SCALARS: Final = {"bool": Field.TYPE_BOOL, "int": Field.TYPE_INT64, "string": Field.TYPE_STRING}
_WRAPPERS: Final = {"bool": "BoolValue", "int": "Int64Value", "string": "StringValue"}
_TIMESTAMP: Final = "google.protobuf.Timestamp"

# cel/expr/syntax.proto and checked.proto of the CEL specification, as far as a rule can have them.
_CEL: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    "CheckedExpr": {
        "reference_map": (2, "*ReferenceEntry"),
        "type_map": (3, "*TypeEntry"),
        "expr": (4, "Expr"),
        "source_info": (5, "SourceInfo"),
    },
    "ReferenceEntry": {"key": (1, "int"), "value": (2, "Reference")},
    "Reference": {"name": (1, "string"), "overload_id": (3, "*string")},
    "TypeEntry": {"key": (1, "int"), "value": (2, "Type")},
    "Type": {"message_type": (9, "string")},
    "SourceInfo": {"positions": (4, "*PositionEntry")},
    "PositionEntry": {"key": (1, "int"), "value": (2, "int")},
    "Expr": {
        "id": (2, "int"),
        "const_expr": (3, "Constant"),
        "ident_expr": (4, "Ident"),
        "select_expr": (5, "Select"),
        "call_expr": (6, "Call"),
        "list_expr": (7, "CreateList"),
        "struct_expr": (8, "CreateStruct"),
        "comprehension_expr": (9, "Comprehension"),
    },
    "Constant": {
        "null_value": (1, "?int"),
        "bool_value": (2, "?bool"),
        "int64_value": (3, "?int"),
        "uint64_value": (4, "?int"),
        "double_value": (5, "?double"),
        "string_value": (6, "?string"),
        "bytes_value": (7, "?bytes"),
    },
    "Ident": {"name": (1, "string")},
    "Select": {"operand": (1, "Expr"), "field": (2, "string"), "test_only": (3, "bool")},
    "Call": {"target": (1, "Expr"), "function": (2, "string"), "args": (3, "*Expr")},
    "CreateList": {"elements": (1, "*Expr")},
    "CreateStruct": {"message_name": (1, "string")},
    "Comprehension": {
        "iter_var": (1, "string"),
        "iter_range": (2, "Expr"),
        "accu_var": (3, "string"),
        "accu_init": (4, "Expr"),
        "loop_condition": (5, "Expr"),
        "loop_step": (6, "Expr"),
        "result": (7, "Expr"),
    },
}


def _syntax_tree() -> Any:  # noqa: ANN401 (a message class made here)
    file = descriptor_pb2.FileDescriptorProto(name="cel.proto", package="cel", syntax="proto3")
    for name, fields in _CEL.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            plain = kind.lstrip("*?")
            field = message.field.add(name=field_name, number=number, label=Field.LABEL_OPTIONAL)
            if kind.startswith("*"):
                field.label = Field.LABEL_REPEATED
            if kind.startswith("?"):  # presence of a scalar, as in a oneof
                field.proto3_optional = True
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field_name}")
            scalars = {**_SCALARS, "double": Field.TYPE_DOUBLE, "bytes": Field.TYPE_BYTES}
            if plain in scalars:
                field.type = scalars[plain]
            else:
                field.type, field.type_name = Field.TYPE_MESSAGE, f".cel.{plain}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("cel.CheckedExpr"))


CheckedExpr: Final = _syntax_tree()
"""Message class of a checked expression (cel.expr.CheckedExpr)."""


class RecordTypes:
    """A pool of messages, one per Avro record: `add(schema, name)`, then `pool` once."""

    def __init__(self) -> None:
        self._file = descriptor_pb2.FileDescriptorProto(
            name="broker.proto",
            package=PACKAGE,
            syntax="proto3",
            dependency=["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"],
        )
        self._file.message_type.add(name=DECIMAL.removeprefix(f"{PACKAGE}."))
        self._known: set[str] = set()

    def add(self, name: str, fields: list[dict[str, Any]]) -> str:
        """Add a message with these Avro fields and return its full name."""
        if name not in self._known:
            self._known.add(name)
            message = self._file.message_type.add(name=name)
            for number, field in enumerate(fields, 1):
                self._add_field(message, number, field["name"], field["type"])
        return f"{PACKAGE}.{name}"

    def add_named(self, name: str, types: Mapping[str, str | tuple[str, str]]) -> str:
        """Add a message with fields of CEL's scalar types, lists and maps, such as ("map", "decimal")."""
        avro: dict[str, Any] = {"int": "long", "bool": "boolean", "string": "string", "decimal": _AVRO_DECIMAL}
        fields = []
        for field_name, kind in types.items():
            if isinstance(kind, tuple):
                whole = {"list": "items", "map": "values"}[kind[0]]
                fields.append(
                    {
                        "name": field_name,
                        "type": {"type": "array" if kind[0] == "list" else "map", whole: avro[kind[1]]},
                    }
                )
            else:
                fields.append({"name": field_name, "type": avro[kind]})
        return self.add(name, fields)

    def names(self) -> list[str]:
        """Return the names of the records, without the package."""
        return sorted(self._known)

    def pool(self) -> descriptor_pool.DescriptorPool:
        pool = descriptor_pool.DescriptorPool()
        for file in (timestamp_pb2, wrappers_pb2):
            pool.AddSerializedFile(file.DESCRIPTOR.serialized_pb)
        pool.Add(self._file)
        return pool

    def _add_field(self, message: descriptor_pb2.DescriptorProto, number: int, name: str, avro: Any) -> None:  # noqa: ANN401 (an Avro type)
        field = message.field.add(name=name, number=number, label=Field.LABEL_OPTIONAL)
        is_nullable = isinstance(avro, list)
        avro = avro[1] if is_nullable else avro
        match avro:
            case {"type": "array", "items": items}:
                field.label = Field.LABEL_REPEATED
                self._set_type(field, items, is_nullable=False)
            case {"type": "map", "values": values}:
                entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
                value = entry.field.add(name="value", number=2, label=Field.LABEL_OPTIONAL)
                self._set_type(value, values, is_nullable=False)
                field.label, field.type = Field.LABEL_REPEATED, Field.TYPE_MESSAGE
                field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
            case _:
                self._set_type(field, avro, is_nullable=is_nullable)

    def _set_type(self, field: Field, avro: Any, *, is_nullable: bool) -> None:  # noqa: ANN401 (an Avro type)
        scalar = {"boolean": "bool", "int": "int", "long": "int", "string": "string"}.get(
            avro if isinstance(avro, str) else "", ""
        )
        if scalar and not is_nullable:
            field.type = _SCALARS[scalar]
            return
        field.type = Field.TYPE_MESSAGE
        match avro:
            case str() if scalar:
                field.type_name = f".google.protobuf.{_WRAPPERS[scalar]}"
            case str():  # a record defined before
                field.type_name = f".{PACKAGE}.{avro.rpartition('.')[2]}"
            case {"logicalType": "timestamp-micros"}:
                field.type_name = f".{_TIMESTAMP}"
            case {"logicalType": "decimal"}:
                field.type_name = f".{DECIMAL}"
            case {"type": "record", "name": name, "fields": fields}:
                field.type_name = f".{self.add(name, fields)}"
            case _:
                raise ValueError(f"no CEL type for the Avro type {avro}")


_AVRO_DECIMAL: Final = {"type": "bytes", "logicalType": "decimal"}


def entries(repeated: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401 (map entries of a message)
    """Yield key and value of the entries of a map field."""
    for entry in repeated:
        yield entry.key, entry.value

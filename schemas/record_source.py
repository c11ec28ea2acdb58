"""Python source of two functions that write and read one record type, in storage form, as Avro.

Straight code instead of an interpreter of schemas, as in `encoder_source`: a third to a half of fastavro's time. Both
functions raise whatever comes up for what is not plain sailing (a string of over 8191 bytes, a wrong type, bytes that
end too early); the caller then asks fastavro, which finds the answer or says what is wrong.
"""

from typing import Any


def record_source(schema: dict[str, Any]) -> str:
    """Source of `encode(record) -> body` and `decode(value, start) -> (record, end)` for a storage schema.

    It expects the names of `schemas.record_pieces` around it.
    """
    writer = _Writer()
    name = writer.record(schema)
    return "\n".join([*writer.functions, f"encode = write_{name}", f"decode = read_{name}", ""])


class _Writer:
    """Writes one pair of functions for each record type that it meets, inner ones first."""

    def __init__(self) -> None:
        self.functions: list[str] = []
        self._known: set[str] = set()

    def record(self, schema: dict[str, Any]) -> str:
        name = str(schema["name"]).rpartition(".")[2]
        if name not in self._known:
            self._known.add(name)
            pieces = [self._piece(field["type"], f"record[{field['name']!r}]") for field in schema["fields"]]
            reads = [
                line for number, field in enumerate(schema["fields"]) for line in self._read(field["type"], number)
            ]
            items = ", ".join(f"{field['name']!r}: v{number}" for number, field in enumerate(schema["fields"]))
            self.functions += [
                f"def write_{name}(record):",
                f"    return b''.join(({', '.join(pieces)},))",
                f"def read_{name}(b, i):",
                *(f"    {line}" for line in reads),
                f"    return {{{items}}}, i",
            ]
        return name

    def _piece(self, schema: Any, value: str) -> str:  # noqa: ANN401, PLR0911  (any JSON; a table of shapes)
        """Expression, or two with a comma, of the bytes of a value."""
        match schema:
            case "string":
                return f"LENGTH[len(v := {value}.encode())], v"
            case "bytes":
                return f"LENGTH[len(v := {value})], v"
            case "int" | "long":
                return f"write_long({value})"
            case "boolean":
                return f"BOOLEAN[{value}]"
            case ["null", "string"]:
                return f"NULL if (v := {value}) is None else SOME_LENGTH[len(v := v.encode())] + v"
            case ["null", "bytes"]:
                return f"NULL if (v := {value}) is None else SOME_LENGTH[len(v)] + v"
            case ["null", branch]:
                return f"NULL if (w := {value}) is None else SOME + {self._piece(branch, 'w')}"
            case {"type": "array", "items": element}:
                return f"write_array({value}, {self._function('write', element)})"
            case {"type": "map", "values": element}:
                return f"write_map({value}, {self._function('write', element)})"
            case _:
                return f"{self._function('write', schema)}({value})"

    def _read(self, schema: Any, number: int) -> list[str]:  # noqa: ANN401, PLR0911  (any JSON; a table of shapes)
        """Lines that read the value at `i` into `v<number>` and move `i` behind it."""
        value = f"v{number}"
        match schema:
            case "string" | "bytes":
                text = ".decode()" if schema == "string" else ""
                return [
                    "n = SHORT_LENGTH[b[i]]",
                    "if n >= 0: i += 1",
                    "else: n, i = read_length(b, i)",
                    "j = i + n",
                    f"{value} = b[i:j]{text}",
                    "i = j",
                ]
            case "int" | "long":
                return [f"{value}, i = read_long(b, i)"]
            case "boolean":
                return [f"{value} = TRUTH[b[i]]", "i += 1"]
            case ["null", branch]:
                return [
                    "n = b[i]",
                    "i += 1",
                    f"if n == 0: {value} = None",
                    "elif n == 2:",
                    *(f"    {line}" for line in self._read(branch, number)),
                    "else: raise ValueError(n)",
                ]
            case {"type": "array", "items": element}:
                return [f"{value}, i = read_array(b, i, {self._function('read', element)})"]
            case {"type": "map", "values": element}:
                return [f"{value}, i = read_map(b, i, {self._function('read', element)})"]
            case _:
                return [f"{value}, i = {self._function('read', schema)}(b, i)"]

    def _function(self, verb: str, schema: Any) -> str:  # noqa: ANN401  (any JSON)
        """Name of the function that writes or reads a string or a record."""
        match schema:
            case str(name):
                return f"{verb}_{name.rpartition('.')[2]}"
            case {"type": "record"}:
                return f"{verb}_{self.record(schema)}"
            case _:
                raise ValueError(f"no code for {schema}")

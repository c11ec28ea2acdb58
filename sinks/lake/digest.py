"""A digest of rows that depends on their values only, not on chunks, offsets or widths of Arrow types."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

_BYTES: Final = 16


def digest(rows: pa.Table) -> str:
    """Return the digest of the rows, in their order, over all columns by name."""
    found = blake2b(digest_size=_BYTES)
    for name in sorted(rows.column_names):
        found.update(name.encode())
        chunks = rows.column(name).combine_chunks()
        _add(found, chunks if isinstance(chunks, pa.Array) else pa.concat_arrays(chunks.chunks))
    return found.hexdigest()


def _add(found: Any, values: pa.Array) -> None:  # noqa: ANN401 (hashlib's object)
    kind, size, nulls = values.type, len(values), values.null_count
    found.update(b"%d,%d;" % (size, nulls))
    if nulls:
        _add_fixed(found, values.is_valid().cast(pa.uint8()))
    if types.is_struct(kind):
        for child in values.flatten():  # with the parent's nulls
            _add(found, child)
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_map(kind):
        first, end = _add_lengths(found, values.offsets)
        children = (values.keys, values.items) if types.is_map(kind) else (values.values,)
        for child in children:
            _add(found, child.slice(first, end - first))
    elif types.is_binary(kind) or types.is_large_binary(kind) or types.is_string(kind) or types.is_large_string(kind):
        _add_bytes(found, pc.fill_null(values, b"" if "binary" in str(kind) else "") if nulls else values)
    elif types.is_boolean(kind):
        _add_fixed(found, pc.fill_null(values, False).cast(pa.uint8()))  # noqa: FBT003
    else:
        _add_fixed(found, pc.fill_null(values, _zero(kind)) if nulls else values)


def _add_bytes(found: Any, values: pa.Array) -> None:  # noqa: ANN401
    _, places, data = values.buffers()
    if not len(values) or places is None:
        return
    wide = types.is_large_binary(values.type) or types.is_large_string(values.type)
    kind = pa.int64() if wide else pa.int32()
    first, end = _add_lengths(found, pa.Array.from_buffers(kind, len(values) + 1, [None, places], offset=values.offset))
    if data is not None:
        found.update(memoryview(data)[first:end])


def _add_lengths(found: Any, offsets: pa.Array) -> tuple[int, int]:  # noqa: ANN401
    """Add the differences of the offsets; return the first and the last one."""
    if len(offsets) < 2:  # noqa: PLR2004 (no value)
        return 0, 0
    _add_fixed(found, pc.subtract(offsets.slice(1), offsets.slice(0, len(offsets) - 1)).cast(pa.int64()))
    return offsets[0].as_py(), offsets[-1].as_py()


def _add_fixed(found: Any, values: pa.Array) -> None:  # noqa: ANN401
    width = values.type.bit_width // 8
    data = values.buffers()[1]
    if data is not None:
        found.update(memoryview(data)[values.offset * width : (values.offset + len(values)) * width])


def _zero(kind: pa.DataType) -> pa.Scalar:
    if types.is_decimal(kind):
        return pa.scalar(0, pa.int64()).cast(kind)
    if types.is_fixed_size_binary(kind):
        return pa.scalar(bytes(kind.byte_width), kind)
    return pa.scalar(0, pa.int64() if kind.bit_width == 64 else pa.int32()).cast(kind)  # noqa: PLR2004

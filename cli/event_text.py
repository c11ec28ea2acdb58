"""An event's bytes for people: indented JSON, text or a hex dump; nothing is left out, rounded or reordered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from broker_events.cli.output import printable

_INDENT: Final = "  "
_DUMP_BYTES: Final = 16
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


def readable(value: bytes) -> str:
    """Return JSON indented, other UTF-8 text as it is, anything else as a hex dump."""
    from broker_events.runtime.events import lossless_json
    from broker_events.schemas.invalid_event import InvalidEvent, Reason

    try:
        lossless_json.parse(value)
    except InvalidEvent as problem:
        if problem.reason is Reason.NOT_UTF8:
            return "\n".join(_dump(value))
        return printable(value.decode(), keep="\n\t")
    return printable(indented(value.decode()), keep="\n")


def indented(json_text: str) -> str:
    """Set a valid JSON text on lines by its structure; every token stays as it was written, repeated keys too."""
    parts: list[str] = []
    depth = 0
    before = ""
    for piece in _TOKEN.findall(json_text):
        opened = before in ("{", "[")
        if piece in ("}", "]"):
            depth -= 1
            if not opened:
                parts.append("\n" + _INDENT * depth)
        elif opened or before == ",":
            parts.append("\n" + _INDENT * depth)
        parts.append(": " if piece == ":" else piece)
        depth += piece in ("{", "[")
        before = piece
    return "".join(parts)


def _dump(value: bytes) -> Iterator[str]:
    """Offset, hexadecimal bytes, ASCII: as `hexdump -C`."""
    for start in range(0, len(value), _DUMP_BYTES):
        piece = value[start : start + _DUMP_BYTES]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in piece)  # noqa: PLR2004 (printable ASCII)
        yield f"{start:08x}  {piece.hex(' '):<{3 * _DUMP_BYTES}} |{text}|"

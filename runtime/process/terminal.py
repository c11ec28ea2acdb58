"""Escapes terminal control characters in output."""

from __future__ import annotations

import io
import re
import sys
from typing import Final, TextIO

# C0 except tab and newline, DEL, C1 (ECMA-48), Unicode's Bidi_Control; surrogates, which some encodings write as bytes.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(text: str) -> str:
    r"""Return the text with every control character except tab and newline as \uXXXX.

    JSON stays equivalent: control characters occur only in its strings, and this is JSON's own escape.
    """
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class EscapedText(io.TextIOWrapper):
    """A text stream over `plain` that writes `escaped` text as UTF-8, whatever the locale."""

    def __init__(self, plain: io.TextIOWrapper) -> None:
        super().__init__(
            plain.buffer, encoding="utf-8", line_buffering=plain.line_buffering, write_through=plain.write_through
        )
        self.plain = plain

    def write(self, text: str, /) -> int:
        super().write(escaped(text))
        return len(text)


def escape_output() -> None:
    """Escape everything that is written to standard output and standard error from now on."""
    sys.stdout, sys.stderr = _escaping(sys.stdout), _escaping(sys.stderr)


def plain_stream(stream: TextIO) -> TextIO:
    """Return the stream below an escaping one, for code that draws on the terminal and escapes texts itself."""
    return stream.plain if isinstance(stream, EscapedText) else stream


def _escaping(stream: TextIO) -> TextIO:
    if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, EscapedText):  # None where it is closed
        return EscapedText(stream)
    return stream

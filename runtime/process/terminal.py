"""Text for a terminal: what a terminal would obey is written as an escape."""

from __future__ import annotations

import io
import re
import sys
from typing import Final, TextIO

# C0 but tab and newline, DEL, C1 (ECMA-48), Unicode's Bidi_Control; surrogates, which some encodings turn into bytes.
_OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(text: str) -> str:
    r"""Return the text with every character that a terminal obeys, but tab and newline, as \uXXXX.

    JSON stays the same document: such a character can only be in a string there, and this is JSON's own escape.
    """
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class EscapedText(io.TextIOWrapper):
    """A text stream over `plain` that writes `escaped` text, in UTF-8 whatever the locale is."""

    def __init__(self, plain: io.TextIOWrapper) -> None:
        super().__init__(
            plain.buffer, encoding="utf-8", line_buffering=plain.line_buffering, write_through=plain.write_through
        )
        self.plain = plain

    def write(self, text: str, /) -> int:
        super().write(escaped(text))
        return len(text)


def escape_output() -> None:
    """Make standard output and standard error escape; for the beginning of a program."""
    sys.stdout, sys.stderr = _escaping(sys.stdout), _escaping(sys.stderr)


def plain_stream(stream: TextIO) -> TextIO:
    """Return the stream below one that escapes, for what draws on a terminal and escapes its texts by itself."""
    return stream.plain if isinstance(stream, EscapedText) else stream


def _escaping(stream: TextIO) -> TextIO:
    if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, EscapedText):  # None where it is closed
        return EscapedText(stream)
    return stream

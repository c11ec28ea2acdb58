"""Reads JSON without loss: numbers keep their digits, repeated keys are counted. Slower than orjson.

Accepts JSON text in UTF-8 (RFC 8259) except escaped lone surrogates, which Avro strings cannot hold. Rejects NaN and
Infinity, which the standard library accepts.
"""

import json
import re
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import orjson

from broker_events.native import extension
from broker_events.schemas.invalid_event import InvalidEvent, Reason

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_EXCERPT = 60
# Ignored around a text: control characters, spaces, byte order marks (RFC 8259, section 8.1).
_PADDING = "".join(map(chr, range(0x21))) + "\x7f\ufeff"


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as written. Not a str, int or float, so that no code can mistake it for one."""

    literal: str


class Ambiguous(dict[str, Any]):
    """An object in which members occur again with another value. `names` are those members; the last value is kept."""

    def __init__(self, members: dict[str, Any], names: frozenset[str]) -> None:
        super().__init__(members)
        self.names = names


class Document(NamedTuple):
    """A parsed text: `root` of dict, list, str, Number, bool, None; number of overwritten repeated members."""

    root: Any
    duplicate_keys: int


class _Decoder(threading.local):
    """One per thread: creating a decoder takes about as long as reading an event."""

    def __init__(self) -> None:
        self.duplicate_keys = 0
        self.decode = json.JSONDecoder(
            parse_int=Number, parse_float=Number, parse_constant=_refuse_constant, object_pairs_hook=self._members
        ).decode

    def _members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        self.duplicate_keys += len(pairs) - len(found)
        names = frozenset(name for name, value in pairs if value != found[name])
        return Ambiguous(found, names) if names else found


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_decoder = _Decoder()


def parse(value: bytes) -> Document:
    """Parse one JSON text; padding is ignored. The last of repeated keys wins (see `Ambiguous`).

    Raises `InvalidEvent` with not_utf8, not_json or too_deep.
    """
    native = extension.native
    found = None if native is None else native.parse_json(value, Number)
    return _parse_in_python(value) if found is None else Document(*found, 0)


def _parse_in_python(value: bytes) -> Document:
    """Parse any text or raise `InvalidEvent`. Handles the texts that native code declines."""
    _decoder.duplicate_keys = 0
    try:
        text = value.decode().strip(_PADDING)
        root = _decoder.decode(text)
        if _SURROGATE_ESCAPE.search(text):
            json_text(root)
    except UnicodeDecodeError as error:
        raise InvalidEvent(Reason.NOT_UTF8, "", f"byte {error.start}: {error.reason}") from error
    except orjson.JSONEncodeError as error:
        raise InvalidEvent(Reason.NOT_JSON, "", "a string contains a lone surrogate") from error
    except ValueError as error:
        raise InvalidEvent(Reason.NOT_JSON, "", str(error)) from error
    except RecursionError as error:
        raise InvalidEvent(Reason.TOO_DEEP, "", "arrays or objects are nested too deeply") from error
    return Document(root, _decoder.duplicate_keys)


def unpadded(value: bytes) -> bytes:
    """Return a text in UTF-8 without its padding."""
    return value.decode().strip(_PADDING).encode()


def refuse_ambiguous(members: dict[str, Any], name: str, pointer: str) -> None:
    """Raise `InvalidEvent` if the member has two different values."""
    if isinstance(members, Ambiguous) and name in members.names:
        raise InvalidEvent(Reason.DUPLICATE_KEY, pointer, "the member occurs more than once, with different values")


def json_text(value: Any) -> str:  # noqa: ANN401  (any JSON)
    """Return compact JSON text of a parsed value: no whitespace, numbers as written, no unnecessary escapes.

    Raises `RecursionError` for values nested too deeply.
    """
    try:
        return orjson.dumps(value, default=_literal, option=orjson.OPT_PASSTHROUGH_DATACLASS).decode()
    except orjson.JSONEncodeError:  # nested too deeply for orjson, or a lone surrogate, which raises again below
        return _json_text(value)


def _literal(number: Number) -> orjson.Fragment:
    return orjson.Fragment(number.literal)


def _json_text(value: Any) -> str:  # noqa: ANN401 (any JSON)
    if isinstance(value, Number):
        return value.literal
    if isinstance(value, list):
        return "[" + ",".join([_json_text(item) for item in value]) + "]"
    if isinstance(value, dict):
        return "{" + ",".join([f"{_json_text(key)}:{_json_text(member)}" for key, member in value.items()]) + "}"
    return orjson.dumps(value).decode()


def excerpt(value: Any) -> str:  # noqa: ANN401  (any JSON)
    """Return the value's JSON text for a message, cut to 60 characters."""
    if isinstance(value, str):
        value = value[:_EXCERPT]  # cut first, so that a long string is not escaped in full
    try:
        text = json_text(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 3] + "..."


def pointer_token(name: str) -> str:
    """Return a member's name as a step of a JSON Pointer (RFC 6901, section 3), without the leading slash."""
    return name.replace("~", "~0").replace("/", "~1")

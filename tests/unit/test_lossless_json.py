"""Exact JSON: no digit lost, repeated keys counted, and a reason for what is no JSON."""

import json
import sys
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_events.native import extension
from broker_events.runtime.events import lossless_json
from broker_events.runtime.events.lossless_json import (
    Number,
    excerpt,
    json_text,
    parse,
    pointer_token,
    refuse_ambiguous,
)
from broker_events.schemas.invalid_event import InvalidEvent, Reason

LITERALS = ["0", "-0", "1.0", "1.10", "1e5", "1E+400", "-0.0", "123456789012345678901234567890.000000000000000000001"]


@pytest.mark.parametrize("literal", LITERALS)
def test_a_number_keeps_its_literal(literal: str) -> None:
    assert parse(literal.encode()).root == Number(literal)
    assert json_text(parse(f'{{"a": [ {literal} ]}}'.encode()).root) == f'{{"a":[{literal}]}}'


def test_a_number_of_a_million_digits_is_no_work() -> None:
    assert parse(b"9" * 1_000_000).root == Number("9" * 1_000_000)


def test_a_number_is_neither_text_nor_int() -> None:
    number = parse(b"1").root
    assert not isinstance(number, str | int | float)


def test_the_last_of_repeated_keys_wins_and_each_hidden_one_counts() -> None:
    document = parse(b'{"a":1,"b":{"c":1,"c":2,"c":3},"a":{"c":4}}')
    assert json_text(document.root) == '{"a":{"c":4},"b":{"c":3}}'
    assert document.duplicate_keys == 3


def test_text_is_compact_and_escapes_only_what_it_must() -> None:
    text = r'{"a" : "\u00e9\u0001\n\"\\\/", "b":[ true,false , null]}'
    assert json_text(parse(text.encode()).root) == r'{"a":"é\u0001\n\"\\/","b":[true,false,null]}'
    assert json_text(parse('"\x7f€😀"'.encode()).root) == '"\x7f€😀"'


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b"{", Reason.NOT_JSON),
        (b"{}{}", Reason.NOT_JSON),
        (b"{'a':1}", Reason.NOT_JSON),
        (b"NaN", Reason.NOT_JSON),
        (b'{"a":-Infinity}', Reason.NOT_JSON),
        (b"01", Reason.NOT_JSON),
        (b'"\n"', Reason.NOT_JSON),
        (b'"\\ud800"', Reason.NOT_JSON),
        (b'{"\\uDFFF":1}', Reason.NOT_JSON),
        ("{\ufeff}".encode(), Reason.NOT_JSON),
        ("\ufeff \x00".encode(), Reason.NOT_JSON),
        ("{}".encode("utf-16"), Reason.NOT_UTF8),
        (b'"\xff"', Reason.NOT_UTF8),
        (b'"\xed\xa0\x80"', Reason.NOT_UTF8),
        (b"[" * 100_000 + b"]" * 100_000, Reason.TOO_DEEP),
        (b'{"a":' * 100_000, Reason.TOO_DEEP),
    ],
)
def test_what_is_no_json_has_a_reason(value: bytes, reason: Reason) -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse(value)
    assert (caught.value.reason, caught.value.pointer) == (reason, "")


def test_an_escaped_surrogate_pair_is_a_character() -> None:
    assert parse(b'"\\ud83d\\ude00"').root == "😀"


def test_an_excerpt_is_short_even_of_long_and_deep_values() -> None:
    assert excerpt("abc") == '"abc"'
    assert excerpt("a" * 58) == f'"{"a" * 58}"'
    assert excerpt("a" * 59) == f'"{"a" * 56}...'
    assert len(excerpt(["x"] * 1000)) == 60
    deep: list[object] = []
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]
    assert excerpt(deep) == "a deeply nested value"


def test_pointer_steps_are_escaped() -> None:
    assert pointer_token("a/b~c~1") == "a~1b~0c~01"


def test_agrees_with_the_standard_library() -> None:
    text = '{"a":[1,-2,"x\\ty",{"b":null}],"c":{}}'
    assert json.loads(json_text(parse(text.encode()).root)) == json.loads(text)


PIECES = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    '"',
    '"a"',
    '"\\u00e9"',
    '"\\ud83d\\ude00"',
    '"\\ud800"',
    '"\\x"',
    '"\\"',
    "\\",
]
PIECES += [
    "0",
    "-",
    "1.50",
    "1e5",
    ".",
    "01",
    "true",
    "fals",
    "null",
    "NaN",
    "\x00",
    "\x7f",
    "é",
    "\ufeff",
    '{"a":1,"a":',
    '"b":',
]
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
texts = st.builds(json.dumps, values, ensure_ascii=st.booleans(), indent=st.sampled_from([None, 1]))
# Whole texts, texts with something put in, and what only looks like one.
broken = st.builds(
    lambda text, at, piece: text[: at % (len(text) + 1)] + piece + text[at % (len(text) + 1) :],
    texts,
    st.integers(0),
    st.sampled_from(PIECES),
)
bodies = st.one_of(texts, broken, st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


def outcome(value: bytes) -> object:
    try:
        document = parse(value)
    except InvalidEvent as problem:
        return problem.args
    return document, json_text(document.root)


@given(st.one_of(bodies.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=8)))
def test_native_code_reads_what_the_standard_library_does(value: bytes) -> None:
    found = outcome(value)
    with patch.object(extension, "native", None):
        assert found == outcome(value)


@pytest.mark.parametrize("around", ["x", "!]", "\x7f\x80\xff", "é\ufeff"])
def test_native_code_finds_the_end_of_a_string_wherever_it_is(around: str) -> None:
    """It looks at eight bytes at a time: every byte that may stand in JSON text, at each place among them."""
    for special in map(chr, range(0x80)):
        for before in range(17):
            text = (around * 17)[:before] + special + around
            for value in (f'{{"a":"{text}","{text}b":1}}'.encode(), f'"{text}'.encode()):
                found = outcome(value)
                with patch.object(extension, "native", None):
                    assert found == outcome(value)
            if special >= " " and special not in '"\\':
                with patch.object(lossless_json, "_parse_in_python", side_effect=AssertionError("the slow way")):
                    parse(f'{{"a":"{text}","{text}b":1}}'.encode())


@pytest.mark.parametrize("depth", [1, 64, 65, 66, 200])
def test_depth_makes_no_difference(depth: int) -> None:
    for value in (b"[" * depth + b"1" + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
        found = outcome(value)
        with patch.object(extension, "native", None):
            assert found == outcome(value)


def test_native_code_reads_what_is_usual() -> None:
    with patch.object(lossless_json, "_parse_in_python", side_effect=AssertionError("the slow way")):
        assert parse(b'{"a": ["\\u00e9", null], "b": {}}') == lossless_json.Document({"a": ["é", None], "b": {}}, 0)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"a":1,"a":1}', None),
        ('{"a":1,"a":1.0}', {"a"}),
        ('{"a":1,"b":0,"a":2,"a":1}', {"a"}),
        ('{"a":null,"a":1,"b":[],"b":{}}', {"a", "b"}),
        ('{"a":{"x":1,"y":2},"a":{"y":2,"x":1}}', None),
        ('{"a":1,"\\u0061":2}', {"a"}),
    ],
)
def test_a_member_with_two_values_is_ambiguous(text: str, names: set[str] | None) -> None:
    root = parse(text.encode()).root
    assert getattr(root, "names", None) == names
    refuse_ambiguous(root, "c", "/c")
    for name in names or ():
        with pytest.raises(InvalidEvent, match="duplicate_key"):
            refuse_ambiguous(root, name, f"/{name}")


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize("padding", [MARK, b" \r\n\t", b"\x00\x00", b"\x1e", b"\n" + MARK + b" " + MARK + b"\x1a"])
def test_bytes_that_mean_nothing_may_be_around_a_text(padding: bytes) -> None:
    assert parse(padding + b'{"a":"\xef\xbb\xbf"}' + padding) == parse(b'{"a":"\xef\xbb\xbf"}')
    assert lossless_json.unpadded(padding + b"{}" + padding) == b"{}"

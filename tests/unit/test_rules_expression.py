"""Expressions of rules: exact decimals, no floats, and the same values as CEL's own evaluator."""

from __future__ import annotations

from typing import Any

import pytest
from cel_expr_python import cel
from hypothesis import given
from hypothesis import strategies as st
from rules_events import decimal

from broker_events.processors.alert_rules.expression import (
    EvaluationError,
    ExpressionError,
    compile_expression,
    decimal_of,
)
from broker_events.processors.alert_rules.language import Language
from broker_events.processors.alert_rules.protobuf_types import RecordTypes
from broker_events.schemas.catalog import load_catalog

CATALOG = load_catalog()


def language() -> Language:
    records = RecordTypes()
    schema = CATALOG.events["TRANSFER"].schema
    assert schema is not None
    event = records.add("Transfer", schema["fields"])
    return Language(records, {"event": event, "now": "timestamp", "words": "list<string>", "n": "int"})


LANGUAGE = language()
NOW = 1_769_817_600_000_000
EVENT = {
    "status": "COMPLETED",
    "amount": decimal("0.3"),
    "fee": None,
    "reason": None,
    "update_time": None,
    "event_time": NOW,
    "extra": {"/a": "1"},
}


def value(text: str, **event: Any) -> Any:
    values = {"event": EVENT | event, "now": NOW, "words": ["a", "b"], "n": -7}
    return compile_expression(LANGUAGE, text).evaluate(values)


@pytest.mark.parametrize(
    "text",
    [
        'decimal("0.1") + decimal("0.2") == decimal("0.3")',
        'decimal("0.1") + decimal("0.2") == event.amount',
        'event.amount - decimal("0.1") == decimal("0.2")',
        'decimal("0.1") * decimal("0.2") == decimal("0.02")',
        '-decimal("0.1") < decimal("0")',
        "decimal(3) > event.amount",
        'string(event.amount) == "0.3"',
        "event.fee == null && !has(event.fee)",
        "event.fee == null || event.fee > event.amount",
        'event.update_time == null || now - event.update_time > duration("24h")',
        'event.event_time + duration("1h30m") > now',
        'event.extra["/a"] == "1" && "/b" in event.extra == false',
    ],
)
def test_a_true_expression(text: str) -> None:
    assert value(text) is True


NINES = "9" * 20 + "." + "9" * 18


def test_38_digits_are_exact() -> None:
    """A float has 17: it can't tell these two amounts apart."""
    almost = NINES[:-1] + "8"
    assert float(NINES) == float(almost)
    assert value(f'event.amount > decimal("{almost}")', amount=decimal(NINES)) is True
    assert value(f'event.amount == decimal("{NINES}")', amount=decimal(NINES)) is True
    assert value(
        'event.amount + decimal("0.000000000000000001") == decimal("1' + "0" * 20 + '")', amount=decimal(NINES)
    )
    assert value("string(event.amount)", amount=decimal(f"-{NINES}")) == f"-{NINES}"


amounts = st.integers(-(10**38) + 1, 10**38 - 1)


def text_of(unscaled: int) -> str:
    digits = str(abs(unscaled)).rjust(19, "0")
    return f"{'-' if unscaled < 0 else ''}{digits[:-18]}.{digits[-18:]}"


@given(amounts, amounts)
def test_decimals_are_those_of_whole_numbers(one: int, other: int) -> None:
    amount = one.to_bytes(17, "big", signed=True)
    text = f'decimal("{text_of(other)}")'
    assert value(f"event.amount < {text}", amount=amount) is (one < other)
    assert value(f"event.amount + {text}", amount=amount) == one + other
    assert value(f"event.amount - {text}", amount=amount) == one - other
    assert decimal_of(value("string(event.amount)", amount=amount)) == one


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("event.amount > 1.5", "'(decimal, double)'"),
        ("event.amount == 0.3", "'(decimal, double)'"),
        ("event.amount > 1", "'(decimal, int)'"),
        ('event.amount > "1"', "'(decimal, string)'"),
        ("0.1 + 0.2 == 0.3", "'(double, double)'"),
        ("1.5 == 1.5", 'a float: write decimal("1.5")'),
        ("double(event.amount) > 1.0", "undeclared reference to 'double'"),
        ("event.amount == decimal(true)", "found no matching overload for 'decimal'"),
        ('event.status.matches("(a+)+$")', "undeclared reference to 'matches'"),
        ("nothing", "undeclared reference to 'nothing'"),
        ("{1: 2}.size() == 1", "maps and messages can't be made in a rule"),
        ("b'a' == b'a'", "rules have no bytes"),
    ],
)
def test_what_the_language_refuses(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError) as refusal:
        compile_expression(LANGUAGE, text)
    assert problem in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        'decimal("ten") > event.amount',
        'decimal("NaN") > event.amount',
        'decimal("1e-19") > event.amount',
        'decimal("0.000000000000000001") * decimal("0.1") > event.amount',
        'now > event.event_time + duration("soon")',
        "n / 0 == 1",
    ],
)
def test_an_expression_without_a_value(text: str) -> None:
    with pytest.raises(EvaluationError):
        value(text)


@pytest.mark.parametrize(
    "text",
    ['event.fee > decimal("1")', 'event.reason.contains("x")', 'event.extra["/none"] == "1"', '"x" + event.reason'],
)
def test_a_null_or_absent_value_raises(text: str) -> None:
    with pytest.raises((TypeError, AttributeError, KeyError)):
        value(text)


SAME = [
    "n + 3 == -4",
    "n / 2 == -3 && n % 2 == -1 && -n == 7",
    "n * n - 1 == 48",
    "(n < 0 && n <= -7) || n > 100 || n >= 100",
    "!(n == 7) && n != 7",
    'n < 0 ? "below" : "above"',
    'words.exists(w, w == "b") && words.all(w, w < "c")',
    'words.exists_one(w, w.startsWith("a"))',
    'words.filter(w, w > "a")',
    'words.map(w, w + "!")',
    'words.filter(w, w == "b").size() == 1 && size(words) == 2',
    'words[1] == "b" && "a" in words && !("c" in words)',
    '"abc".contains("b") && "abc".endsWith("c") && size("abc") == 3',
    'n / 0 == 1 || words[0] == "a"',
    'words[0] == "a" || n / 0 == 1',
    '!(n / 0 == 1 && words[0] == "b")',
    "string(n) + words[0]",
    '["x", "y"][0] == "x"',
    "words.map(w, size(w)).exists(s, s == 1)",
]


@pytest.mark.parametrize("text", SAME)
def test_a_value_is_that_of_the_library(text: str) -> None:
    variables = {"n": cel.Type.INT, "words": cel.Type.List(cel.Type.STRING)}
    theirs = cel.NewEnv(variables=variables).compile(text).eval(data={"n": -7, "words": ["a", "b"]})
    assert value(text) == theirs.plain_value()


@pytest.mark.parametrize("status", ["returned", "Returned ", "\ufeffRETURNED", "RETURNED"])
def test_a_word_is_recognised_in_other_spellings(status: str) -> None:
    assert value('event.status.spells("RETURNED")', status=status) is True
    assert value('event.status.spells("REJECTED")', status=status) is False

"""The plain reading: each check with its reason and place, and exact values."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any

import pytest
from every_kind import contract, event
from hypothesis import given
from hypothesis import strategies as st

from broker_events.runtime.events.amounts import parse_amount
from broker_events.runtime.events.event_plan import plan_event
from broker_events.runtime.events.field_reader import read_record
from broker_events.runtime.events.lossless_json import Number, parse
from broker_events.runtime.events.times import parse_time
from broker_events.schemas.invalid_event import InvalidEvent, Reason

PLAN = plan_event(contract())


def read(made: dict[str, Any]) -> dict[str, Any]:
    return read_record(PLAN, parse(json.dumps(made).encode()).root)


def refused(made: dict[str, Any]) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        read(made)
    return caught.value


@pytest.mark.parametrize(
    ("text", "unscaled"),
    [
        ("0", 0),
        ("-0", 0),
        ("-0.000", 0),
        ("1", 10**18),
        ("000100", 100 * 10**18),
        ("1000.00", 1000 * 10**18),
        ("0.000000000000000001", 1),
        ("-0.000000000000000001", -1),
        ("0.000000000000000127", 127),
        ("0.000000000000000128", 128),
        ("-0.000000000000000128", -128),
        ("-0.000000000000000129", -129),
        ("99999999999999999999.999999999999999999", 10**38 - 1),
        ("1E2", 100 * 10**18),
        ("-6E+2", -600 * 10**18),
        ("1e-7", 10**11),
        ("8.01000000000000000000", 801 * 10**16),
        ("100." + "0" * 1_000_000, 100 * 10**18),
        ("000000000000000000001", 10**18),
        ("0.0" + "0" * 20 + "1e22", 10**18),
        ("100000000000000000000e-1", 10**37),
        ("99999999999999999999999999999999999999e-18", 10**38 - 1),
        ("1e" + "0" * 1_000_000 + "1", 10 * 10**18),
        ("0e999999999", 0),
        ("-0.0E-5", 0),
    ],
)
def test_amounts_are_exact_and_as_short_as_they_can_be(text: str, unscaled: int) -> None:
    encoded = parse_amount(text)
    assert int.from_bytes(encoded, "big", signed=True) == unscaled
    assert len(encoded) == 1 or encoded[:2] not in (b"\x00\x00", b"\xff\xff")
    assert len(encoded) == 1 or (encoded[0], encoded[1] >> 7) not in {(0, 0), (0xFF, 1)}


BAD_AMOUNTS = [
    *("", "+1", "1.", ".5", "1e", "1e+", "e3", "1,000", " 1", "1 ", "1\n", "--1", "١٢", "1.٢", "NaN", "0x1", "1_0"),
    *("100000000000000000000", "1" * 21, "0.0000000000000000001", "1" * 1_000_000),
    *("1e20", "1e-19", "12e-19", "1e999999999", "-1E-999999999", "1e" + "9" * 1_000_000),
    *("1e" + "0" * 1_000_000 + "1" * 18, "0." + "0" * 1_000_000 + "1"),
]


@pytest.mark.parametrize("text", BAD_AMOUNTS)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="decimal"):
        parse_amount(text)


def micros(*moment: int, offset: timedelta = timedelta()) -> int:
    made = datetime(*moment, tzinfo=timezone(offset))  # type: ignore[misc, arg-type]  # year, month, day, ...
    return (made - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2025-03-29T07:02:33Z", micros(2025, 3, 29, 7, 2, 33)),
        ("2025-03-29T07:02:33.2Z", micros(2025, 3, 29, 7, 2, 33, 200_000)),
        ("2025-03-29T07:02:33.200962333Z", micros(2025, 3, 29, 7, 2, 33, 200_962)),
        ("2025-03-29T07:02:33.999999999Z", micros(2025, 3, 29, 7, 2, 33, 999_999)),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("1969-12-31T23:59:59.9999985Z", -2),
        ("2024-02-29T00:00:00+08:00", micros(2024, 2, 28, 16, 0, 0)),
        ("2024-02-29T00:00:00.123-0530", micros(2024, 2, 29, 5, 30, 0, 123_000)),
        ("2024-02-29T00:00:00-00:00", micros(2024, 2, 29)),
        ("0001-01-01T00:00:00Z", micros(1, 1, 1)),
        ("9999-12-31T23:59:59.999999Z", micros(9999, 12, 31, 23, 59, 59, 999_999)),
    ],
)
def test_times_are_cut_to_microseconds_in_utc(text: str, expected: int) -> None:
    assert parse_time(text) == expected


BAD_TIMES = [
    *("", "2025-03-29", "2025-03-29T07:02Z", "2025-03-29T07:02:33", "2025-03-29 07:02:33Z", "2025-03-29t07:02:33z"),
    *("2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z", "2025-00-01T00:00:00Z", "2025-01-00T00:00:00Z"),
    *("0000-01-01T00:00:00Z", "2025-03-29T24:00:00Z", "2025-03-29T23:60:00Z", "2016-12-31T23:59:60Z"),
    *("2025-03-29T07:02:33.Z", "2025-03-29T07:02:33.1234567890Z", "2025-03-29T07:02:33,5Z", "2025-03-29T07:02:33Z\n"),
    *("2025-03-29T07:02:33+24:00", "2025-03-29T07:02:33+08:60", "2025-03-29T07:02:33+08", "2025-03-29T07:02:33+8:00"),
    *("٢٠٢٥-03-29T07:02:33Z", "2025-03-29T07:02:33.١Z", "2025-03-29T07:02:33.20096233٣Z", "1743231753"),  # noqa: RUF001  (not ASCII is the point)
    *("0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "+2025-03-29T07:02:33Z", "20250329T070233Z"),
]


@pytest.mark.parametrize("text", BAD_TIMES)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|outside|offset|day|month|year"):
        parse_time(text)


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)), st.integers(-1439, 1439))  # noqa: DTZ001
def test_every_datetime_is_read_back(moment: datetime, offset_minutes: int) -> None:
    made = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    assert parse_time(made.isoformat(timespec="microseconds")) == (
        made - datetime(1970, 1, 1, tzinfo=UTC)
    ) // timedelta(microseconds=1)


@given(st.decimals(min_value=-(10**20) + 1, max_value=10**20 - 1, places=18, allow_nan=False))
def test_every_decimal_is_read_back(amount: Decimal) -> None:
    unscaled = int.from_bytes(parse_amount(f"{amount:f}"), "big", signed=True)
    assert unscaled == int(amount.scaleb(18, Context(prec=50)))


def test_a_record_has_every_field_in_storage_form() -> None:
    made = event(
        account="A",
        maybe_flag=False,
        small=-(2**31),
        large=2**63 - 1,
        fee=5,
        made="1970-01-01T00:00:01+00:00",
        maybe_codes=[],
        legs=[{"code": "L", "shares": [{"of": "x", "rate": "0.000000000000000001"}]}],
    )
    made["payload"]["a/b~'\\c"] = "odd"
    made["position"] = None
    assert read(made) == {
        "event_id": "event_1",
        "event_type": "TEST",
        "biz_type": "EVERY_KIND",
        "position": None,
        "event_time": micros(2025, 3, 29, 7, 2, 33, 200_962),
        "event_time_text": "2025-03-29T07:02:33.200962333Z",
        "account_id": "A",
        "flag": True,
        "maybe_flag": False,
        "small": -(2**31),
        "large": 2**63 - 1,
        "amount": (1000 * 10**18).to_bytes(9, "big"),
        "fee": (5 * 10**18).to_bytes(8, "big"),
        "made": 1_000_000,
        "made_text": "1970-01-01T00:00:01+00:00",
        "odd": "odd",
        "trace": None,
        "remark": None,
        "codes": ["A", "B"],
        "maybe_codes": [],
        "legs": [{"code": "L", "at": None, "at_text": None, "shares": [{"of": "x", "rate": b"\x01"}]}],
        "extra": {},
    }


@pytest.mark.parametrize(
    ("payload", "reason", "pointer", "detail"),
    [
        ({"flag": ...}, Reason.MISSING_FIELD, "/payload/flag", "expected true or false, got none"),
        ({"flag": None}, Reason.MISSING_FIELD, "/payload/flag", "expected true or false, got none"),
        ({"flag": 1}, Reason.WRONG_TYPE, "/payload/flag", "expected true or false, got 1"),
        ({"account_id": 5}, Reason.WRONG_TYPE, "/payload/account_id", "expected a string, got 5"),
        ({"account_id": "", "account": 5}, None, "", ""),
        ({"account": {}}, Reason.WRONG_TYPE, "/payload/account", "expected a string, got {}"),
        ({"small": True}, Reason.WRONG_TYPE, "/payload/small", "expected an integer of 32 bits, got true"),
        ({"small": 2**31}, Reason.WRONG_TYPE, "/payload/small", "expected an integer of 32 bits, got 2147483648"),
        ({"small": 1.0}, None, "", ""),
        ({"small": 1.5}, Reason.WRONG_TYPE, "/payload/small", "expected an integer of 32 bits, got 1.5"),
        ({"small": 1e20}, Reason.WRONG_TYPE, "/payload/small", "expected an integer of 32 bits, got 1e+20"),
        ({"small": "1"}, Reason.WRONG_TYPE, "/payload/small", 'expected an integer of 32 bits, got "1"'),
        ({"large": 2**63}, Reason.WRONG_TYPE, "/payload/large", f"expected an integer of 64 bits, got {2**63}"),
        (
            {"amount": ...},
            Reason.MISSING_FIELD,
            "/payload/amount",
            "expected a string or number with an amount, got none",
        ),
        (
            {"amount": True},
            Reason.WRONG_TYPE,
            "/payload/amount",
            "expected a string or number with an amount, got true",
        ),
        ({"amount": 1e30}, Reason.BAD_AMOUNT, "/payload/amount", None),
        ({"amount": None, "size": "x"}, Reason.BAD_AMOUNT, "/payload/size", None),
        ({"made": 5}, Reason.WRONG_TYPE, "/payload/made", "expected a string with a time, got 5"),
        ({"made": "soon"}, Reason.BAD_TIME, "/payload/made", None),
        ({"codes": "A"}, Reason.WRONG_TYPE, "/payload/codes", 'expected an array of strings, got "A"'),
        ({"codes": {"A": 1}}, Reason.WRONG_TYPE, "/payload/codes", 'expected an array of strings, got {"A":1}'),
        ({"codes": ["A", None]}, Reason.WRONG_TYPE, "/payload/codes/1", "expected a string, got null"),
        ({"legs": {}}, Reason.WRONG_TYPE, "/payload/legs", "expected an array of objects, got {}"),
        ({"legs": [{"code": "L"}, 5]}, Reason.WRONG_TYPE, "/payload/legs/1", "expected an object, got 5"),
        ({"legs": [{}]}, Reason.MISSING_FIELD, "/payload/legs/0/code", "expected a string, got none"),
        (
            {"legs": [{"code": "L", "shares": [{"of": "x"}]}]},
            Reason.MISSING_FIELD,
            "/payload/legs/0/shares/0/rate",
            None,
        ),
        ({"flag": 1, "amount": "x"}, Reason.WRONG_TYPE, "/payload/flag", None),
        ({"amount": "x", "flag": True, "codes": 5}, Reason.BAD_AMOUNT, "/payload/amount", None),
    ],
)
def test_the_first_problem_in_schema_order_is_named(
    payload: dict[str, Any], reason: Reason | None, pointer: str, detail: str | None
) -> None:
    if reason is None:
        read(event(**payload))
        return
    problem = refused(event(**payload))
    assert (problem.reason, problem.pointer) == (reason, pointer)
    assert detail is None or problem.detail == detail


def test_a_long_value_is_cut_in_the_detail() -> None:
    assert len(refused(event(made="x" * 1_000_000)).detail) < 150


def test_members_without_a_field_go_to_extra_in_order_of_appearance() -> None:
    made = {
        "version": 1.50,
        **event(
            note="é",
            zero=None,
            legs=[{"code": "L", "x/y": [1, {"z": None}]}, {"code": "M", "shares": [{"of": "o", "rate": 1, "~": True}]}],
            last=[],
        ),
        "payload ": {},
    }
    assert list(read(made)["extra"].items()) == [
        ("/version", "1.5"),
        ("/payload ", "{}"),
        ("/payload/note", '"é"'),
        ("/payload/zero", "null"),
        ("/payload/last", "[]"),
        ("/payload/legs/0/x~1y", '[1,{"z":null}]'),
        ("/payload/legs/1/shares/0/~0", "true"),
    ]


@pytest.mark.parametrize(
    ("payload", "extra"),
    [
        ({"account_id": "A", "account": "A"}, {}),
        ({"account_id": "A", "account": None}, {}),
        ({"account_id": None, "account": "B"}, {}),
        ({"account_id": "A", "account": "B"}, {"/payload/account": '"B"'}),
        ({"account_id": "A", "account": 5}, {"/payload/account": "5"}),
        ({"amount": "1", "size": 1, "quantity": "1"}, {"/payload/size": "1"}),
        ({"legs": [{"code": "L", "legacy_code": "K"}]}, {"/payload/legs/0/legacy_code": '"K"'}),
        ({"legs": [{"code": "L", "legacy_code": "L"}]}, {}),
    ],
)
def test_an_alternative_that_says_something_else_is_not_lost(payload: dict[str, Any], extra: dict[str, str]) -> None:
    assert read(event(**payload))["extra"] == extra


def test_a_deep_unknown_member_is_too_deep() -> None:
    deep: list[Any] = [Number("1")]
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidEvent) as caught:
        read_record(PLAN, event(deep=deep, amount="1"))
    assert caught.value.reason is Reason.TOO_DEEP

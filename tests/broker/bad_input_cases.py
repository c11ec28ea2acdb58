"""Events as they should not be, and odd ones that are right: what goes in, and what has to become of it."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pipeline_processes import credit, envelope

from broker_events.schemas.invalid_event import Reason

KEY = b"ACC-1"
MEGABYTE = 1_000_000
AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Refused:
    """A record that has to be in quarantine."""

    name: str
    value: bytes | None
    reason: Reason
    pointer: str = ""
    key: bytes | None = KEY


@dataclass(frozen=True)
class Accepted:
    """A record that has to be typed; `fields` of it are compared."""

    name: str
    value: bytes
    fields: dict[str, Any] = field(default_factory=dict)


def odd(name: str, **payload: object) -> bytes:
    return credit(name, **payload)


def without(name: str) -> bytes:
    """Return a good envelope that lacks a member."""
    event = json.loads(credit(f"without-{name}"))
    del event[name]
    return json.dumps(event).encode()


def envelope_with(**members: object) -> bytes:
    return json.dumps(json.loads(credit("envelope")) | members).encode()


def amount(name: str, text: str) -> Refused:
    return Refused(f"amount-{name}", odd(f"amount-{name}", amount=text), Reason.BAD_AMOUNT, "/payload/amount")


def time(name: str, text: str) -> Refused:
    return Refused(f"time-{name}", odd(f"time-{name}", update_time=text), Reason.BAD_TIME, "/payload/update_time")


def valid_time(name: str, text: str, expected: datetime) -> Accepted:
    fields = {"update_time": expected, "update_time_text": text}
    return Accepted(f"time-{name}", odd(f"time-{name}", update_time=text), fields)


def numeric_amount(name: str, literal: str) -> bytes:
    return odd(name).replace(b'"1.50"', literal.encode())


def growing(name: str, size: int) -> bytes:
    """Return an event of small unknown members: each is kept under its pointer, so the record is larger."""
    members = b",".join(b'"%d":1' % number for number in range(size // 11))
    return odd(name).replace(b'"account"', members + b',"account"', 1)


def growing_beyond_the_limit(name: str) -> bytes:
    """Return an event whose record would be more than four times as large: long pointers to short members."""
    alphabet = string.ascii_letters + string.digits + "!#$%&'()*+,-./:;<=>?@"
    members = ",".join(f'"{a}{b}{c}":1' for a in alphabet for b in alphabet for c in alphabet[:72])
    empty, full = '{"restriction_code":""}', '{"restriction_code":"",' + members + "}"
    items = ",".join([empty] * 1000 + [full] * 2)
    return envelope(
        name, "ACCOUNT", {"account_id": "ACC-1", "biz_type": "ACCOUNT_RESTRICT", "restrict_infos": "?"}
    ).replace(b'"?"', f"[{items}]".encode())


REFUSED = (
    Refused("no-value", None, Reason.NO_VALUE),
    Refused("no-value-and-no-key", None, Reason.NO_VALUE, key=None),
    Refused("empty-value", b"", Reason.NO_VALUE, key=None),
    Refused("broken-utf-8", odd("utf").replace(b"USD", b"US\xff"), Reason.NOT_UTF8),
    Refused("not-json", b"not json at all", Reason.NOT_JSON, key=None),
    Refused("cut-off-json", odd("cut")[:-20], Reason.NOT_JSON, key=None),
    Refused("nan-literal", numeric_amount("nan-literal", "NaN"), Reason.NOT_JSON),
    Refused("half-a-surrogate", odd("surrogate").replace(b"USD", rb"\ud800"), Reason.NOT_JSON),
    Refused("deeply-nested-json", b"[" * 100_000 + b"]" * 100_000, Reason.TOO_DEEP, key=None),
    Refused(
        "deeply-nested-member", odd("deep").replace(b'"1.50"', b'{"a":' * 5000 + b"1" + b"}" * 5000), Reason.TOO_DEEP
    ),
    Refused("json-list", b"[]", Reason.NO_ENVELOPE, key=None),
    Refused("json-text", b'"event"', Reason.NO_ENVELOPE, key=None),
    Refused("json-null", b"null", Reason.NO_ENVELOPE, key=None),
    Refused("no-id", without("id"), Reason.NO_ENVELOPE, "/id"),
    Refused("no-event-type", without("event_type"), Reason.NO_ENVELOPE, "/event_type"),
    Refused("no-timestamp", without("timestamp"), Reason.NO_ENVELOPE, "/timestamp"),
    Refused("no-payload", without("payload"), Reason.NO_PAYLOAD, "/payload"),
    Refused("null-payload", envelope_with(payload=None), Reason.NO_PAYLOAD, "/payload"),
    Refused("list-payload", envelope_with(payload=[1]), Reason.NO_PAYLOAD, "/payload"),
    Refused("empty-id", envelope_with(id=""), Reason.EMPTY_ID, "/id"),
    Refused("number-id", envelope_with(id=7), Reason.WRONG_TYPE, "/id"),
    Refused("null-id", envelope_with(id=None), Reason.WRONG_TYPE, "/id"),
    Refused("unknown-biz-type", odd("biz", biz_type="MERGER"), Reason.UNKNOWN_BIZ_TYPE, "/payload/biz_type"),
    Refused("lower-case-biz-type", odd("lower", biz_type="credit"), Reason.UNKNOWN_BIZ_TYPE, "/payload/biz_type"),
    Refused("no-biz-type", odd("no-biz", biz_type=None), Reason.MISSING_FIELD, "/payload/biz_type"),
    Refused("number-biz-type", odd("n-biz", biz_type=1), Reason.WRONG_TYPE, "/payload/biz_type"),
    Refused(
        "unknown-event-type",
        envelope("type", "TRADE", json.loads(credit("x"))["payload"]),
        Reason.UNKNOWN_EVENT_TYPE,
        "/event_type",
    ),
    Refused(
        "other-event-type",
        envelope("other", "ACCOUNT", json.loads(credit("x"))["payload"]),
        Reason.UNKNOWN_EVENT_TYPE,
        "/event_type",
    ),
    Refused("missing-field", odd("missing", currency=None), Reason.MISSING_FIELD, "/payload/currency"),
    Refused(
        "null-field",
        odd("null").replace(b'"currency": "USD"', b'"currency": null'),
        Reason.MISSING_FIELD,
        "/payload/currency",
    ),
    Refused("wrong-type", odd("wrong", status=["COMPLETED"]), Reason.WRONG_TYPE, "/payload/status"),
    Refused("wrong-type-of-nullable", odd("wrong-2", reason=1), Reason.WRONG_TYPE, "/payload/reason"),
    Refused("amount-true", odd("true", amount=True), Reason.WRONG_TYPE, "/payload/amount"),
    Refused(
        "two-amounts",
        odd("two").replace(b'"amount": "1.50"', b'"amount": "9", "amount": "1.50"'),
        Reason.DUPLICATE_KEY,
        "/payload/amount",
    ),
    Refused("account-number-alone", odd("second", account=None, account_number="N-1"), Reason.NO_ACCOUNT, "/payload"),
    Refused("no-account", odd("no-account", account=None, client_request_id=None), Reason.NO_ACCOUNT, "/payload", None),
    amount("word", "ten"),
    amount("empty", ""),
    amount("19-decimals", "0." + "1" * 19),
    amount("21-digits", "1" * 21),
    amount("exponent", "1e20"),
    amount("space-before", " 1.00"),
    amount("space-after", "1.00 "),
    amount("nan", "NaN"),
    amount("infinity", "Infinity"),
    amount("thousands", "1,000.00"),
    amount("plus", "+1.00"),
    amount("no-digit-before-point", ".5"),
    amount("arabic-digits", "\u0661\u0662"),
    Refused("amount-number-exponent", numeric_amount("n-exp", "1e-19"), Reason.BAD_AMOUNT, "/payload/amount"),
    Refused("amount-number-19-decimals", numeric_amount("n-19", "0." + "1" * 19), Reason.BAD_AMOUNT, "/payload/amount"),
    time("word", "yesterday"),
    time("space", "2026-01-31 09:30:00Z"),
    time("no-zone", "2026-01-31T09:30:00"),
    time("no-such-day", "2026-02-30T09:30:00Z"),
    time("leap-second", "2026-06-30T23:59:60Z"),
    time("ten-digits", "2026-01-31T09:30:00.1234567890Z"),
    Refused("event-time", envelope_with(id="event-time", timestamp="soon"), Reason.BAD_TIME, "/timestamp"),
    Refused("megabyte-refused", odd("mb", amount="x", memo="m" * MEGABYTE), Reason.BAD_AMOUNT, "/payload/amount"),
    Refused("7-megabytes-refused", b"7" * 7 * MEGABYTE + b"x", Reason.NOT_JSON, key=None),
    Refused("largest-record-refused", b"x" * 8_388_000, Reason.NOT_JSON, key=None),
    Refused("record-too-large", growing_beyond_the_limit("too-large"), Reason.TOO_LARGE),
)

# In this order.
REPEATED = {
    "first": credit("repeated"),
    "again": credit("repeated"),
    "other body": credit("repeated", amount="2"),
    "again after the conflict": credit("repeated"),
}

ACCEPTED = (
    Accepted("plain", odd("plain"), {"amount": Decimal("1.50"), "event_time": AT, "account_id": "ACC-1"}),
    Accepted(
        "amount-longest",
        odd("longest", amount="-" + "9" * 20 + "." + "9" * 18),
        {"amount": Decimal("-99999999999999999999.999999999999999999")},
    ),
    Accepted(
        "amount-number-with-17-digits",
        numeric_amount("n-17", "8.010000000000000001"),
        {"amount": Decimal("8.010000000000000001")},
    ),
    Accepted("exponent", odd("exponent", amount="1E+2"), {"amount": Decimal(100)}),
    Accepted("number-with-exponent", numeric_amount("n-exponent", "15e-1"), {"amount": Decimal("1.5")}),
    Accepted("byte-order-mark", b"\xef\xbb\xbf" + odd("mark") + b"\x00", {"amount": Decimal("1.50")}),
    Accepted("amount-negative", odd("negative", amount="-0.10"), {"amount": Decimal("-0.1")}),
    valid_time("0-digits", "2026-01-31T09:30:00Z", AT),
    valid_time("3-digits", "2026-01-31T09:30:00.123Z", AT.replace(microsecond=123_000)),
    valid_time("6-digits", "2026-01-31T09:30:00.123456Z", AT.replace(microsecond=123_456)),
    valid_time("9-digits", "2026-01-31T09:30:00.123456789Z", AT.replace(microsecond=123_456)),
    valid_time("offset-east", "2026-01-31T17:30:00.5+08:00", AT.replace(microsecond=500_000)),
    valid_time("offset-west", "2026-01-31T04:30:00-0500", AT),
    Accepted(
        "event-time-offset",
        envelope_with(id="event-time-offset", timestamp="2026-01-31T17:30:00+08:00"),
        {"event_time": AT, "event_time_text": "2026-01-31T17:30:00+08:00"},
    ),
    Accepted(
        "duplicate-keys",
        odd("keys").replace(b'"amount": "1.50"', b'"amount": "1.50", "amount": "1.50"'),
        {"amount": Decimal("1.50")},
    ),
    Accepted("new-status", odd("status", status="PARTLY"), {"status": "PARTLY"}),
    Accepted("unknown-member", odd("memo", memo={"a": [1.10]}), {"extra": {"/payload/memo": '{"a":[1.1]}'}}),
    Accepted(
        "megabyte",
        odd("megabyte", memo="m" * MEGABYTE),
        {"extra": {"/payload/memo": json.dumps("m" * MEGABYTE)}},
    ),
    Accepted("7-megabytes", odd("7", memo="m" * 7 * MEGABYTE), {"amount": Decimal("1.50")}),
    Accepted("record-larger-than-its-event", growing("grown", 8_300_000), {"amount": Decimal("1.50")}),
)

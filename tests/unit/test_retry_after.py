"""The Retry-After header of a receiver's answer: a number, a date, or nothing that can be used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from broker_events.sinks.deliver import http_client

retry_after_s = http_client._retry_after_s


def test_numbers_and_dates() -> None:
    assert retry_after_s("120") == 120
    at = datetime.now(UTC) + timedelta(minutes=5)
    found = retry_after_s(format_datetime(at, usegmt=True))
    assert found is not None
    assert 290 < found <= 300
    assert retry_after_s("Mon, 01 Jan 2024 00:00:00 GMT") == 0


@pytest.mark.parametrize(
    "text",
    [
        None,
        "soon",
        "-5",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999999",
        "Mon, 01 Jan 2024 00:00:00 +9999",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_any_other_text_is_none(text: str | None) -> None:
    assert retry_after_s(text) is None

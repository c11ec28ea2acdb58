"""Converts ISO 8601 times to microseconds since the epoch, in UTC."""

import re
from datetime import date

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):?([0-9]{2}))"
)
_EPOCH = date(1970, 1, 1).toordinal()
_DAY = 86_400
# The range of a datetime. An offset from UTC can exceed it.
_FIRST = (date.min.toordinal() - _EPOCH) * _DAY
_LAST = (date.max.toordinal() - _EPOCH + 1) * _DAY


def parse_time(text: str) -> int:
    """Return microseconds since 1970-01-01T00:00:00Z. Further digits are truncated, so no time moves into the future.

    `text`: `YYYY-MM-DDThh:mm:ss[.f{1,9}](Z|+hh:mm|-hh:mm|+hhmm|-hhmm)` in ASCII, a valid date.
    Raises `ValueError` for any other text, including leap seconds and 24:00.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not a time like 2025-03-29T07:02:33.200962333Z")
    day = date(*map(int, match.group(1, 2, 3)))
    hour, minute, second = map(int, match.group(4, 5, 6))
    fraction, sign, offset_hour, offset_minute = match.group(7, 8, 9, 10)
    if not (hour < 24 and minute < 60 and second < 60):  # noqa: PLR2004  (a day has 24 hours)
        raise ValueError("no such time of day")
    seconds = (day.toordinal() - _EPOCH) * _DAY + hour * 3600 + minute * 60 + second
    if sign is not None:
        if not (offset_hour <= "23" and offset_minute <= "59"):
            raise ValueError("no such offset from UTC")
        offset = int(offset_hour) * 3600 + int(offset_minute) * 60
        seconds += offset if sign == "-" else -offset
    if not _FIRST <= seconds < _LAST:
        raise ValueError("outside the years 1 to 9999")
    return seconds * 1_000_000 + int((fraction or "").ljust(6, "0")[:6])

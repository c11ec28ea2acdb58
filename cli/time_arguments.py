"""Moments as a person gives them to a command: a time, or how long ago."""

from __future__ import annotations

import re
import time
from typing import Final

import click

EXAMPLES: Final = "a time (2026-01-31T09:30:00Z) or how long ago (10m, 1h ago, 2d)"
_AGO: Final = re.compile(r"([0-9]+) *([smhd])(?: +ago)?")
_UNIT_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def moment_ms(text: str) -> int:
    """Milliseconds since the epoch of `2026-01-31T09:30:00Z`, or of `10m`, `1h ago`, `2d` before now.

    Rounds up to milliseconds. Raises ValueError for any other text.
    """
    from broker_events.runtime.events.times import parse_time

    ago = _AGO.fullmatch(text)
    if ago is not None:
        return int(time.time() * 1000) - int(ago[1]) * _UNIT_MS[ago[2]]
    return -(-parse_time(text) // 1000)


class Moment(click.ParamType):
    """An option whose value is what `moment_ms` reads."""

    name = "time"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return moment_ms(value)
        except ValueError:
            self.fail(f"{value!r} is not {EXAMPLES}", param, ctx)

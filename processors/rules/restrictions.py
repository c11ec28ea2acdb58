"""Markets of restriction codes such as HK_STOCK_NO_TRADE.

Source: Account Events, Restriction Types. Only letters and digits count, in any case and width
(`processors.rules.spelling`). A market that no document lists keeps what is between its letters.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from broker_events.processors.rules.spelling import Words, before, letters, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL_MARKETS: Final = "ALL"
"""Market of a code without one."""

_DOCUMENTED = Words({"HK", "US", "CN"})


def restricted_markets(codes: Iterable[str], kind: str) -> list[str]:
    """Return the markets whose code ends with `kind`, in the order of the codes, each once.

    `kind`: NO_TRADE or LIQUIDATE_ONLY. HK_STOCK_NO_TRADE -> HK, NO_TRADE -> ALL, any other code -> none.
    """
    return list(dict.fromkeys(market for code in codes if (market := _market(code, kind)) is not None))


@lru_cache(1024)  # few codes
def _market(code: str, kind: str) -> str | None:
    market = before(visible(code), letters(kind).upper())
    return None if market is None else _DOCUMENTED(before(market, "STOCK") or market) or ALL_MARKETS

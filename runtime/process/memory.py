"""Memory in processes that records stream through: Python's search for reference cycles, and what is free again."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# Far above what the records of a batch come to: they are let go with it.
_THRESHOLDS: Final = (1_000_000, 20, 50)


def collect_rarely() -> None:
    """Look for cycles rarely, and never among what is there now: call it when everything is set up.

    Records come and go by the thousand and hold no cycles; looking for some takes a quarter of the time.
    """
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def give_back() -> None:
    """Return freed memory to the system: call it after a restore, whose fetched records came and went.

    Else the C library keeps it. Only glibc has a call for that; elsewhere nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

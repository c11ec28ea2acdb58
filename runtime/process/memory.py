"""Memory settings of processes with many short-lived records: cycle collection and freed memory."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# Far above the objects of one batch, which are freed with it.
_THRESHOLDS: Final = (1_000_000, 20, 50)


def collect_rarely() -> None:
    """Collect cycles rarely, and never among the current objects: call it at the end of the setup.

    Records hold no cycles. With the default thresholds, collection takes a quarter of the time.
    """
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def give_back() -> None:
    """Return freed memory to the system; call it after a restore. Does nothing without glibc.

    Otherwise the C library keeps the memory of the fetched records.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

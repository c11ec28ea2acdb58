"""`broker-events lake` that kills itself at one point of its work: python lake_faults.py POINT NUMBER [ARGUMENTS]...

It dies with SIGKILL when the point is reached for the NUMBERth time. At the point LOST_ANSWER the commit lands instead,
and the catalog's answer is an error.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import ServiceUnavailableError

from broker_events.cli.entry_point import main
from broker_events.sinks.lake import owned_table
from broker_events.sinks.lake.iceberg.store import LakeStore
from broker_events.sinks.lake.worker import LakeWorker

# Owner of the method, its name, and whether the process dies before or after it.
POINTS: dict[str, tuple[Any, str, bool]] = {
    "after the take-over": (LakeStore, "take_over", False),
    "before the files": (owned_table, "write_files", True),
    "after the files": (owned_table, "write_files", False),
    "before the catalog": (SqlCatalog, "commit_table", True),
    "after the catalog": (SqlCatalog, "commit_table", False),
    "after the commit": (LakeWorker, "_follow", True),
}

LOST_ANSWER = "lost answer"


def lose_answer(number: int) -> None:
    original, calls = SqlCatalog.commit_table, count(1)

    def losing(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        if next(calls) == number:
            raise ServiceUnavailableError("503, after the commit has landed")
        return result

    SqlCatalog.commit_table = losing  # type: ignore[method-assign]


def die_at(point: str, number: int) -> None:
    owner, name, before = POINTS[point]
    original: Callable[..., Any] = getattr(owner, name)
    calls = count(1)

    def dying(*arguments: Any, **options: Any) -> Any:
        due = next(calls) == number
        if due and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


if __name__ == "__main__":
    point, number = sys.argv[1], int(sys.argv[2])
    if point == LOST_ANSWER:
        lose_answer(number)
    else:
        die_at(point, number)
    sys.argv = ["broker-events", "lake", *sys.argv[3:]]
    main()

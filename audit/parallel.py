"""Work on several items at a time, in processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_processes(
    work: Callable[[T], R],
    items: Sequence[T],
    processes: int,
    begin: Callable[..., None],
    arguments: tuple[Any, ...],
) -> Iterator[R]:
    """Yield `work(item)` of every item, in order, with `processes` at a time; `begin(*arguments)` runs first in each.

    If the caller ends early, such as by Ctrl-C, the processes end too, without a word.
    """
    # librdkafka's threads don't survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(items)), context, begin, arguments)
    # The terminal sends Ctrl-C to every process. The new ones inherit the mask and leave it to this one.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        futures = [pool.submit(work, item) for item in items]
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for future in futures:
            yield future.result()
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        pool.shutdown()

"""Ctrl-C and SIGTERM: the first signal asks for an orderly end, the second for an immediate one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import Final, Generic, Self, TypeVar

T = TypeVar("T")

_POLL_S: Final = 0.05


class Interrupted(Exception):
    """A signal came during a wait."""


class Interrupts:
    """A context manager for the main thread. The signal handler calls `hurry` from the second signal on."""

    def __init__(self, hurry: Callable[[], None]) -> None:
        self.count = 0
        self._hurry = hurry

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            self._hurry()


class Background(Generic[T]):
    """Work in a thread that does not keep the process alive, so that signals are handled meanwhile."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._future: Future[T] = Future()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def result(self, interrupts: Interrupts, meanwhile: Callable[[], None] = lambda: None) -> T:
        """Return the result of the work, or raise its error; call `meanwhile` repeatedly until then.

        Raises Interrupted when a signal comes first. The work continues without anyone waiting for it.
        """
        asked = interrupts.count
        while not self._future.done():
            if interrupts.count > asked:
                raise Interrupted
            meanwhile()
            time.sleep(_POLL_S)
        return self._future.result()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:  # noqa: BLE001 (raised again by `result`)
            self._future.set_exception(error)

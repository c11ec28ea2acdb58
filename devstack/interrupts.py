"""Ctrl-C and SIGTERM: the first asks for the end, the second for haste."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final, Generic, Self, TypeVar

T = TypeVar("T")

_POLL_S: Final = 0.05


class Interrupted(Exception):
    """The end was asked for while something had to be waited for."""


class Interrupts:
    """A context manager, for the main thread. `hurry` is called, in the signal handler, from the second signal on."""

    def __init__(self, hurry: Callable[[], None]) -> None:
        self.count = 0
        self._hurry = hurry
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal gave

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            self._hurry()


class Background(Generic[T]):
    """Work in a thread that the end of this process doesn't wait for; signals are answered meanwhile."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self, interrupts: Interrupts, meanwhile: Callable[[], None] = lambda: None) -> T:
        """Wait for the result and return it, or raise what the work raised; `meanwhile` is called again and again.

        Raises Interrupted when a signal comes first: the work goes on, unattended.
        """
        asked = interrupts.count
        while self._thread.is_alive():
            if interrupts.count > asked:
                raise Interrupted
            meanwhile()
            time.sleep(_POLL_S)
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 (raised again by `result`)
            self._error = error

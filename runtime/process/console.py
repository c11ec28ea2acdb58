"""Drawing on a terminal with Rich."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from broker_events.runtime.process.terminal import escaped, plain_stream


class EscapingConsole(Console):
    """A console that escapes control characters and markup in texts. Only Rich itself controls the terminal."""

    def __init__(self, *, stderr: bool = False, **more: Any) -> None:  # noqa: ANN401 (Rich's own options)
        file = more.pop("file", None) or plain_stream(sys.stderr if stderr else sys.stdout)
        super().__init__(file=file, markup=False, emoji=False, highlight=False, **more)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escaped(segment.text), segment.style)

"""The router at full speed over many events: whether its memory stays flat."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Final

from bench.cluster import Pipeline
from bench.contenders import settings_environment
from bench.corpus import Corpus
from bench.measurement import Work
from bench.throughput import Progress

_SAMPLE_S: Final = 1.0


def memory_over(
    pipeline: Pipeline, corpus: Corpus, events: int, seconds: float, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Route at least `events` and for `seconds`; each pass over the corpus has event ids of its own.

    Samples: seconds since the start, committed events, resident bytes. Two passes at most are waiting at any time.
    """
    group = pipeline.settings.group("router")
    command = [sys.executable, "-m", "broker_events.cli", "router"]
    samples: list[tuple[float, int, int]] = []
    loaded = passes = 0
    with Work("router-long", command, settings_environment(pipeline.settings), folder) as work:
        work.wait_assigned(pipeline.settings.partitions)
        began = last = time.monotonic()
        while not samples or samples[-1][1] < events or samples[-1][0] < seconds:
            committed = pipeline.committed(group)
            now = time.monotonic()
            if now - last >= _SAMPLE_S:
                last = now
                samples.append((round(now - began, 1), committed, work.memory_bytes()))
            if loaded - committed <= len(corpus.events):
                passes += 1
                loaded += pipeline.load_raw(corpus, passes)
            else:
                time.sleep(_SAMPLE_S / 4)
            if passes % 10 == 0:
                pipeline.empty(pipeline.typed.values())
    pipeline.rewind_group(group)
    settled = [sample for sample in samples if sample[1] >= events * 0.2]
    growth = settled[-1][2] - settled[0][2]
    progress(f"memory    {settled[-1][1]:,} events, {settled[-1][2] / 1e6:,.0f} MB, grown by {growth / 1e6:,.1f} MB")
    return {
        "events": settled[-1][1],
        "seconds": settled[-1][0],
        "bytes_at_a_fifth": settled[0][2],
        "bytes_at_the_end": settled[-1][2],
        "samples": samples,
    }

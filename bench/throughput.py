"""Contenders one after another, round by round, so that a noisy minute meets all of them."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.cluster import Pipeline
from bench.contenders import Contender, running
from bench.measurement import ProcessFailed, Run, measure
from bench.outputs import Outputs
from bench.peers.environment import Peers

Progress = Callable[[str], None]


@dataclass
class Results:
    """Runs by contender and round; what the comparison of its output said, each thing once, warm-up rounds too."""

    runs: dict[str, dict[int, Run]] = field(default_factory=lambda: defaultdict(dict))
    outputs: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def medians(self) -> dict[str, int]:
        """Median of the rounds, records a second."""
        return {
            name: round(statistics.median(run.records_per_second for run in runs.values()))
            for name, runs in self.runs.items()
        }

    def document(self) -> dict[str, Any]:
        return {
            name: {
                "cpu_us_per_record": round(statistics.median(run.cpu_us_per_record for run in runs.values()), 2),
                "output": "; ".join(self.outputs[name]),
                "runs": [
                    {"round": number} | {key: round(value, 2) for key, value in asdict(run).items()}
                    for number, run in runs.items()
                ],
            }
            for name, runs in self.runs.items()
        }


@dataclass
class Arena:
    """One app's contenders on one loaded pipeline, whose input holds `total` records."""

    app: str
    pipeline: Pipeline
    outputs: Outputs
    total: int
    peers: Peers
    folder: Path
    progress: Progress

    def compete(self, contenders: Sequence[Contender], rounds: int, *, warm_up: bool) -> Results:
        """Run every contender once a round, but none more often than it takes part.

        With `warm_up` a first round doesn't count, in which the broker compiles what it needs; slow ones are not in it.
        Raises ProcessFailed for a contender without a single run.
        """
        results = Results()
        if warm_up:
            for contender in contenders:
                if not contender.slow:
                    self._run(contender, results, 0, rounds)
        for number in range(1, rounds + 1):
            for contender in contenders:
                if contender.rounds is None or number <= contender.rounds:
                    self._run(contender, results, number, rounds)
        lost = [contender.name for contender in contenders if not results.runs[contender.name]]
        if lost:
            raise ProcessFailed(f"no run of {', '.join(lost)}")
        return results

    def _run(self, contender: Contender, results: Results, number: int, rounds: int) -> None:
        began = time.monotonic()
        self.outputs.prepare()
        try:
            with running(contender, self.app, self.pipeline, self.peers, self.folder) as (group, work):
                run = measure(self.pipeline, group, self.total, [work])
                output = self.outputs.compare(contender, group)
        except ProcessFailed as error:
            self.progress(f"{self.app} {contender.name}: {error}")
            return
        if number:
            results.runs[contender.name][number] = run
        if output not in results.outputs[contender.name]:
            results.outputs[contender.name].append(output)
        self.progress(
            f"{self.app:9} {contender.name:16} {run.records_per_second:9,.0f} /s  {run.cpu_us_per_record:6.1f} us CPU"
            f"  output {output}  (round {number} of {rounds}, {time.monotonic() - began:.0f} s)"
        )

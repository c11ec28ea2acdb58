"""Draws results.json: `plot.py results.json results.png`. Runs in the peers' environment, which has matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

_OURS, _LIMIT, _PEER = "#1f6f8b", "#b8b8b8", "#d98e4a"


def main() -> None:
    document = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    drawings = [(draw_rates, app) for app in ("router", "projector") if app in document]
    if document.get("memory"):
        drawings.append((draw_memory, "memory"))
    if not drawings:
        return
    figure, axes = plt.subplots(len(drawings), 1, figsize=(9, 1 + 3 * len(drawings)), squeeze=False)
    for (draw, name), axis in zip(drawings, axes[:, 0], strict=True):
        draw(axis, name, document[name])
    machine = document["machine"]
    figure.suptitle(f"{machine['cores']} cores, embedded broker, {machine['at'][:10]}", fontsize=10)
    figure.tight_layout()
    figure.savefig(sys.argv[2], dpi=120)


def draw_rates(axis: Any, app: str, section: dict[str, Any]) -> None:  # noqa: ANN401 (matplotlib's)
    """Medians as bars, every round as a dot."""
    names = list(section["details"])[::-1]
    colours = [_OURS if name == "ours" else _LIMIT if name == "limit" else _PEER for name in names]
    axis.barh(names, [section[name] for name in names], color=colours)
    for row, name in enumerate(names):
        runs = [run["records_per_second"] for run in section["details"][name]["runs"]]
        axis.plot(runs, [row] * len(runs), "k.", markersize=4)
        axis.text(max(runs), row, f"  {section[name]:,}", va="center", ha="left", fontsize=8)
    axis.set_title(f"{app}: events/s", fontsize=10)
    axis.margins(x=0.12)


def draw_memory(axis: Any, _name: str, section: dict[str, Any]) -> None:  # noqa: ANN401 (matplotlib's)
    axis.plot([s[1] / 1e6 for s in section["samples"]], [s[2] / 1e6 for s in section["samples"]], color=_OURS)
    axis.set_title("router's memory, MB, at full speed", fontsize=10)
    axis.set_xlabel("million events", fontsize=8)
    axis.set_ylim(0, axis.get_ylim()[1] * 1.1)


if __name__ == "__main__":
    main()

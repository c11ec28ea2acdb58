"""results.json, and a table and a plot made from it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from bench.contenders import PROJECTORS, ROUTERS
from bench.targets import TARGETS, ratio

_PLOT: Final = Path(__file__).parent / "peers" / "plot.py"


def write_reports(document: dict[str, Any], folder: Path, python: Path) -> None:
    """Write results.json, results.md and, with matplotlib of the peers' `python`, results.png."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "results.json"
    source.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(table(document), encoding="utf-8")
    subprocess.run([str(python), str(_PLOT), str(source), str(folder / "results.png")], check=True)


def table(document: dict[str, Any]) -> str:
    """Render the document as Markdown."""
    machine, plan = document["machine"], document["plan"]
    conditions = (
        f"{machine['at']}, {machine['cores']} cores ({machine['cpu']}), {machine['system']}, "
        f"Python {machine['python']}; {plan['events']:,} events a run, the first fifth of each left out, medians of "
        f"{plan['rounds']} interleaved rounds, {plan['partitions']} partitions, {plan['accounts']:,} accounts, "
        f"a commit every {plan['commit_interval_ms']} ms. Load average before the run {machine['load_before']}, "
        f"after it {machine['load_after']}. Ratios are medians of the ratios within each round."
    )
    lines = ["# Results", "", conditions, ""]
    if plan["left_out"]:
        lines += [plan["left_out"] + ".", ""]
    for app, contenders in (("router", ROUTERS), ("projector", PROJECTORS)):
        if app in document:
            lines += _competition(app, document[app], {contender.name: contender.title for contender in contenders})
    lines += ["| target | least | aim | found | |", "|---|---:|---:|---:|---|"]
    for target in TARGETS:
        value = target.of(document)
        bound = "at most " if target.at_most else ""
        lines.append(
            f"| {target.title} | {bound}{_number(target.floor)} | {_number(target.aim)} | "
            f"{'' if value is None else _number(value)} | {target.verdict(value)} |"
        )
    lines.append("")
    if "two_workers" in document:
        lines += [f"Two routers on disjoint partitions: {document['two_workers']['router']:,} events/s together.", ""]
    return "\n".join(lines)


def _competition(app: str, section: dict[str, Any], titles: dict[str, str]) -> list[str]:
    lines = [f"| {app} | events/s | ours is | CPU us/event | output | rounds |", "|---|---:|---:|---:|---|---:|"]
    for name, details in section["details"].items():
        factor = f"{ratio(section, name):.2f} x" if "ours" in section else ""
        lines.append(
            f"| {titles[name]} | {section[name]:,} | {factor} | {details['cpu_us_per_record']:.1f} "
            f"| {details['output']} | {len(details['runs'])} |"
        )
    return [*lines, ""]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"  # noqa: PLR2004 (small ones need digits)

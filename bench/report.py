"""results.json, and what is made from it: tables, a plot, the capacity table of the runbook."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from bench.contenders import PROJECTORS, ROUTERS
from bench.targets import TARGETS, ratio

_HERE: Final = Path(__file__).parent
_RUNBOOK: Final = _HERE.parent / "docs" / "how-to" / "runbook.md"
_CAPACITY: Final = re.compile(r"(?<=<!-- capacity -->\n).*?(?=<!-- /capacity -->)", re.DOTALL)
_PLOT: Final = _HERE / "peers" / "plot.py"


def write_reports(document: dict[str, Any], folder: Path, python: Path) -> None:
    """Write results.json, results.md and, with matplotlib of the peers' `python`, results.png.

    Into its usual folder (bench/) it is the result: the runbook's capacity table is then of this run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "results.json"
    source.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(table(document), encoding="utf-8")
    if folder.resolve() == _HERE:
        text = _RUNBOOK.read_text(encoding="utf-8")
        _RUNBOOK.write_text(_CAPACITY.sub(lambda _: capacity(document), text), encoding="utf-8")
    subprocess.run([str(python), str(_PLOT), str(source), str(folder / "results.png")], check=True)


def table(document: dict[str, Any]) -> str:
    """Render the document as Markdown."""
    machine, plan = document["machine"], document["plan"]
    conditions = (
        f"{machine['at']}, {machine['cores']} cores ({machine['cpu']}), {machine['system']}, "
        f"Python {machine['python']}; {plan['events']:,} events a run, the first fifth of each left out, medians of "
        f"{plan['rounds']} interleaved rounds, {plan['partitions']} partitions, {plan['accounts']:,} accounts, "
        f"commit interval {plan['commit_interval_ms']} ms, stretched by ours while it catches up. "
        f"Load average before the run {machine['load_before']}, "
        f"after it {machine['load_after']}. Ratios to another contender are medians of the "
        "ratios within each round."
    )
    earlier = sorted(name for name, at in document["measured_at"].items() if at < machine["at"])
    if earlier:
        conditions += f" Measured in an earlier run: {', '.join(earlier)}."
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
        lines += [
            f"Two routers on disjoint partitions: {document['two_workers']['router']:,} events/s together, in one run.",
            "",
        ]
    return "\n".join(lines)


def capacity(document: dict[str, Any]) -> str:
    """Render what one worker carries, for the runbook; what the run has left out is left out."""
    machine, plan = document["machine"], document["plan"]
    conditions = (
        f"{machine['at'][:10]}, {machine['cores']} cores ({machine['cpu']}) with broker, workers and load generator on "
        f"them; {plan['partitions']} partitions, commit interval {plan['commit_interval_ms']} ms."
    )
    lines = [conditions, "", "| what | found |", "|---|---:|"]
    rows: list[tuple[str, str, tuple[str, ...]]] = [
        ("one router, events/s", "{:,.0f}", ("router", "ours")),
        ("two routers together, events/s", "{:,.0f}", ("two_workers", "router")),
        ("one projector, events/s", "{:,.0f}", ("projector", "ours")),
        ("bridge, events/s", "{:,.0f}", ("bridge", "ours")),
        ("router's CPU, us/event", "{:.1f}", ("router", "details", "ours", "cpu_us_per_record")),
        ("projector's CPU, us/event", "{:.1f}", ("projector", "details", "ours", "cpu_us_per_record")),
        ("bridge's CPU, us/event", "{:.1f}", ("bridge", "cpu_us_per_record")),
        ("push to alert at 1,000 events/s, median, ms", "{:.0f}", ("latency_ms", "p50")),
        ("push to alert at 1,000 events/s, 99 %, ms", "{:.0f}", ("latency_ms", "p99")),
        ("state restored, records/s", "{:,.0f}", ("restore", "restored_per_second")),
        ("projector's memory, bytes/account", "{:,.0f}", ("memory_bytes_per_account",)),
        ("projector with a million accounts, start to ready, s", "{:.1f}", ("state", "many", "start_to_ready_s")),
        ("one router on 48 partitions, events/s", "{:,.0f}", ("partitions", "router", "48")),
    ]
    for title, form, path in rows:
        value: Any = document
        for name in path:
            value = value.get(name, {})
        if isinstance(value, int | float):
            lines.append(f"| {title} | {form.format(value)} |")
    return "\n".join([*lines, ""])


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

"""What can be wrong with what the pipeline wrote, counted and with the first cases in full."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

DETAILS = 20


class Stage(StrEnum):
    RAW = "raw"
    TYPED = "typed"
    QUARANTINE = "quarantine"
    ALERTS = "alerts"
    ACTIVE = "alerts.active"
    ACCOUNTS = "state.accounts"
    MOVEMENTS = "state.movements"
    CURSORS = "ingest.cursors"
    DELIVERIES = "alerts.deliveries"
    BALANCE = "balance"


class Kind(StrEnum):
    LOST = "lost"
    DOUBLED = "doubled"
    OUT_OF_ORDER = "out of order"
    CHANGED = "changed"
    UNEXPECTED = "unexpected"


@dataclass
class Report:
    """Violations by stage and kind, the first `DETAILS` of each in words, and how much was compared."""

    counters: Counter[tuple[Stage, Kind]] = field(default_factory=Counter)
    details: dict[tuple[Stage, Kind], list[str]] = field(default_factory=dict)
    compared: Counter[str] = field(default_factory=Counter)

    def add(self, stage: Stage, kind: Kind, detail: str) -> None:
        self.counters[stage, kind] += 1
        details = self.details.setdefault((stage, kind), [])
        if len(details) < DETAILS:
            details.append(detail)

    def merge(self, other: Report) -> None:
        """Add what another report says; its details come after the own ones, `DETAILS` in all."""
        self.counters += other.counters
        self.compared += other.compared
        for what, details in other.details.items():
            self.details[what] = [*self.details.get(what, ()), *details][:DETAILS]

    @property
    def is_clean(self) -> bool:
        return not self.counters

    def found(self, stage: Stage, kind: Kind) -> int:
        return self.counters[stage, kind]

    def __str__(self) -> str:
        lines = [", ".join(f"{what} {count}" for what, count in sorted(self.compared.items()))]
        for stage in Stage:
            found = [f"{kind} {self.counters[stage, kind]}" for kind in Kind]
            lines.append(f"{stage:>16}: " + ", ".join(found))
        for (stage, kind), details in self.details.items():
            lines += [f"{stage} {kind}: {detail}" for detail in details]
        return "\n".join(lines)

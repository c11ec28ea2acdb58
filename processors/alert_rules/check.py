"""Checks a rule before it is switched on: its samples, and that it has a value for every documented event."""

from __future__ import annotations

from pathlib import Path

from broker_events.processors.alert_rules.expression import EvaluationError
from broker_events.processors.alert_rules.rule import DataRule, compile_rule
from broker_events.processors.alert_rules.rule_file import FILE, RuleError
from broker_events.processors.alert_rules.samples import Bench, run_samples, typed_event
from broker_events.schemas.catalog import Catalog


def check_rule(catalog: Catalog, folder: Path) -> DataRule:
    """Compile a rule, run its samples, and evaluate it on every documented event. Raises RuleError."""
    rule = compile_rule(catalog, folder, {})
    for result in run_samples(catalog, rule):
        if result.problem:
            raise RuleError(result.path, 1, 1, result.problem)
    for biz_type in rule.by_type:
        _check_values(catalog, rule, biz_type)
    return rule


def _check_values(catalog: Catalog, rule: DataRule, biz_type: str) -> None:
    """Evaluate a rule on the documented events of a type, also with null in every field that may be null.

    An expression without a value stops the projector, so the start fails here instead.
    """
    contract = catalog.events[biz_type]
    nullable = [field["name"] for field in (contract.schema or {})["fields"] if isinstance(field["type"], list)]
    for path in sorted((contract.folder / "samples" / "accept").glob("*.json")):
        if path.name.endswith(".record.json"):
            continue
        event = typed_event(contract, path.read_bytes())
        for how, record in {
            "as documented": event,
            "with null in every field that may be null": {**event, **dict.fromkeys(nullable)},
        }.items():
            try:
                Bench(catalog, rule).typed(record, "account")
            except EvaluationError as error:
                raise RuleError(rule.folder / FILE, 1, 1, f"{biz_type} {path.stem}, {how}: {error}") from None

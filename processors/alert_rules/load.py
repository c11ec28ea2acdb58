"""Loads the rules that the settings switch on."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from broker_events.processors.alert_rules.expression import EvaluationError
from broker_events.processors.alert_rules.rule import DataRule, compile_rule
from broker_events.processors.alert_rules.rule_file import FILE, RuleError
from broker_events.processors.alert_rules.samples import Bench, run_samples, typed_event
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import PREFIX, Settings
from broker_events.schemas.catalog import RULES, Catalog

SHIPPED: Final = Path(__file__).resolve().parent.parent.parent / "schemas" / RULES
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")


def rule_folders(settings: Settings) -> dict[str, Path]:
    """Return the folder of every rule by name: those of the package and of RULES_FOLDER.

    Raises RuleError if both have a rule of one name.
    """
    found: dict[str, Path] = {}
    for root in [SHIPPED, *([settings.rules_folder] if settings.rules_folder else [])]:
        for file in sorted(root.glob(f"*/{FILE}")):
            if file.parent.name in found:
                raise RuleError(file, 1, 1, f"the name is already used by {found[file.parent.name]}")
            found[file.parent.name] = file.parent
    return found


def load_rules(settings: Settings, catalog: Catalog) -> tuple[DataRule, ...]:
    """Return the rules that RULES switches on, checked and with the thresholds of RULE_THRESHOLDS.

    Raises RuleError for a rule that violates a condition or whose samples fail, and OperatorActionRequired for a
    setting that names no rule or no threshold.
    """
    folders = rule_folders(settings)
    switched_on = dict(name.partition("@")[::2] for name in settings.rules)
    for setting, names in (("RULES", switched_on), ("RULE_THRESHOLDS", settings.rule_thresholds)):
        for name in names:
            if name not in folders:
                raise OperatorActionRequired(f"{PREFIX}{setting}: no rule {name!r}; there are {', '.join(folders)}")
    rules = []
    for name, since in switched_on.items():
        overrides = settings.rule_thresholds.get(name, {})
        check_rule(catalog, folders[name])
        try:
            rule = compile_rule(catalog, folders[name], overrides)
        except RuleError:
            raise
        except ValueError as error:
            raise OperatorActionRequired(f"{PREFIX}RULE_THRESHOLDS: {name}: {error}") from None
        rules.append(rule._replace(since_us=_microseconds(since) if since else 0))
    return tuple(rules)


def _microseconds(time: str) -> int:
    return (datetime.fromisoformat(time) - _EPOCH) // timedelta(microseconds=1)


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

"""Loads the rules that the settings switch on."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker_events.processors.alert_rules.rule_file import FILE, RuleError, rule_name
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import PREFIX, Settings
from broker_events.schemas import catalog
from broker_events.schemas.catalog import RULES, Catalog

if TYPE_CHECKING:
    from broker_events.processors.alert_rules.rule import DataRule

SHIPPED: Final = Path(catalog.__file__).resolve().parent / RULES
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")


def rule_folders(settings: Settings) -> dict[str, Path]:
    """Return the folder of every rule by name: those of the package and of RULES_FOLDER.

    Raises RuleError if both have a rule of one name, and OperatorActionRequired if RULES_FOLDER does not exist.
    """
    if settings.rules_folder is not None and not settings.rules_folder.is_dir():
        raise OperatorActionRequired(f"{PREFIX}RULES_FOLDER: no such folder")
    found: dict[str, Path] = {}
    for root in [SHIPPED, *([settings.rules_folder] if settings.rules_folder else [])]:
        for file in sorted(root.glob(f"*/{FILE}")):
            if file.parent.name in found:
                raise RuleError(file, 1, 1, f"the name is already used by {found[file.parent.name]}")
            found[file.parent.name] = file.parent
    return found


def switched_on(settings: Settings) -> frozenset[str]:
    """Return the names in alerts of the rules that RULES names."""
    return frozenset(rule_name(Path(name.partition("@")[0])) for name in settings.rules)


def load_rules(settings: Settings, contracts: Catalog) -> tuple[DataRule, ...]:
    """Return the rules that RULES switches on, checked and with the thresholds of RULE_THRESHOLDS.

    Raises OperatorActionRequired for a setting that names no rule or no threshold, and for a rule that violates a
    condition or whose samples fail, with file, line and column.
    """
    try:
        folders = rule_folders(settings)
    except RuleError as error:
        raise OperatorActionRequired(str(error)) from None
    starts = dict(name.partition("@")[::2] for name in settings.rules)
    for setting, names in (("RULES", starts), ("RULE_THRESHOLDS", settings.rule_thresholds)):
        for name in names:
            if name not in folders:
                raise OperatorActionRequired(f"{PREFIX}{setting}: no rule {name!r}; there are {', '.join(folders)}")
    return tuple(
        load_rule(settings, contracts, name)._replace(since_us=_microseconds(since) if since else 0)
        for name, since in starts.items()
    )


def load_rule(settings: Settings, contracts: Catalog, name: str) -> DataRule:
    """Return one rule, whether it is switched on or not, checked and with its thresholds. Raises as `load_rules`."""
    # Only here: a projector without rules loads no CEL library.
    from broker_events.processors.alert_rules.check import check_rule  # noqa: PLC0415
    from broker_events.processors.alert_rules.rule import compile_rule  # noqa: PLC0415

    folders = rule_folders(settings)
    if name not in folders:
        raise OperatorActionRequired(f"no rule {name!r}; there are {', '.join(folders)}")
    try:
        check_rule(contracts, folders[name])
        return compile_rule(contracts, folders[name], settings.rule_thresholds.get(name, {}))
    except RuleError as error:
        raise OperatorActionRequired(str(error)) from None
    except ValueError as error:
        raise OperatorActionRequired(f"{PREFIX}RULE_THRESHOLDS: {name}: {error}") from None


def _microseconds(time: str) -> int:
    return (datetime.fromisoformat(time) - _EPOCH) // timedelta(microseconds=1)

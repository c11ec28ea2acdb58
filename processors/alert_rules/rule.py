"""A rule as data, compiled: its expressions, checked against the schemas of its event types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from broker_events.processors.alert_rules.expression import Evaluate, Expression, ExpressionError, compile_expression
from broker_events.processors.alert_rules.language import Language, is_bool, is_string, is_string_list
from broker_events.processors.alert_rules.protobuf_types import DECIMAL, RecordTypes
from broker_events.processors.alert_rules.rule_file import FILE, RuleFile, RuleText, Threshold, rule_name
from broker_events.processors.rules import PROJECTIONS
from broker_events.processors.rules.alerting import RULES, Rule
from broker_events.schemas.catalog import Catalog

_OWN_PARTS: Final[Mapping[str, str]] = {
    "ACCOUNT_UPDATE": "restrictions",
    "VIRTUAL_ACCOUNT_BCAN_UPDATE": "bcan",
    "ACCOUNT_INFO_UPDATE": "info_update",
    "ACCOUNT_CLOSE": "close",
}
"""The part of an account's state that one event type alone states.

Other parts depend on how the projector interleaves topics. A rule can't see them, so that a rebuild finds the same
alerts.
"""


class Judgement(NamedTuple):
    """The functions of a rule for one event type.

    `decide`: whether the occurrence or condition is there, or the subjects for which the condition holds (`is_list`).
    """

    decide: Evaluate
    is_list: bool
    subject: Evaluate | None
    summary: Evaluate


class DataRule(NamedTuple):
    """A rule as data. `by_type`: its functions by biz_type. `folder`: of its rule.toml and samples.

    `since_us`: it applies to events received at this time or later, microseconds since the epoch.
    """

    rule: Rule
    folder: Path
    file: RuleFile
    by_type: Mapping[str, Judgement]
    thresholds: Mapping[str, Threshold]
    since_us: int = 0

    @property
    def is_stateless(self) -> bool:
        """Whether `when` looks at the event alone."""
        return self.file.when is not None and re.search(r"\bstate\b", self.file.when) is None


def compile_rule(catalog: Catalog, folder: Path, overrides: Mapping[str, object]) -> DataRule:
    """Read a rule's folder and compile it. `overrides`: values of thresholds by name.

    Raises RuleError, with file, line and column, for a rule that violates a condition, and ValueError for an override
    that names no threshold or has a wrong type.
    """
    text = RuleText(folder / FILE)
    file = text.parse()
    name = rule_name(folder)
    if name in {rule.name for rule in RULES}:
        raise text.error((), f"the name {name} is a rule that is always on")
    thresholds = _thresholds(file, overrides)
    by_type = {}
    for biz_type in file.on:
        if biz_type not in PROJECTIONS:
            known = ", ".join(PROJECTIONS)
            raise text.error(("on",), f"on: no projection of the event type {biz_type}; there are {known}")
        by_type[biz_type] = _judgement(catalog, text, file, biz_type)
    return DataRule(
        Rule(name, file.version, file.severity, file.kind == "condition"), folder, file, by_type, thresholds
    )


def _thresholds(file: RuleFile, overrides: Mapping[str, object]) -> dict[str, Threshold]:
    for name in overrides.keys() - file.thresholds.keys():
        known = ", ".join(file.thresholds) or "none"
        raise ValueError(f"no threshold {name!r}; there are {known}")
    values = {}
    for name, threshold in file.thresholds.items():
        try:
            values[name] = threshold.read(overrides.get(name, threshold.value))
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return values


def _judgement(catalog: Catalog, text: RuleText, file: RuleFile, biz_type: str) -> Judgement:
    language = _language(catalog, file, biz_type)
    decide_name = "when" if file.kind == "occurrence" else "holds"

    def compiled(name: str, wanted: str, fits: Callable[[Any], bool]) -> Expression:
        try:
            expression = compile_expression(language, getattr(file, name))
        except ExpressionError as error:
            raise text.error_in(name, error.line, error.column, f"{error} (event type {biz_type})") from None
        if not fits(expression.kind):
            found = expression.kind.name().replace(DECIMAL, "decimal")
            raise text.error_in(name, 1, 1, f"must be {wanted}, not {found} (event type {biz_type})")
        return expression

    is_condition = file.kind == "condition"
    decide = compiled(
        decide_name,
        "a bool or a list of strings" if is_condition else "a bool",
        lambda kind: is_bool(kind) or (is_condition and is_string_list(kind)),
    )
    is_list = not is_bool(decide.kind)
    if is_list and file.subject is not None:
        raise text.error(("subject",), "subject: holds lists the subjects, so leave subject out")
    of_account = PROJECTIONS[biz_type].topic == "state.accounts"
    if file.subject is None and not is_list and of_account:
        raise text.error((), f"subject is missing: an alert about {biz_type} needs one")
    if is_condition and not of_account:
        raise text.error(("on",), f"on: a condition is about an account, and {biz_type} is about a movement")
    subject = None if file.subject is None else compiled("subject", "a string", is_string).evaluate
    return Judgement(decide.evaluate, is_list, subject, compiled("summary", "a string", is_string).evaluate)


def _language(catalog: Catalog, file: RuleFile, biz_type: str) -> Language:
    records = RecordTypes()
    event = catalog.events[biz_type].schema or {}
    variables = {"event": records.add(event["name"], event["fields"]), "now": "timestamp", "account": "string"}
    if PROJECTIONS[biz_type].topic == "state.movements":
        fields = _fields(catalog, "movement-state")
        variables["state"] = records.add("MovementState", [field for field in fields if field["name"] != "rules"])
    elif biz_type in _OWN_PARTS:
        records.add("AccountFacts", _fields(catalog, "account-state")[1:4])  # defines Arrival for the part
        part = [field for field in _fields(catalog, "account-state") if field["name"] == _OWN_PARTS[biz_type]]
        variables["state"] = records.add("AccountState", [_defined(catalog, field) for field in part])
    kinds: dict[str, str | tuple[str, str]] = {
        name: {"decimals": ("map", "decimal"), "strings": ("list", "string")}.get(each.type, each.type)
        for name, each in file.thresholds.items()
    }
    if kinds:
        variables["thresholds"] = records.add_named("Thresholds", kinds)
    if file.kind == "condition":
        variables["holding"] = "bool"
    return Language(records, variables | {"subject": "string"})


def _fields(catalog: Catalog, contract: str) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = (catalog.contracts[contract].schema or {})["fields"]
    return fields


def _defined(catalog: Catalog, field: dict[str, Any]) -> dict[str, Any]:
    """Return the field with the definition of its record, where it names one that another field defines."""
    if field["type"] == ["null", "RequestOutcome"]:
        other = next(each for each in _fields(catalog, "account-state") if each["name"] == "info_update")
        return {**field, "type": other["type"]}
    return field

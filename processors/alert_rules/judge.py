"""Applies rules as data to an event: alerts, and what the state remembers of them. Pure.

The memory is in the state record of the account or movement (`rules`), so it is restored, rebuilt and compared with it:

- A condition that holds, by rule and subject. It fires when it begins to hold, and resolves when it no longer does. A
  stale event says nothing about it.
- The last occurrence. On an account, by rule and event type: an event fires once, also if it is late, and not again
  when the projector reads it again. On a movement, by rule: it fires once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from broker_events.processors.alert_rules.expression import EvaluationError
from broker_events.processors.rules.alerting import make_alert
from broker_events.processors.rules.funding import request_id, system_ids
from broker_events.processors.rules.outcome import Flag, Outcome, RecordOrigin
from broker_events.processors.rules.recency import elapsed_us, was_read
from broker_events.schemas.storage_types import Alert, Arrival, ConditionEvidence, RuleState

if TYPE_CHECKING:
    from broker_events.processors.alert_rules.rule import DataRule, Judgement


class _Case(NamedTuple):
    """A rule, an event and the variables of its expressions."""

    rule: DataRule
    judgement: Judgement
    event: Any
    account_key: str
    source: RecordOrigin
    values: Mapping[str, Any]


def apply_rules(
    rules: Sequence[DataRule],
    outcome: Outcome[Any],
    event: Any,  # noqa: ANN401 (any event)
    account_key: str,
    source: RecordOrigin,
) -> Outcome[Any]:
    """Return the outcome with the alerts of these rules and their memory in the state.

    `outcome`: of the projection; its state is what expressions see as `state`. Raises EvaluationError where an
    expression has no value for this event, such as a comparison of an amount with null.
    """
    state, alerts = outcome.state, []
    memory: dict[str, RuleState] = state["rules"]
    is_movement = "movement_id" in state
    values = {
        "event": event,
        "state": state,
        "now": event["event_time"],
        "account": event.get("account_number") or event["account_id"] or account_key,
    }
    for rule in rules:
        if source.received_us < rule.since_us:
            continue
        judgement = rule.by_type[event["biz_type"]]
        case = _Case(rule, judgement, event, account_key, source, {**values, "thresholds": rule.thresholds})
        try:
            if rule.rule.is_condition:
                raised = [] if Flag.STALE in outcome.flags else [*_changes(case, memory)]
            else:
                raised = [*_occurrence(case, memory, state if is_movement else None)]
        except Exception as error:
            problem = EvaluationError(f"{type(error).__name__}: {error}")
            problem.add_note(f"the rule {rule.folder.name} has no value for this event: {type(error).__name__}")
            raise problem from error
        for alert, key, remembered in raised:
            alerts.append(alert)
            memory = {name: each for name, each in memory.items() if name != key}
            if remembered is not None:
                memory[key] = remembered
    if not alerts:
        return outcome
    return outcome._replace(state={**state, "rules": memory}, alerts=(*outcome.alerts, *alerts))


_Raised = tuple[Alert, str, RuleState | None]
"""An alert, the key of the memory that it changes, and the new content; None removes it."""


def _occurrence(case: _Case, memory: Mapping[str, RuleState], movement: Any) -> Iterable[_Raised]:  # noqa: ANN401 (MovementState or None)
    name, event = case.rule.rule.name, case.event
    key = name if movement is not None else f"{name}/{event['biz_type']}"
    last = memory.get(key)
    if last is not None and (movement is not None or was_read(case.source, cast("Arrival", last))):
        return
    if not case.judgement.decide(case.values):
        return
    subject = _subject(case)
    alert = _alert(case, "FIRING", subject, {**case.values, "subject": subject})
    if movement is not None:
        alert["movement"] = {
            "movement_id": movement["movement_id"],
            "client_request_id": event["client_request_id"],
            "system_ids": system_ids(event),
        }
    yield alert, key, _remembered(alert, case.source)


def _changes(case: _Case, memory: Mapping[str, RuleState]) -> Iterable[_Raised]:
    prefix = f"{case.rule.rule.name}/"
    before = [key.removeprefix(prefix) for key in memory if key.startswith(prefix)]
    decided = case.judgement.decide(case.values)
    if case.judgement.is_list:
        now = list(dict.fromkeys(decided))
    else:
        subject = _subject(case)
        before = [each for each in before if each == subject]
        now = [subject] if decided else []
    for subject in now:
        if subject not in before:
            alert = _alert(case, "FIRING", subject, {**case.values, "subject": subject, "holding": True})
            remembered = _remembered(alert, case.source)
            alert["condition"] = _since(remembered, None)
            yield alert, prefix + subject, remembered
    for subject in sorted(before):
        if subject not in now:
            since = memory[prefix + subject]
            alert = _alert(case, "RESOLVED", subject, {**case.values, "subject": subject, "holding": False})
            duration_us = elapsed_us(case.event["event_time"], since["event_time"], since["received_time"], case.source)
            alert["condition"] = _since(since, None if duration_us is None else max(duration_us, 0))
            yield alert, prefix + subject, None


def _subject(case: _Case) -> str:
    if case.judgement.subject is None:
        return request_id(case.event)
    return str(case.judgement.subject(case.values))


def _alert(case: _Case, status: Any, subject: str, values: Mapping[str, Any]) -> Alert:  # noqa: ANN401 (FIRING or RESOLVED)
    alert = make_alert(
        case.rule.rule,
        case.event,
        case.account_key,
        case.source,
        status=status,
        subject=subject,
        summary=case.judgement.summary(values),
    )
    alert["account_number"] = case.event.get("account_number")
    return alert


def _remembered(alert: Alert, source: RecordOrigin) -> RuleState:
    return {
        "alert_id": alert["alert_id"],
        "event_id": alert["event_id"],
        "event_time": alert["event_time"],
        "event_time_text": alert["event_time_text"],
        "received_time": source.received_us,
        "typed_offset": source.offset,
    }


def _since(remembered: RuleState, duration_us: int | None) -> ConditionEvidence:
    return {
        "fired_alert_id": remembered["alert_id"],
        "since_event_id": remembered["event_id"],
        "since": remembered["event_time"],
        "since_text": remembered["event_time_text"],
        "duration_us": duration_us,
    }

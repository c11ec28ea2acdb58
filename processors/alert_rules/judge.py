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


_Raised = tuple[Alert, str, RuleState | None]
"""An alert, the key of the memory that it changes, and the new content; None removes it."""


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
    state, raised = outcome.state, list[_Raised]()
    values = {
        "event": event,
        "state": state,
        "now": event["event_time"],
        "account": event.get("account_number") or event["account_id"] or account_key,
    }
    for rule in rules:
        if source.received_us < rule.since_us or (rule.rule.is_condition and Flag.STALE in outcome.flags):
            continue
        judgement = rule.by_type[event["biz_type"]]
        values["thresholds"] = rule.thresholds
        try:
            decided = judgement.decide(values)
            if decided or (rule.rule.is_condition and state["rules"]):  # the common case ends before
                case = _Case(rule, judgement, event, account_key, source, {**values})
                judge = _changes if rule.rule.is_condition else _occurrence
                raised += judge(case, state, decided)
        except Exception as error:
            problem = EvaluationError(f"{type(error).__name__}: {error}")
            problem.add_note(f"the rule {rule.folder.name} has no value for this event: {type(error).__name__}")
            raise problem from error
    if not raised:
        return outcome
    memory = dict(state["rules"])
    for _, key, remembered in raised:
        memory.pop(key, None)
        if remembered is not None:
            memory[key] = remembered
    alerts = (*outcome.alerts, *(alert for alert, _, _ in raised))
    return outcome._replace(state={**state, "rules": memory}, alerts=alerts)


def _occurrence(case: _Case, state: Any, _: object) -> Iterable[_Raised]:  # noqa: ANN401 (either state)
    """Yield the alert on an occurrence that is there, unless it was raised before."""
    name, event, is_movement = case.rule.rule.name, case.event, "movement_id" in state
    key = name if is_movement else f"{name}/{event['biz_type']}"
    last = state["rules"].get(key)
    if last is not None and (is_movement or was_read(case.source, cast("Arrival", last))):
        return
    subject = _subject(case)
    alert = _alert(case, "FIRING", subject, {**case.values, "subject": subject})
    if is_movement:
        alert["movement"] = {
            "movement_id": state["movement_id"],
            "client_request_id": event["client_request_id"],
            "system_ids": system_ids(event),
        }
    yield alert, key, _remembered(alert, case.source)


def _changes(case: _Case, state: Any, decided: Any) -> Iterable[_Raised]:  # noqa: ANN401 (AccountState, bool or subjects)
    """Yield the alerts on subjects for which the condition begins or ends to hold."""
    memory: Mapping[str, RuleState] = state["rules"]
    prefix = f"{case.rule.rule.name}/"
    before = [key.removeprefix(prefix) for key in memory if key.startswith(prefix)]
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

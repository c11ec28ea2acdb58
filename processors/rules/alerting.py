"""Alerts: their rules and ids, and which of them state a condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypedDict
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from broker_events.processors.rules.outcome import RecordOrigin
    from broker_events.schemas.storage_types import Alert

NAMESPACE: Final = UUID("6261f28f-fc6c-59a7-817f-efdca5dc1481")
"""UUIDv5 namespace of alert ids. It must never change: subscribers deduplicate by alert id."""


class Rule(NamedTuple):
    """A rule's constants. Increment `version` with each change of its logic.

    A rule about a condition has FIRING and RESOLVED alerts, one about an occurrence only FIRING ones.
    """

    name: str
    version: int
    severity: Literal["critical", "warning"]
    is_condition: bool


LIQUIDATE_ONLY: Final = Rule("LIQUIDATE_ONLY", version=1, severity="critical", is_condition=True)
TRANSFER_RETURNED: Final = Rule("TRANSFER_RETURNED", version=1, severity="warning", is_condition=False)

RULES: Final = (LIQUIDATE_ONLY, TRANSFER_RETURNED)
CONDITIONS: Final = frozenset(rule.name for rule in RULES if rule.is_condition)


class Cause(TypedDict):
    """Fields that an alert copies from its event."""

    event_id: str
    event_type: str
    biz_type: str
    event_time: int
    event_time_text: str
    account_id: str | None


class ActiveChange(NamedTuple):
    """A record of alerts.active: key, and the alert or None for a tombstone."""

    dedup_key: str
    alert: Alert | None


def is_condition(alert: Alert) -> bool:
    """Whether the alert states a condition; otherwise it is about an occurrence, which never resolves."""
    return alert["rule"] in CONDITIONS or alert["condition"] is not None


def active_change(alert: Alert) -> ActiveChange | None:
    """Return the change of alerts.active by an alert; None for an occurrence, which is never in that table."""
    if not is_condition(alert):
        return None
    return ActiveChange(alert["dedup_key"], alert if alert["status"] == "FIRING" else None)


def make_alert(
    rule: Rule,
    event: Cause,
    account_key: str,
    source: RecordOrigin,
    *,
    status: Literal["FIRING", "RESOLVED"],
    subject: str,
    summary: str,
) -> Alert:
    """Return an alert without evidence; the rule sets `restriction` or `transfer`."""
    dedup_key = f"{rule.name}/{_escaped(account_key)}/{_escaped(subject)}"
    return {
        "alert_id": str(uuid5(NAMESPACE, f"{dedup_key}/{event['event_id']}")),
        "rule": rule.name,
        "rule_version": rule.version,
        "status": status,
        "severity": rule.severity,
        "dedup_key": dedup_key,
        "account_key": account_key,
        "account_id": event["account_id"],
        "account_number": None,
        "subject": subject,
        "first_sight": False,
        "summary": summary,
        "event_id": event["event_id"],
        "event_type": event["event_type"],
        "biz_type": event["biz_type"],
        "event_time": event["event_time"],
        "event_time_text": event["event_time_text"],
        "source_topic": source.topic,
        "source_partition": source.partition,
        "source_offset": source.offset,
        "restriction": None,
        "transfer": None,
        "condition": None,
        "movement": None,
    }


def _escaped(part: str) -> str:
    """Return a part of a dedup_key without slashes, so that two conditions never share one."""
    return part.replace("%", "%25").replace("/", "%2F")


def account_tail(account: str) -> str:
    """Return an account's last four characters, as summaries show it."""
    return f"…{account[-4:]}"

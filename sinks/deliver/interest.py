"""Which alerts a receiver wants. Pure."""

from __future__ import annotations

from broker_events.schemas.models import Alert
from broker_events.sinks.deliver.receivers import Receiver


def unwanted(receiver: Receiver, alert: Alert, raised_ms: int) -> str | None:
    """Return why the receiver doesn't want the alert, or None if it does; `raised_ms`: time of its record."""
    if receiver.rules is not None and alert.rule not in receiver.rules:
        return f"not wanted: rule {alert.rule}"
    if receiver.severities is not None and alert.severity not in receiver.severities:
        return f"not wanted: severity {alert.severity}"
    if receiver.accounts is not None and alert.account_key not in receiver.accounts:
        return "not wanted: account"
    if receiver.since is not None and raised_ms < receiver.since.timestamp() * 1000:
        return "not wanted: raised before since"
    return None

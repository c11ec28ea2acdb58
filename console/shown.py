"""What a user may see of a record: whole, or masked by the class of each field. Masking happens here, on the server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from broker_events.audit.event_trace import Step
from broker_events.console.access import User
from broker_events.runtime.events.record_json import json_line
from broker_events.runtime.process.terminal import escaped
from broker_events.schemas.headers import INTERNAL
from broker_events.schemas.masking import HIDDEN, SHOWN, mask, masked
from broker_events.schemas.models import FIELD_CLASSES, QuarantinedEvent, Record

MOST_TEXT: Final = 65_536
"""Characters of a value that a page or answer has; the download has all."""

# Members of a step that are no field of its record, and say nothing about a person.
_STEP_FACTS: Final = INTERNAL | {"bytes", "outcome", "source", "mentioned_in", "event_time_text"}
_KEY: Final = "key"
_RECORD: Final = "record"


def document(record: Record, user: User) -> dict[str, Any]:
    """Return the fields for JSON: decimals and times as text, bytes as text or base64."""
    fields = record.model_dump() if user.sees_personal else masked(record)
    if isinstance(record, QuarantinedEvent) and user.sees_personal:
        fields["value"] = cut(record.value)[0]
    return plain_json(fields)


def plain_json(fields: Mapping[str, object]) -> dict[str, Any]:
    """Return the same with the types of JSON only."""
    found: dict[str, Any] = json.loads(json_line(fields))
    return found


def key(text: str | None, user: User) -> str | None:
    """Return an account key or movement id as this user may see it."""
    if text is None or user.sees_personal:
        return text
    hidden = mask(text)
    return hidden if isinstance(hidden, str) else HIDDEN


def cut(value: bytes | None) -> tuple[str, bool]:
    """Return the beginning of a value as text with control characters escaped, and whether it is longer."""
    content = value or b""
    text = content[: MOST_TEXT * 4].decode(errors="backslashreplace")
    return escaped(text[:MOST_TEXT]), len(text) > MOST_TEXT or len(content) > MOST_TEXT * 4


def step_facts(step: Step, model: Record | None, user: User) -> dict[str, Any]:
    """Return the facts of a step of a trace; `model`: the decoded record of the step."""
    if user.sees_personal:
        return plain_json(step.facts)
    classes = {} if model is None else FIELD_CLASSES[type(model).__name__]
    shown: dict[str, object] = {}
    for name, fact in step.facts.items():
        if name == _RECORD and model is not None:
            shown[name] = masked(model)
        elif name == _KEY:
            shown[name] = mask(fact)
        elif name in classes:
            shown[name] = fact if classes[name] in SHOWN else mask(fact, classes[name])
        else:
            shown[name] = fact if name in _STEP_FACTS else HIDDEN
    return plain_json(shown)

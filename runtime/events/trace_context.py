"""Trace context of an event (W3C Trace Context): carried along from topic to topic, never made up. Pure.

The broker's push has no place for it: a message has no headers, and the metadata of a stream that lives for days is no
event's. So it comes as CloudEvents puts it into JSON, as a member `traceparent` of the envelope.
"""

from __future__ import annotations

import re
from typing import Any, Final

TRACEPARENT: Final = "traceparent"
"""Header of raw, typed, alert and state records, and the envelope's member."""

TRACEPARENT_BYTES: Final = 55
# Version, trace id, parent id, flags; ids of zeros are invalid, and so is version ff.
_FORM: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def pushed_traceparent(event: dict[str, Any]) -> str:
    """Return the envelope's `traceparent`; empty where it has none that is valid."""
    text = event.get(TRACEPARENT)
    return text if isinstance(text, str) and _FORM.fullmatch(text) else ""

"""Trace context of an event (W3C Trace Context): propagated from topic to topic, never generated. Pure.

A push message has no headers, and the metadata of a gRPC stream applies to the whole stream. So an event carries it as
the CloudEvents JSON format does, in the member `traceparent` of the envelope.
"""

from __future__ import annotations

import re
from typing import Any, Final

TRACEPARENT: Final = "traceparent"
"""Header of raw, typed, alert and state records, and member of the envelope."""

TRACEPARENT_BYTES: Final = 55
# Version, trace id, parent id, flags. Ids of zeros and version ff are invalid.
_FORM: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def pushed_traceparent(event: dict[str, Any]) -> str:
    """Return the envelope's `traceparent`; empty if it is absent or invalid."""
    text = event.get(TRACEPARENT)
    return text if isinstance(text, str) and _FORM.fullmatch(text) else ""

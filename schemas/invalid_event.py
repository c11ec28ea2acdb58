"""Why an event is rejected, and which value caused it. Quarantine (dead-letter) records carry both."""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why an event could not become a typed record. The values are public: quarantine records and metrics use them."""

    NO_VALUE = "no_value"
    """The record has no value, or a typed record lacks key or value."""
    NOT_UTF8 = "not_utf8"
    """The bytes are not UTF-8."""
    NOT_JSON = "not_json"
    """The text is not JSON."""
    TOO_DEEP = "too_deep"
    """Arrays or objects are nested too deeply."""
    NO_ENVELOPE = "no_envelope"
    """The event is not an object with event_type and payload."""
    NO_PAYLOAD = "no_payload"
    """The payload is not an object."""
    UNKNOWN_BIZ_TYPE = "unknown_biz_type"
    """No contract has this biz_type."""
    UNKNOWN_EVENT_TYPE = "unknown_event_type"
    """The contract of this biz_type names another event_type."""
    EMPTY_ID = "empty_id"
    """A required id is an empty string."""
    NO_ACCOUNT = "no_account"
    """No member can be the account key."""
    DUPLICATE_KEY = "duplicate_key"
    """A member that is read occurs more than once with different values."""
    MISSING_FIELD = "missing_field"
    """A required member is absent or null."""
    WRONG_TYPE = "wrong_type"
    """A member has another JSON type than its field."""
    BAD_AMOUNT = "bad_amount"
    """An amount or rate is not a number, or does not fit decimal (38, 18)."""
    BAD_TIME = "bad_time"
    """A time cannot be read, or Kafka accepts it in no topic."""
    ID_CONFLICT = "id_conflict"
    """An event with this id and another payload was typed before."""
    TOO_LARGE = "too_large"
    """An id, or a record derived from the event, exceeds its size limit."""
    REFUSED = "refused"
    """Kafka refuses the record derived from the event as invalid."""
    UNDECODABLE = "undecodable"
    """A projector cannot decode the typed record."""
    INTERNAL_ERROR = "internal_error"
    """A bug in this program. The log has the traceback."""


# Reasons written by earlier versions. Quarantine records keep them until they expire.
FORMER_REASONS: Final = {"unforeseen": Reason.INTERNAL_ERROR}


class InvalidEvent(ValueError):
    """An event that cannot become a typed record.

    `pointer` is the JSON Pointer (RFC 6901) from the envelope to the offending value, "" for the whole event.
    `detail` is text for people. It may quote the value, so write it to quarantine and never to logs.
    """

    def __init__(self, reason: Reason, pointer: str = "", detail: str = "") -> None:
        super().__init__(reason, pointer, detail)
        self.reason = reason
        self.pointer = pointer
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail} at {self.pointer or 'the whole event'}"

"""What makes an event unusable, and where in it: the vocabulary of the quarantine."""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why an event could not become a typed record. Public: the values label quarantine records and metrics."""

    NO_VALUE = "no_value"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    NO_ENVELOPE = "no_envelope"
    NO_PAYLOAD = "no_payload"
    UNKNOWN_BIZ_TYPE = "unknown_biz_type"
    UNKNOWN_EVENT_TYPE = "unknown_event_type"
    EMPTY_ID = "empty_id"
    NO_ACCOUNT = "no_account"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    BAD_AMOUNT = "bad_amount"
    BAD_TIME = "bad_time"
    ID_CONFLICT = "id_conflict"
    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"
    INTERNAL_ERROR = "internal_error"


# What versions before called a reason: quarantine records keep it for as long as the topic keeps them.
FORMER_REASONS: Final = {"unforeseen": Reason.INTERNAL_ERROR}


class InvalidEvent(ValueError):
    """An event that cannot become a typed record.

    `pointer` is the JSON Pointer (RFC 6901) from the envelope's root to the offending value, "" for the whole event.
    `detail` is for people: it may quote the value, so it belongs in the quarantine and not in logs.
    """

    def __init__(self, reason: Reason, pointer: str = "", detail: str = "") -> None:
        super().__init__(reason, pointer, detail)
        self.reason = reason
        self.pointer = pointer
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail} at {self.pointer or 'the whole event'}"

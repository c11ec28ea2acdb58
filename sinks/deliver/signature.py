"""Signatures of webhooks, as Standard Webhooks 1.0 defines them. Pure."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from standardwebhooks.webhooks import Webhook

_LEAST_BYTES: Final = 24
_PREFIX: Final = "whsec_"


class SigningSecretError(ValueError):
    """A secret that can't sign. The text doesn't quote it."""


class Signer:
    """Signs with every secret, the new and the old one while they rotate."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """`secrets`: `whsec_` and at least 24 bytes in base64. Raises SigningSecretError."""
        for secret in secrets:
            if not secret.startswith(_PREFIX):
                raise SigningSecretError(f"a secret must begin with {_PREFIX}")
            try:
                size = len(binascii.a2b_base64(secret.removeprefix(_PREFIX), strict_mode=True))
            except binascii.Error:
                raise SigningSecretError(f"a secret must be {_PREFIX} and base64") from None
            if size < _LEAST_BYTES:
                raise SigningSecretError(f"a secret must have {_LEAST_BYTES} bytes or more, this one has {size}")
        self._webhooks = [Webhook(secret) for secret in secrets]

    def headers(self, alert_id: str, body: str, now_s: int) -> dict[str, str]:
        """Return `webhook-id`, `-timestamp` (Unix seconds) and `-signature` of a request."""
        at = datetime.fromtimestamp(now_s, UTC)
        return {
            "webhook-id": alert_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": " ".join(webhook.sign(alert_id, at, body) for webhook in self._webhooks),
        }

"""The brokerage's request signature for gRPC calls.

Source: the brokerage's Signature guide and its published SDKs.

Five parameters, sorted by name, become `name=value` pairs joined with "="; then "&" and the hex digest of the
serialised request; the whole is percent-encoded and signed with HMAC, key = app secret + "&". Neither host nor path is
signed. The digest is MD5 with HMAC-SHA1 and SHA-256 with HMAC-SHA256, in lower case (HTTP calls use upper case).
"""

import base64
import hashlib
import hmac
from enum import StrEnum
from urllib.parse import quote

APP_KEY = "x-app-key"
ALGORITHM = "x-signature-algorithm"
VERSION = "x-signature-version"
NONCE = "x-signature-nonce"
TIMESTAMP = "x-timestamp"
SIGNATURE = "x-signature"

SIGNATURE_VERSION = "1.0"
TIMESTAMP_FORMAT = "%Y-%m-%dT%H:%M:%SZ"  # of x-timestamp, UTC


class SignatureAlgorithm(StrEnum):
    HMAC_SHA1 = "HMAC-SHA1"
    HMAC_SHA256 = "HMAC-SHA256"


def sign(
    request: bytes, *, app_key: str, app_secret: str, algorithm: SignatureAlgorithm, nonce: str, timestamp: str
) -> str:
    """Return the x-signature value, base64.

    `request` is the serialised message exactly as sent; `timestamp` is in TIMESTAMP_FORMAT.
    """
    if algorithm is SignatureAlgorithm.HMAC_SHA1:
        body, digest = hashlib.md5(request, usedforsecurity=False).hexdigest(), "sha1"
    else:
        body, digest = hashlib.sha256(request).hexdigest(), "sha256"
    parameters = {
        APP_KEY: app_key,
        ALGORITHM: algorithm.value,
        VERSION: SIGNATURE_VERSION,
        NONCE: nonce,
        TIMESTAMP: timestamp,
    }
    pairs = "=".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    text = quote(f"{pairs}&{body}", safe="")  # keeps A-Z a-z 0-9 - . _ ~ as the guide requires
    return base64.b64encode(hmac.digest(f"{app_secret}&".encode(), text.encode(), digest)).decode()


def signed_metadata(
    request: bytes, *, app_key: str, app_secret: str, algorithm: SignatureAlgorithm, nonce: str, timestamp: str
) -> tuple[tuple[str, str], ...]:
    """Return the gRPC metadata of one call.

    Nonce and timestamp must be new for each attempt: the brokerage rejects replays.
    """
    signature = sign(
        request, app_key=app_key, app_secret=app_secret, algorithm=algorithm, nonce=nonce, timestamp=timestamp
    )
    return (
        (APP_KEY, app_key),
        (ALGORITHM, algorithm.value),
        (VERSION, SIGNATURE_VERSION),
        (NONCE, nonce),
        (TIMESTAMP, timestamp),
        (SIGNATURE, signature),
    )

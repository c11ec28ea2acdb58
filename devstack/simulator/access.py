"""Who may subscribe: the signed metadata of a call, checked as the brokerage's Signature guide asks.

Assumed: the clock window (300 s), that a nonce may not come twice within it, the wording of refusals.
"""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

from broker_events.ingest.sources import signature
from broker_events.ingest.sources.signature import SignatureAlgorithm


class Refused(Exception):
    """The call may not subscribe; the message says why."""


class Access:
    def __init__(self, app_key: str, app_secret: str, window_s: float) -> None:
        self._app_key = app_key
        self._app_secret = app_secret
        self._window_s = window_s
        self._nonces: dict[str, float] = {}  # nonce -> Unix time from which on its timestamp is too old anyway

    def check(self, metadata: Mapping[str, str], request: bytes, now: float) -> None:
        """Raise Refused unless the signature is valid at `now` (Unix seconds). Each nonce is valid once."""
        names = (signature.APP_KEY, signature.NONCE, signature.TIMESTAMP, signature.SIGNATURE)
        for name in (*names, signature.ALGORITHM, signature.VERSION):
            if not metadata.get(name):
                raise Refused(f"no {name}")
        app_key, nonce, timestamp, signed = (metadata[name] for name in names)
        if app_key != self._app_key:
            raise Refused(f"unknown {signature.APP_KEY}")
        if metadata[signature.VERSION] != signature.SIGNATURE_VERSION:
            raise Refused(f"{signature.VERSION} is not {signature.SIGNATURE_VERSION}")
        try:
            algorithm = SignatureAlgorithm(metadata[signature.ALGORITHM])
            made = datetime.strptime(timestamp, signature.TIMESTAMP_FORMAT).replace(tzinfo=UTC).timestamp()
        except ValueError as error:
            raise Refused(str(error)) from error
        expected = signature.sign(
            request,
            app_key=app_key,
            app_secret=self._app_secret,
            algorithm=algorithm,
            nonce=nonce,
            timestamp=timestamp,
        )
        if not hmac.compare_digest(expected.encode(), signed.encode()):
            raise Refused(f"wrong {signature.SIGNATURE}")
        if abs(now - made) > self._window_s:
            raise Refused(f"{signature.TIMESTAMP} is more than {self._window_s:g} s off")
        self._nonces = {known: end for known, end in self._nonces.items() if end > now}
        if nonce in self._nonces:
            raise Refused(f"{signature.NONCE} was used before")
        self._nonces[nonce] = made + self._window_s

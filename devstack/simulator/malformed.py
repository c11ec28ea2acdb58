"""Malformed events: distinct events of the log that a receiver must keep but can't process.

Each takes the shape of a fee deduction on an account of its own, so that the valid events around it and what they mean
stay as they are. The names say what a strict reader finds wrong first. Broken UTF-8 is missing: a protobuf string can't
carry it.
"""

from collections.abc import Callable
from random import Random

from broker_events.devstack.simulator.event import FUNDING, Draft, Moment

_VALID = (
    '{{"account":"{account}","contra_account":"41IO9QG4M5O65B0EA4LSJ4UJ99","client_request_id":"{key}","fee_id":"{key}",'
    '"amount":"12.50","currency":"USD","type":"SERVICE_FEE","status":"COMPLETED","update_time":"{time}",'
    '"biz_type":"FEE_DEDUCTION"}}'
)
DEPTH = 20_000

_BREAKERS: dict[str, Callable[[str], str]] = {
    "not_json": lambda payload: payload[: len(payload) // 2],
    "no_payload": lambda _: '"FEE_DEDUCTION"',
    "unknown_biz_type": lambda payload: payload.replace('"FEE_DEDUCTION"', '"FEE_FORECAST"'),
    "no_account": lambda payload: '{"contra_account' + payload.split('"contra_account', 1)[1].replace("client_r", "r"),
    "missing_field": lambda payload: payload.replace('"status":"COMPLETED",', ""),
    "wrong_type": lambda payload: payload.replace('"COMPLETED"', '["COMPLETED"]'),
    "bad_amount": lambda payload: payload.replace("12.50", "12,50"),
    "bad_time": lambda payload: payload.replace('"update_time":"20', '"update_time":"20-13-'),
    "too_deep": lambda payload: payload.replace("{", '{"more":' + "[" * DEPTH + "]" * DEPTH + ",", 1),
}
MALFORMED_REASONS = tuple(_BREAKERS)


class MalformedTraffic:
    """Makes malformed events: for one `reason`, or for each in order."""

    def __init__(self, rng: Random, reason: str) -> None:
        self._rng = rng
        self._reasons = (reason,) if reason else MALFORMED_REASONS
        self._made = 0

    def make(self, at: Moment) -> tuple[Draft, str]:
        """Return the event and the name of what is wrong with it."""
        reason = self._reasons[self._made % len(self._reasons)]
        self._made += 1
        account, key = (f"{self._rng.getrandbits(104):026X}" for _ in range(2))
        payload = _BREAKERS[reason](_VALID.format(account=account, key=key, time=at.milliseconds))
        return Draft(FUNDING, "FEE_DEDUCTION", account, payload, nanoseconds=True, documented_position=True), reason

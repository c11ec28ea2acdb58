"""The rules: pure functions from a state and a typed event to the next state and the alerts.

Events and states are in storage form (`schemas.records`): times as int microseconds, decimals as bytes. No Kafka, no
Faust, no clock and no environment in here: the same events always give the same states and alerts.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from processors.rules import account
from processors.rules.alerting import ActiveChange, active_change
from processors.rules.movement import movement, movement_id
from processors.rules.outcome import Flag, Outcome, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PROJECTIONS", "ActiveChange", "Flag", "Outcome", "Projection", "Source", "active_change"]


class Projection(NamedTuple):
    """How one event type is projected.

    `topic` of the state, without the prefix. `key(event, account_key)`: key of the state that the event is about.
    `apply(state or None, event, account_key, source)` gives the `Outcome`; the state given must be that of `key`, and
    is never altered. `account_key` is the Kafka key of the typed record.
    """

    topic: Literal["state.accounts", "state.movements"]
    key: Callable[[Any, str], str]
    apply: Callable[[Any, Any, str, Source], Outcome[Any]]


def _account_key(_event: object, account_key: str) -> str:
    return account_key


_MOVEMENT: Final = Projection("state.movements", movement_id, movement)

PROJECTIONS: Final[Mapping[str, Projection]] = MappingProxyType(
    {
        "ACCOUNT_UPDATE": Projection("state.accounts", _account_key, account.account_update),
        "VIRTUAL_ACCOUNT_BCAN_UPDATE": Projection("state.accounts", _account_key, account.virtual_account_bcan_update),
        "ACCOUNT_INFO_UPDATE": Projection("state.accounts", _account_key, account.account_info_update),
        "ACCOUNT_RESTRICT": Projection("state.accounts", _account_key, account.restrict_infos),
        "ACCOUNT_UNRESTRICTED": Projection("state.accounts", _account_key, account.restrict_infos),
        "ACCOUNT_CLOSE": Projection("state.accounts", _account_key, account.account_close),
        "FEE_DEDUCTION": _MOVEMENT,
        "CREDIT": _MOVEMENT,
        "INSTANT_FUNDING": _MOVEMENT,
        "INSTANT_EXCHANGE": _MOVEMENT,
        "EXCHANGE": _MOVEMENT,
        "TRANSFER": _MOVEMENT,
    }
)
"""By biz_type. An event type that is not in here has a typed topic and no state."""

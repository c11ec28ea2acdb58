"""The rules: pure functions from a state and a typed event to the next state and the alerts.

Events and states are in storage form (`schemas.storage_types`): times as int microseconds, decimals as bytes. Rules use
no Kafka, Faust, clock or environment. So the same events always produce the same states and alerts.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from broker_events.processors.rules import account
from broker_events.processors.rules.alerting import ActiveChange, active_change
from broker_events.processors.rules.linking import index_keys, linked_movement
from broker_events.processors.rules.outcome import Flag, Link, Outcome, Projected, RecordOrigin, StateReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker_events.schemas.storage_types import AccountState

__all__ = [
    "INDEX_KEYS",
    "PROJECTIONS",
    "ActiveChange",
    "Flag",
    "Link",
    "Outcome",
    "Projection",
    "RecordOrigin",
    "active_change",
]


class Projection(NamedTuple):
    """How one event type is projected.

    `topic` of the state, without the prefix. `apply(table, event, account_key, source)` returns what to put into the
    table, and never alters a state of the table. `account_key` is the Kafka key of the typed record.
    """

    topic: Literal["state.accounts", "state.movements"]
    apply: Callable[[StateReader[Any], Any, str, RecordOrigin], Projected[Any]]


def _of_account(rule: Callable[[AccountState | None, Any, str, RecordOrigin], Outcome[AccountState]]) -> Projection:
    def apply(table: StateReader[Any], event: Any, account_key: str, source: RecordOrigin) -> Projected[AccountState]:  # noqa: ANN401
        key = account_key.encode()
        state = table.get(key)
        return key, state, rule(state, event, account_key, source), None

    return Projection("state.accounts", apply)


_MOVEMENT: Final = Projection("state.movements", linked_movement)

INDEX_KEYS: Final[Mapping[str, Callable[[Any], tuple[bytes, ...]]]] = MappingProxyType({"state.movements": index_keys})
"""By topic: the keys of a state's entries in the index."""

PROJECTIONS: Final[Mapping[str, Projection]] = MappingProxyType(
    {
        "ACCOUNT_UPDATE": _of_account(account.account_update),
        "VIRTUAL_ACCOUNT_BCAN_UPDATE": _of_account(account.virtual_account_bcan_update),
        "ACCOUNT_INFO_UPDATE": _of_account(account.account_info_update),
        "ACCOUNT_RESTRICT": _of_account(account.restrict_infos),
        "ACCOUNT_UNRESTRICTED": _of_account(account.restrict_infos),
        "ACCOUNT_CLOSE": _of_account(account.account_close),
        "FEE_DEDUCTION": _MOVEMENT,
        "CREDIT": _MOVEMENT,
        "INSTANT_FUNDING": _MOVEMENT,
        "INSTANT_EXCHANGE": _MOVEMENT,
        "EXCHANGE": _MOVEMENT,
        "TRANSFER": _MOVEMENT,
    }
)
"""By biz_type. An event type without a projection has a typed topic and no state."""

"""Draws the sequence of events of the simulated brokerage."""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from broker_events.devstack.simulator.account_traffic import AccountTraffic
from broker_events.devstack.simulator.event import Draft, Event, Moment
from broker_events.devstack.simulator.faults import Fault, FaultKind, Trigger
from broker_events.devstack.simulator.funding_traffic import FundingTraffic
from broker_events.devstack.simulator.malformed import MalformedTraffic


class Traffic:
    """Events one after another: the same seed, accounts and malformed faults give the same ones.

    With another clock only the times differ. Counts what it has drawn: `by_biz_type` (valid events), `malformed` (by
    reason), and the alerts that this means: `expected_alerts()`.
    """

    def __init__(self, seed: int, accounts: int, faults: Sequence[Fault] = ()) -> None:
        self._rng = Random(seed)  # noqa: S311  reproducible on purpose
        self._accounts = AccountTraffic(self._rng, accounts)
        self._funding = FundingTraffic(self._rng, self._accounts)
        self._makers = self._mix()
        malformed = [fault for fault in faults if fault.kind is FaultKind.MALFORMED]
        self._malformed = [
            (
                Trigger(fault, f"fault/{seed}/{number}/{fault}"),
                MalformedTraffic(Random(f"malformed/{seed}/{number}"), fault.argument),  # noqa: S311
            )
            for number, fault in enumerate(malformed)
        ]
        self._next_malformed = min((trigger.next for trigger, _ in self._malformed), default=float("inf"))
        self._drawn = 0
        self.by_biz_type: Counter[str] = Counter()
        self.malformed: Counter[str] = Counter()

    def _mix(self) -> tuple[Callable[[Moment], Draft], ...]:
        """Return the mix in percent. The shares are assumed: no public document has them."""
        accounts, funding = self._accounts, self._funding
        shares = (
            (funding.transfer, 34),
            (funding.instant_funding, 12),
            (funding.hk_instant_funding, 6),
            (funding.fee, 12),
            (funding.credit, 8),
            (funding.exchange, 5),
            (funding.instant_exchange, 5),
            (accounts.update, 8),
            (accounts.info_update, 4),
            (accounts.restriction, 3),
            (accounts.bcan, 2),
            (accounts.close, 1),
        )
        return tuple(maker for maker, share in shares for _ in range(share))

    def next(self, time_ns: int) -> Event:
        """Draw the next event as it happens at `time_ns` (Unix time)."""
        at = Moment(time_ns)
        self._drawn += 1
        reason: str | None = None
        if self._drawn >= self._next_malformed:
            draft, reason = self._make_malformed(at)
            self.malformed[reason] += 1
        else:
            draft = self._makers[int(self._rng.random() * len(self._makers))](at)
            self.by_biz_type[draft.biz_type] += 1
        # A UUID's form, from the event's number (unique) and the seeded generator (looks like one).
        bits = f"{self._rng.getrandbits(80):020x}" if reason is None else f"{self._drawn:020x}"
        number = f"{self._drawn:012x}"
        return Event(
            event_id=f"event_{bits[:8]}-{bits[8:12]}-4{bits[12:15]}-8{bits[15:18]}-{number}",
            event_type=draft.event_type,
            biz_type=draft.biz_type,
            account=draft.account,
            timestamp=at.nanoseconds if draft.nanoseconds else at.milliseconds,
            payload=draft.payload,
            documented_position=draft.documented_position,
            malformed=reason,
        )

    def _make_malformed(self, at: Moment) -> tuple[Draft, str]:
        makers = [maker for trigger, maker in self._malformed if trigger.fire(self._drawn)]
        self._next_malformed = min(trigger.next for trigger, _ in self._malformed)
        return makers[0].make(at)

    def expected_alerts(self) -> dict[str, dict[str, int]]:
        """Count the alerts that the events so far mean, by rule and status; `active`: conditions that hold now."""
        fired, resolved = self._accounts.liquidate_only_fired, self._accounts.liquidate_only_resolved
        return {
            "LIQUIDATE_ONLY": {"FIRING": fired, "RESOLVED": resolved, "active": fired - resolved},
            "TRANSFER_RETURNED": {"FIRING": self._funding.transfers_returned},
        }

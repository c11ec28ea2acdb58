"""Account events with valid life cycles: restriction snapshots, restrictions, BCAN, info updates, closes.

Three kinds of account, as the brokerage's pages have them: omnibus accounts (ACCOUNT_UPDATE), virtual accounts (BCAN)
and client accounts (the rest). Assumed: the account numbers' form beyond the samples, restriction codes other than
RISK, that RESTRICT lists what is in force and UNRESTRICTED what was lifted, that an account with something open isn't
closed.
"""

from dataclasses import dataclass, field
from random import Random

from broker_events.devstack.simulator.event import ACCOUNT, Draft, Moment

MARKETS = ("HK", "US", "CN")
RESTRICTIONS = tuple(f"{market}_STOCK_{what}" for market in MARKETS for what in ("NO_TRADE", "LIQUIDATE_ONLY"))
LIQUIDATE_ONLY = sum(1 << bit for bit, code in enumerate(RESTRICTIONS) if code.endswith("LIQUIDATE_ONLY"))
SNAPSHOTS = tuple(
    ",".join(f'"{code}"' for bit, code in enumerate(RESTRICTIONS) if mask >> bit & 1)
    for mask in range(1 << len(RESTRICTIONS))
)
REASONS = {
    "RISK": "Unusual trading activity detected.",
    "COMPLIANCE": "Identity document expired.",
    "LEGAL": "Court order received.",
}


@dataclass(slots=True)
class Account:
    account_id: str
    number: str
    account_type: str
    snapshot: int = 0  # bit mask over RESTRICTIONS
    restrict_infos: dict[str, str] = field(default_factory=dict)  # code -> JSON text of the item
    open_transfers: int = 0  # completed transfers that will still be returned


class AccountTraffic:
    """Draws account events and counts the LIQUIDATE_ONLY transitions that they mean."""

    def __init__(self, rng: Random, accounts: int) -> None:
        self._rng = rng
        self._opened = 0
        virtual = max(1, accounts // 10)
        omnibus = max(1, (accounts - virtual) * 2 // 5)
        self.omnibus = [self._open("5KT") for _ in range(omnibus)]
        self.virtual = [self._open("VA") for _ in range(virtual)]
        self.clients = [self._open_client() for _ in range(accounts - omnibus - virtual)]
        self.hk = self.omnibus + self.virtual
        self.liquidate_only_fired = 0
        self.liquidate_only_resolved = 0

    def _open(self, prefix: str) -> Account:
        self._opened += 1
        account_type = "MARGIN" if self._rng.random() < 0.3 else "CASH"  # noqa: PLR2004  a share
        return Account(f"{self._rng.getrandbits(104):026X}", f"{prefix}{self._opened:07d}", account_type)

    def _open_client(self) -> Account:
        self._opened += 1
        return Account(str(10**18 + self._rng.getrandbits(57)), f"CTH{self._opened:07d}", "CASH")

    def pick(self, accounts: list[Account]) -> Account:
        """Pick one, a few much more often than most."""
        draw = self._rng.random()
        return accounts[int(draw * draw * len(accounts))]

    def update(self, at: Moment) -> Draft:
        account = self.pick(self.omnibus)
        before = account.snapshot
        toggled = before ^ 1 << self._rng.randrange(len(RESTRICTIONS))
        after = 0 if before and self._rng.random() < 0.4 else toggled  # noqa: PLR2004  a share
        account.snapshot = after
        self.liquidate_only_fired += (after & ~before & LIQUIDATE_ONLY).bit_count()
        self.liquidate_only_resolved += (before & ~after & LIQUIDATE_ONLY).bit_count()
        payload = (
            f'{{"account_id":"{account.account_id}","account_number":"{account.number}",'
            f'"account_type":"{account.account_type}","restrictions":[{SNAPSHOTS[after]}],'
            f'"update_time":"{at.milliseconds}","biz_type":"ACCOUNT_UPDATE"}}'
        )
        return Draft(
            ACCOUNT, "ACCOUNT_UPDATE", account.account_id, payload, nanoseconds=False, documented_position=True
        )

    def bcan(self, at: Moment) -> Draft:
        account = self.pick(self.virtual)
        status = "SUCCESS" if self._rng.random() < 0.8 else "FAILED"  # noqa: PLR2004  a share
        payload = (
            f'{{"account_id":"{account.account_id}","account_number":"{account.number}",'
            f'"account_type":"{account.account_type}","type":"CN","status":"{status}",'
            f'"update_time":"{at.milliseconds}","biz_type":"VIRTUAL_ACCOUNT_BCAN_UPDATE"}}'
        )
        biz_type = "VIRTUAL_ACCOUNT_BCAN_UPDATE"
        return Draft(ACCOUNT, biz_type, account.account_id, payload, nanoseconds=False, documented_position=True)

    def info_update(self, at: Moment) -> Draft:
        account = self.pick(self.clients)
        if self._rng.random() < 0.8:  # noqa: PLR2004  a share
            first, status = "request_id", "APPROVED"
        else:  # the brokerage's own sample of a rejection has the key client_request_id twice
            first, status = "client_request_id", "REJECTED"
        payload = (
            f'{{"{first}":"{self._request()}","account_id":"{account.account_id}","account_number":"{account.number}",'
            f'"client_request_id":"{self._request()}","biz_type":"ACCOUNT_INFO_UPDATE","status":"{status}",'
            f'"timestamp":"{at.milliseconds}"}}'
        )
        return self._draft("ACCOUNT_INFO_UPDATE", account, payload)

    def restriction(self, at: Moment) -> Draft:
        """Restrict an account, or lift everything from one that is restricted."""
        account = self.pick(self.clients)
        infos = account.restrict_infos
        if infos and self._rng.random() < 0.6:  # noqa: PLR2004  a share
            biz_type, listed = "ACCOUNT_UNRESTRICTED", ",".join(infos.values())
            infos.clear()
        else:
            code = self._rng.choice(tuple(REASONS))
            infos.setdefault(
                code,
                f'{{"restriction_code":"{code}","restriction_start_time":"{at.milliseconds}",'
                f'"reason":"{REASONS[code]}"}}',
            )
            biz_type, listed = "ACCOUNT_RESTRICT", ",".join(infos.values())
        payload = (
            f'{{"client_request_id":"{self._request()}","account_id":"{account.account_id}",'
            f'"account_number":"{account.number}","biz_type":"{biz_type}","restrict_infos":[{listed}],'
            f'"timestamp":"{at.milliseconds}"}}'
        )
        return self._draft(biz_type, account, payload)

    def close(self, at: Moment) -> Draft:
        """Close an account and open another in its place; rejected while it is restricted or a transfer is open."""
        index = self._rng.randrange(len(self.clients))
        account = self.clients[index]
        if account.restrict_infos or account.open_transfers:
            status = "REJECTED"
        else:
            status = "APPROVED"
            self.clients[index] = self._open_client()
        payload = (
            f'{{"client_request_id":"{self._request()}","account_id":"{account.account_id}",'
            f'"account_number":"{account.number}","biz_type":"ACCOUNT_CLOSE","status":"{status}",'
            f'"timestamp":"{at.milliseconds}"}}'
        )
        return self._draft("ACCOUNT_CLOSE", account, payload)

    def _request(self) -> str:
        return f"{self._rng.getrandbits(128):032x}"

    def _draft(self, biz_type: str, account: Account, payload: str) -> Draft:
        return Draft(ACCOUNT, biz_type, account.account_id, payload, nanoseconds=True, documented_position=True)

"""Funding events: transfers, fees, credits, instant fundings in both documented shapes, exchanges.

Every request has one event with its outcome; a COMPLETED transfer may have a RETURNED one later. Assumed: the direction
WITHDRAWAL, the shares of the outcomes, the wording of reasons.
"""

from collections import deque
from random import Random
from typing import NamedTuple

from broker_events.devstack.simulator.account_traffic import Account, AccountTraffic
from broker_events.devstack.simulator.event import FUNDING, Draft, Moment

# (status, its JSON members): 17 of 20 requests complete.
OUTCOMES = (
    *[("COMPLETED", '"status":"COMPLETED"')] * 17,
    ("CANCELED", '"status":"CANCELED","reason":"Canceled by the client."'),
    ("REJECTED", '"status":"REJECTED","reason":"Insufficient balance."'),
    ("FAILED", '"status":"FAILED","reason":"The bank did not answer."'),
)
RETURNED = '"status":"RETURNED","reason":"R01 Insufficient funds."'
RETURN_SHARE = 0.1  # of the completed transfers
RETURN_AFTER = 50  # transfers
FIRM_ACCOUNT = "41IO9QG4M5O65B0EA4LSJ4UJ99"
RATES = (("USD", "HKD", 78000), ("HKD", "USD", 1282), ("USD", "CNH", 71234), ("HKD", "CNH", 9133))  # rate in 1/10000


class _Returnable(NamedTuple):
    due: int  # in transfers drawn
    account: Account
    members: str


class FundingTraffic:
    """Draws funding events on the accounts of `accounts`, and counts the returned transfers."""

    def __init__(self, rng: Random, accounts: AccountTraffic) -> None:
        self._rng = rng
        self._accounts = accounts
        self._transfers = 0
        self._returnable: deque[_Returnable] = deque()
        self.transfers_returned = 0

    def transfer(self, at: Moment) -> Draft:
        self._transfers += 1
        if self._returnable and self._returnable[0].due <= self._transfers:
            _, account, members = self._returnable.popleft()
            account.open_transfers -= 1
            self.transfers_returned += 1
            return self._transfer_draft(account, members, RETURNED, at)
        account = self._accounts.pick(self._accounts.clients)
        members = self._transfer_members()
        status, outcome = self._outcome()
        if status == "FAILED":  # not an outcome of transfers
            status, outcome = OUTCOMES[-2]
        if status == "COMPLETED" and self._rng.random() < RETURN_SHARE:
            account.open_transfers += 1
            self._returnable.append(_Returnable(self._transfers + RETURN_AFTER, account, members))
        return self._transfer_draft(account, members, outcome, at)

    def _transfer_members(self) -> str:
        draw = self._rng.random()
        direction = "DEPOSIT" if draw < 0.7 else "WITHDRAWAL"  # noqa: PLR2004  a share
        members = f'"client_request_id":"{self._key()}",'
        if self._rng.random() < 0.5:  # noqa: PLR2004  in the brokerage's table of fields, but in none of its samples
            members += f'"transfer_id":"{self._key()}",'
        if self._rng.random() < 0.8:  # noqa: PLR2004  a share
            members += f'"transfer_type":"ACH","ach_relationship_id":"{self._key()}",'
        else:
            members += (
                f'"transfer_type":"WIRE","bank_relationship_id":"{self._key()}","fee":"25.00",'
                '"additional_information":"Incoming wire",'
            )
        return f'{members}"amount":"{self._amount()}","currency":"USD","direction":"{direction}"'

    @staticmethod
    def _transfer_draft(account: Account, members: str, outcome: str, at: Moment) -> Draft:
        payload = (
            f'{{"account_id":"{account.account_id}",{members},{outcome},'
            f'"update_time":"{at.milliseconds}","biz_type":"TRANSFER"}}'
        )
        return Draft(FUNDING, "TRANSFER", account.account_id, payload, nanoseconds=True, documented_position=True)

    def fee(self, at: Moment) -> Draft:
        # The brokerage's samples carry instant_funding_id where its table of fields says fee_id.
        name = "fee_id" if self._rng.random() < 0.5 else "instant_funding_id"  # noqa: PLR2004  a share
        return self._charge("FEE_DEDUCTION", name, "SERVICE_FEE", at)

    def credit(self, at: Moment) -> Draft:
        return self._charge("CREDIT", "credit_id", "GIFTING", at)

    def _charge(self, biz_type: str, id_name: str, kind: str, at: Moment) -> Draft:
        account = self._accounts.pick(self._accounts.clients).account_id
        payload = (
            f'{{"account":"{account}","contra_account":"{FIRM_ACCOUNT}","client_request_id":"{self._key()}",'
            f'"{id_name}":"{self._key()}","amount":"{self._amount()}","currency":"USD","type":"{kind}",'
            f'{self._outcome()[1]},"update_time":"{at.milliseconds}","biz_type":"{biz_type}"}}'
        )
        return Draft(FUNDING, biz_type, account, payload, nanoseconds=True, documented_position=True)

    def instant_funding(self, at: Moment) -> Draft:
        account = self._accounts.pick(self._accounts.clients).account_id
        payload = (
            f'{{"account_id":"{account}","client_request_id":"{self._key()}","instant_funding_id":"{self._key()}",'
            f'"amount":"{self._amount()}","currency":"USD","type":"DEPOSIT","bank_relationship_id":"{self._key()}",'
            f'{self._outcome()[1]},"update_time":"{at.milliseconds}","biz_type":"INSTANT_FUNDING"}}'
        )
        return Draft(FUNDING, "INSTANT_FUNDING", account, payload, nanoseconds=True, documented_position=True)

    def hk_instant_funding(self, _: Moment) -> Draft:
        account = self._accounts.pick(self._accounts.hk).account_id
        payload = (
            f'{{"account_id":"{account}","client_request_id":"{self._key()}","instant_funding_id":"{self._key()}",'
            f'"amount":"{self._amount()}","currency":"HKD","type":"DEPOSIT",{self._outcome()[1]},'
            '"biz_type":"INSTANT_FUNDING"}'
        )
        return Draft(FUNDING, "INSTANT_FUNDING", account, payload, nanoseconds=True, documented_position=False)

    def instant_exchange(self, _: Moment) -> Draft:
        account = self._accounts.pick(self._accounts.hk).account_id
        source, target, from_amount, to_amount, _rate = self._conversion()
        payload = (
            f'{{"account_id":"{account}","client_request_id":"{self._key()}","instant_exchange_id":"{self._key()}",'
            f'"from_amount":"{from_amount}","to_amount":"{to_amount}","from_currency":"{source}",'
            f'"to_currency":"{target}",{self._outcome()[1]},"biz_type":"INSTANT_EXCHANGE"}}'
        )
        return Draft(FUNDING, "INSTANT_EXCHANGE", account, payload, nanoseconds=True, documented_position=False)

    def exchange(self, _: Moment) -> Draft:
        account = self._accounts.pick(self._accounts.hk).account_id
        source, target, from_amount, to_amount, rate = self._conversion()
        status, outcome = self._outcome()
        result = fx_rate = ""
        if status == "COMPLETED":  # the brokerage sends rate and result only then
            result, fx_rate = f'"to_amount":"{to_amount}",', f'"fx_rate":"{rate}",'
        payload = (
            f'{{"account_id":"{account}","client_request_id":"{self._key()}","fx_id":"{self._key()}",'
            f'"from_amount":"{from_amount}",{result}"from_currency":"{source}","to_currency":"{target}",{fx_rate}'
            f'{outcome},"biz_type":"EXCHANGE"}}'
        )
        return Draft(FUNDING, "EXCHANGE", account, payload, nanoseconds=True, documented_position=False)

    def _conversion(self) -> tuple[str, str, str, str, str]:
        source, target, rate = self._rng.choice(RATES)
        units = 1 + int(self._rng.random() * 100_000)
        whole, rest = divmod(units * rate, 10_000)
        return source, target, str(units), f"{whole}.{rest:04d}", f"{rate // 10_000}.{rate % 10_000:04d}"

    def _outcome(self) -> tuple[str, str]:
        return OUTCOMES[int(self._rng.random() * len(OUTCOMES))]

    def _amount(self) -> str:
        draw = self._rng.random()
        cents = 100 + int(draw * draw * draw * 10_000_000)
        return f"{cents // 100}.{cents % 100:02d}" if cents % 4 else str(cents // 100)

    def _key(self) -> str:
        return f"{self._rng.getrandbits(104):026X}"

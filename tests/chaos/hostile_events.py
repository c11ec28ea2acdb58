"""Hostile but parseable events: a simulator that mixes them into its traffic, the same ones for the same seed.

`python hostile_events.py SHARE simulate ...` is `broker-events simulate ...` with a SHARE (0 to 1) of hostile events:
texts of every Unicode plane and of every length that fits, numbers of every size, clocks of the years 1 to 9999, other
spellings of JSON, statuses and restrictions, equal and reversed times, repeats in other bytes, accounts that change
their number, and events that the router has to reject. Only stamps just ahead of the receipt follow the clock.

The journal calls them `hostile`, or `hostile:WHY`: a reason of the quarantine, or `repeat` of an earlier event. What
links movements known under different ids has true clocks and terms that don't change (ADR 14: arrival decides there).
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from expected_events import CONTRACTS  # noqa: E402 (found by the line above)

from broker_events.devstack.simulator import simulator  # noqa: E402
from broker_events.devstack.simulator.event import Event  # noqa: E402
from broker_events.devstack.simulator.event_log import EventLog  # noqa: E402
from broker_events.devstack.simulator.traffic import Traffic  # noqa: E402
from broker_events.schemas.headers import SIMULATED  # noqa: E402

HOSTILE = "hostile"
POSITION = "<position>"  # stands for the position, which the log gives
MAX_ID_BYTES = 4096
MOVEMENTS, RECENT = 600, 1500
KEY_MEMBERS = ("account_id", "account", "account_number", "client_request_id")
FUNDING_IDS = {
    "TRANSFER": "transfer_id",
    "FEE_DEDUCTION": "fee_id",
    "CREDIT": "credit_id",
    "INSTANT_FUNDING": "instant_funding_id",
    "INSTANT_EXCHANGE": "instant_exchange_id",
    "EXCHANGE": "fx_id",
}
ACCOUNT_TYPES = tuple(name for name in CONTRACTS if name not in FUNDING_IDS)
OF_A_FEE = ("FEE_DEDUCTION", "CREDIT")  # may name the account `account`
REQUIRED = ("status", "currency", "amount", "from_amount", "from_currency", "to_currency", "restrictions")
WORDS = ("COMPLETED", "RETURNED", "RETURNED", "CANCELED", "REJECTED", "FAILED", "APPROVED", "SUCCESS")
MARKETS = ("HK_STOCK_", "US_STOCK_", "CN_STOCK_", "JP_STOCK_", "ΕΛ_STOCK_", "")
ASCII = [*map(chr, range(0x20, 0x7F))]
PLANES = (  # a text takes its characters from two of these, or from ASCII
    *((0x20, 0x7E), (0x30, 0x39), (0x00, 0x1F), (0x7F, 0x24F), (0x300, 0x36F), (0x5D0, 0x5EA)),
    *((0x2000, 0x206F), (0x4E00, 0x9FFF), (0xE000, 0xF8FF), (0xFE00, 0xFFFF)),
    *((plane << 16, (plane << 16) + 0xFFFF) for plane in range(1, 17)),
)
BLANKS = (" ", "\n", "\t", "\r\n ")
BAD_AMOUNTS = ("", " 1", "+1", "1,5", "NaN", "Infinity", "0x10", "\u0661", "1e", "1" + "0" * 20, "0." + "0" * 18 + "1")
BAD_TIMES = (
    *("", "2026-02-30T00:00:00Z", "2026-01-31T24:00:00Z", "2016-12-31T23:59:60Z", "0000-01-01T00:00:00Z"),
    *("10000-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "2026-01-01 00:00:00Z"),
    *("2026-01-01T00:00:00.0123456789Z", "2026-01-01T00:00:00"),
)
LAST_YEAR = (1_735_689_600, 1_767_225_600)  # 2025, in Unix seconds
TERMS = (
    *("type", "transfer_type", "direction", "instant_funding_id", "currency", "from_currency", "to_currency"),
    *("amount", "from_amount", "to_amount", "fx_rate"),
)
FREE_TEXTS = ("reason", "additional_information")
Json = dict[str, Any]


class Number(str):
    """A JSON number as written."""

    __slots__ = ()


class Twice(tuple[Any, Any]):
    """Two values of one member; the last one counts."""

    __slots__ = ()


class Hostile:
    """Draws hostile events."""

    def __init__(self, rng: Random, accounts: int) -> None:
        self._rng = rng
        self._made = 0
        self._alphabets = [
            [chr(first), chr(last), *map(chr, rng.choices(range(first, last + 1), k=200))] for first, last in PLANES
        ]
        self._accounts = [self._id() for _ in range(accounts)]
        self._movements: list[tuple[str, str, list[Json], list[str]]] = []
        self._recent: deque[tuple[str, Json, Event]] = deque(maxlen=RECENT)
        self._times = deque(["2026-01-01T00:00:00Z"], maxlen=20)

    def event(self, number: int) -> Event:
        rng = self._rng
        if self._recent and rng.random() < 0.15:
            return self._again()
        biz_type, payload, at = self._movement() if rng.random() < 0.6 else self._account()
        # The end of an id is the event's number, by which the journal finds it.
        suffix = f"~{number:x}"
        event_id = self._id(MAX_ID_BYTES - len(suffix)) + suffix
        event_type = "FUNDING" if biz_type in FUNDING_IDS else "ACCOUNT"
        envelope: Json = {"id": event_id, "event_type": event_type, "timestamp": at, "payload": payload}
        if rng.random() < 0.7:
            envelope["position"] = POSITION
        if rng.random() < 0.1:
            payload[self._text(30)] = self._any(2)
        if rng.random() < 0.1:
            envelope[f"{self._text(30)}\u2603"] = self._any(2)  # never the name of a member that is read
        why = self._spoil(biz_type, envelope) if rng.random() < 0.12 else ""
        event = self._write(event_id, event_type, biz_type, envelope, why)
        if not why:
            self._recent.append((biz_type, envelope, event))
        return event

    def _again(self) -> Event:
        """An earlier event in other bytes, or another event under its id."""
        biz_type, envelope, event = self._rng.choice(self._recent)
        why = "repeat"
        if self._rng.random() < 0.2:
            why, envelope = (
                "id_conflict",
                {**envelope, "payload": {**envelope["payload"], "reason": self._text(20) + "!"}},
            )
        return self._write(event.event_id, event.event_type, biz_type, envelope, why)

    def _write(self, event_id: str, event_type: str, biz_type: str, envelope: Json, why: str) -> Event:
        payload, at = envelope.get("payload"), envelope.get("timestamp")
        is_inner = (
            set(envelope) == {"id", "event_type", "timestamp", "payload"} and not why and self._rng.random() < 0.3
        )
        members = payload if isinstance(payload, dict) else {}
        values = (value[1] if isinstance(value, Twice) else value for value in map(members.get, KEY_MEMBERS))
        key = next((value for value in values if value and type(value) is str), "")
        return Event(
            event_id=event_id,
            event_type=event_type,
            biz_type=biz_type,
            account="" if len(key.encode()) > MAX_ID_BYTES else key,
            timestamp=at if isinstance(at, str) else "",
            payload=self._spell(payload if is_inner else {**envelope, SIMULATED: True}),
            documented_position=True,
            malformed=f"{HOSTILE}:{why}" if why else HOSTILE,
        )

    # -- what happens

    def _account(self) -> tuple[str, Json, str]:
        rng = self._rng
        biz_type = rng.choice((*ACCOUNT_TYPES, *["ACCOUNT_UPDATE"] * 6))
        account = rng.choice(self._accounts)
        payload = self._members(biz_type, {"account_id": account})
        if biz_type == "ACCOUNT_INFO_UPDATE" and rng.random() < 0.3:
            payload |= {"account_id": None, "account_number": self._id()}
        if biz_type == "ACCOUNT_UPDATE":
            payload["restrictions"] = [self._restriction() for _ in range(rng.choice((0, 0, 1, 1, 2, 5)))]
        if biz_type.startswith("ACCOUNT_") and "RESTRICT" in biz_type:
            payload["restrict_infos"] = [self._restrict_info() for _ in range(rng.choice((0, 1, 3)))]
        if biz_type == "VIRTUAL_ACCOUNT_BCAN_UPDATE":
            payload["type"] = rng.choice(("CN", "cn", self._text(9)))
        return biz_type, payload, self._time()

    def _movement(self) -> tuple[str, Json, str]:
        """The next event of one of the movements under way; of each, all events are in a list of ids and of times."""
        rng = self._rng
        if len(self._movements) < MOVEMENTS:
            self._movements.append(self._new_movement())
        at = rng.randrange(len(self._movements))
        biz_type, account, ids, times = self._movements[at]
        moment = times.pop() if times else self._time()
        said = ids.pop()
        if not ids:
            self._movements[at] = self._new_movement()
        names: Json = {"account_id": account}
        if biz_type in OF_A_FEE and rng.random() < 0.5:
            names = {"account": account} if rng.random() < 0.7 else {"account_id": account, "account": self._text(9)}
        return biz_type, self._members(biz_type, {**said, **names}), moment

    def _new_movement(self) -> tuple[str, str, list[Json], list[str]]:
        rng = self._rng
        biz_type = rng.choice((*FUNDING_IDS, *["TRANSFER"] * 6))
        account = rng.choice(self._accounts)
        # Ids of different kinds never have one text: the key of a state would have to name the kind.
        self._made += 1
        kinds = ("client_request_id", "r"), (FUNDING_IDS[biz_type], "s")
        request, own = ({name: f"{first}{self._id(4000)}~{self._made}"} for name, first in kinds)
        events = rng.choice((1, 2, 3, 4, 5, 5, 40))
        kind = rng.random()
        if kind < 0.25:  # two movements until an event names both ids; true clocks, no time twice, the same terms
            ids: list[Json] = [*(request if rng.random() < 0.5 else own for _ in range(events)), {**request, **own}]
            rng.shuffle(ids)
            seconds = rng.sample(range(*LAST_YEAR), len(ids))
            said = self._members(biz_type, {**request, **own})
            contract = CONTRACTS[biz_type]
            names = {*TERMS, *contract.amounts} & {*contract.texts, *contract.amounts} - {*own}
            terms = {name: said.get(name) for name in TERMS if name in names}
            ids = [terms | each for each in ids]
            return biz_type, account, ids, [_iso(second, rng.randrange(10**9), 9) for second in seconds]
        if kind < 0.35:
            return biz_type, account, [{}], []  # known by its event alone
        always = request if rng.random() < 0.7 else own
        other = own if always is request else {}
        return biz_type, account, [{**always, **(other if rng.random() < 0.5 else {})} for _ in range(events)], []

    def _members(self, biz_type: str, payload: Json) -> Json:
        """Further members of the payload of this type, required ones and some others."""
        rng, contract = self._rng, CONTRACTS[biz_type]
        ids = ("client_request_id", *FUNDING_IDS.values()) if biz_type in FUNDING_IDS else ()
        payload = {"biz_type": biz_type, **payload}
        for name in (*contract.texts, *contract.amounts, *contract.times):
            if name in payload or name in ids or (name not in REQUIRED and rng.random() < 0.4):
                continue
            if name in contract.amounts:
                payload[name] = self._amount()
            elif name in contract.times:
                payload[name] = self._time()
            else:
                payload[name] = self._status() if name == "status" else self._text(rng.choice((3, 60, 400)))
        if biz_type == "FEE_DEDUCTION" and {*payload} & {"client_request_id", "fee_id"} and rng.random() < 0.5:
            payload.setdefault("instant_funding_id", rng.choice(("shared", "shared too")))
        for name in ("reason", "account_number"):
            if name in contract.texts and rng.random() < 0.1:
                payload[name] = None
        if biz_type in ACCOUNT_TYPES and rng.random() < 0.5:
            payload["account_number"] = f"number {rng.randrange(5)}"
        return payload

    # -- values

    def _text(self, most: int) -> str:
        """Return text of at most this many characters."""
        rng = self._rng
        length = int(most ** rng.random()) if rng.random() < 0.97 else most
        alphabet = rng.choice(self._alphabets) + rng.choice(self._alphabets) if rng.random() < 0.5 else ASCII
        return "".join(rng.choices(alphabet, k=length))

    def _id(self, most: int = MAX_ID_BYTES) -> str:
        """A text of 1 to `most` bytes."""
        text = self._text(int(min(most, 40 if self._rng.random() < 0.98 else most)))
        return text.encode()[:most].decode(errors="ignore") or "x"

    def _any(self, depth: int) -> Any:
        """Any JSON value."""
        rng = self._rng
        kind = rng.randrange(7 if depth else 5)
        if kind == 5:
            return [self._any(depth - 1) for _ in range(rng.randrange(3))]
        if kind == 6:
            return {self._text(9): self._any(depth - 1) for _ in range(rng.randrange(3))}
        return (None, True, self._text(50), Number(rng.choice(("0", "-0", "1E+400", "12.50", "9" * 60))), "")[kind]

    def _spelt(self, word: str) -> str:
        """A word, or the same in other case, width, blanks and punctuation."""
        rng = self._rng
        match rng.randrange(8):
            case 0:
                word = word.lower()
            case 1:
                word = word.title()
            case 2:
                word = "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in word)
            case 3:
                word = word.replace("_", rng.choice("- ./"))
            case _:
                return word
        return rng.choice(("", " ", "\ufeff", "\u00a0", "*")) + word + rng.choice(("", "\n", ".", " "))

    def _status(self) -> str:
        return self._spelt(self._rng.choice(WORDS)) if self._rng.random() < 0.9 else self._text(20)

    def _restriction(self) -> str:
        rng = self._rng
        if rng.random() < 0.1:
            return self._text(30)
        return self._spelt(rng.choice(MARKETS) + rng.choice(("LIQUIDATE_ONLY", "LIQUIDATE_ONLY", "NO_TRADE")))

    def _restrict_info(self) -> Json:
        info: Json = {"restriction_code": self._text(20), "reason": self._text(200)}
        if self._rng.random() < 0.5:
            info["restriction_start_time"] = self._time()
        if self._rng.random() < 0.1:
            info[self._text(9) + "/~"] = self._any(1)
        return info

    def _amount(self) -> str:
        """An amount that fits 20 digits before the point and 18 after it, as a text or a number."""
        rng = self._rng
        whole, fraction = ("".join(rng.choices("0123456789", k=rng.choice((0, 1, 2, most)))) for most in (20, 18))
        digits = (whole + fraction).lstrip("0") or "0"
        literal = rng.choice(
            (
                f"{whole.lstrip('0') or '0'}.{fraction or '0'}{'0' * rng.choice((0, 0, 3, 300))}",
                f"{digits}{rng.choice('eE')}-{len(fraction)}",
                f"0.{digits}{rng.choice('eE')}{len(digits) - len(fraction):{rng.choice(('d', '+d', '03d'))}}",
                rng.choice(("0", "0e99999", "0.0E-40", "99999999999999999999", "1e-18", "1E19")),
            )
        )
        literal = rng.choice(("", "", "-")) + literal
        if rng.random() < 0.5:
            return Number(literal)
        return literal if literal.startswith("-") else rng.choice(("", "0", "000")) + literal

    def _time(self) -> str:
        rng = self._rng
        kind = rng.random()
        if kind < 0.15:
            return rng.choice(self._times)
        now = time.time()
        if kind < 0.6:
            second = rng.uniform(*LAST_YEAR)
        elif kind < 0.75:
            second = rng.uniform(-62_135_500_000, LAST_YEAR[0])
        elif kind < 0.8:
            return rng.choice(
                ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.9999999Z")
            )
        elif kind < 0.9:
            second = now + rng.uniform(-5, 70)
        else:
            second = rng.choice((now + 8 * 3600, rng.uniform(2_000_000_000, 253_402_200_000)))
        text = _iso(int(second), rng.randrange(10**9), rng.randrange(10), rng.choice((0, 0, 0, 480, -300, 345)))
        self._times.append(text)
        return text

    # -- what is wrong

    def _spoil(self, biz_type: str, envelope: Json) -> str:
        """Make the event one that has to be rejected; why."""
        rng, payload, contract = self._rng, envelope["payload"], CONTRACTS[biz_type]
        text = rng.choice(
            [name for name in payload if name in (*contract.texts, "status") and payload[name]] or ["biz_type"]
        )
        time_of, time_name = rng.choice([*((payload, name) for name in contract.times), (envelope, "timestamp")])
        ways: dict[str, Callable[[], object]] = {
            "no_account": lambda: [payload.pop(name, None) for name in ("account_id", "account")],
            "missing_field": lambda: payload.update(
                {rng.choice([n for n in payload if n in REQUIRED] or ["biz_type"]): None}
            ),
            "wrong_type": lambda: payload.update({text: rng.choice(([], {}, False, Number("1"), ["x"]))}),
            "duplicate_key": lambda: payload.update({text: Twice((payload[text], self._text(9) + "?"))}),
            "too_large": lambda: payload.update({text: "é" * 2049}),
            "unknown_biz_type": lambda: payload.update(biz_type=rng.choice((biz_type.lower(), "", self._text(9)))),
            "unknown_event_type": lambda: envelope.update(event_type=rng.choice(("account", "OTHER", "\u202e"))),
            "empty_id": lambda: envelope.update(id=""),
            "no_envelope": lambda: envelope.pop("timestamp"),
            "no_payload": lambda: envelope.update(payload=rng.choice(([], "x", None, Number("1")))),
            "bad_time": lambda: time_of.update({time_name: rng.choice(BAD_TIMES)}),
        }
        if contract.amounts:
            ways["bad_amount"] = lambda: payload.update({rng.choice(contract.amounts): rng.choice(BAD_AMOUNTS)})
        if biz_type == "ACCOUNT_INFO_UPDATE":  # its contract has no account_key, and lets its request id repeat
            ways = {why: way for why, way in ways.items() if why not in ("no_account", "duplicate_key")}
        if text in ("biz_type", *FREE_TEXTS):
            ways.pop("too_large")
        why = rng.choice([*ways])
        if why == "wrong_type" and text == "biz_type":
            payload[text] = Number("1")
        else:
            ways[why]()
        return why

    # -- JSON

    def _spell(self, value: Any) -> str:
        """JSON text of a value in one of its many spellings."""
        rng = self._rng
        if isinstance(value, Number):
            return value
        if isinstance(value, str):
            return self._spell_text(value)
        if isinstance(value, list):
            return "[" + ",".join(self._blank() + self._spell(item) for item in value) + "]"
        if not isinstance(value, dict):
            return json.dumps(value)
        members = [(name, each) for name, of in value.items() for each in (of if isinstance(of, Twice) else (of,))]
        if rng.random() < 0.3 and not any(isinstance(of, Twice) for of in value.values()):
            rng.shuffle(members)
        if members and rng.random() < 0.03:
            members.append(rng.choice(members)) if len(members) == len(value) else None
        texts = [
            f"{self._spell_text(name)}{self._blank()}:{self._blank()}{self._spell(each)}" for name, each in members
        ]
        return "{" + ",".join(self._blank() + text for text in texts) + self._blank() + "}"

    def _blank(self) -> str:
        return self._rng.choice(BLANKS) if self._rng.random() < 0.05 else ""

    def _spell_text(self, text: str) -> str:
        kind = self._rng.random()
        if kind < 0.85:
            return json.dumps(text, ensure_ascii=False)
        if kind < 0.95 or text == POSITION:
            return json.dumps(text)
        units = text.encode("utf-16-be")
        return '"' + "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)) + '"'


def _iso(second: int, nanosecond: int, digits: int, offset_minutes: int = 0) -> str:
    """ISO 8601 of a time in Unix seconds, with this many digits of the second and an offset from UTC."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second, minutes=offset_minutes)
    fraction = f".{nanosecond:09d}"[: digits + 1] if digits else ""
    hours, minutes = divmod(abs(offset_minutes), 60)
    zone = (
        f"{'-' if offset_minutes < 0 else '+'}{hours:02}{':' if second % 2 else ''}{minutes:02}"
        if offset_minutes
        else "Z"
    )
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}{fraction}{zone}"


class HostileTraffic(Traffic):
    """The simulator's traffic and hostile events in between."""

    share = 0.0

    def __init__(self, seed: int, accounts: int, *arguments: Any) -> None:
        super().__init__(seed, accounts, *arguments)
        self._dice = Random(f"share/{seed}")  # noqa: S311 (reproducible on purpose)
        self._hostile = Hostile(Random(f"hostile/{seed}"), accounts)  # noqa: S311

    def next(self, time_ns: int) -> Event:
        if self._dice.random() >= self.share:
            return super().next(time_ns)
        self._drawn += 1
        return self._hostile.event(self._drawn)


class HostileLog(EventLog):
    """Pushes a hostile event's payload as it is."""

    def _payload(self, event: Event, position: str, sequence: int) -> str:
        if (event.malformed or "").startswith(HOSTILE):
            return event.payload.replace(POSITION, position)
        return super()._payload(event, position, sequence)


def main() -> None:
    from broker_events.cli.main import main as cli  # noqa: PLC0415 (the tests that import this need no command)

    HostileTraffic.share = float(sys.argv.pop(1))
    simulator.Traffic = HostileTraffic  # type: ignore[attr-defined,assignment]
    simulator.EventLog = HostileLog  # type: ignore[attr-defined]
    cli()


if __name__ == "__main__":
    main()

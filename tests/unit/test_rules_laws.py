"""Laws that hold for any events: of interleaving, of transitions, of replay."""

from typing import Any, TypeVar
from urllib.parse import unquote

from hypothesis import given, settings
from hypothesis import strategies as st
from rules_events import CN, HK, HK_NO_TRADE, US, account_update, event, fold, time_at, transfer

from broker_events.processors.rules import Flag
from broker_events.processors.rules.liquidate_only import market_of

Event = dict[str, Any]
T = TypeVar("T")

# Few times, so that draws, neighbours in nanoseconds and late events are common.
TIMES = st.sampled_from([0, 1, 999, 1_000, 1_001, 5_000_000, 5_000_001])
CODES = st.lists(st.sampled_from([HK, US, CN, HK_NO_TRADE, "LIQUIDATE_ONLY"]), max_size=4, unique=True)
FACT = st.sampled_from([None, "one", "other"])
INFOS = st.lists(
    st.sampled_from(["RISK", "AML"]).map(
        lambda code: {
            "restriction_code": code,
            "restriction_start_time": None,
            "restriction_start_time_text": None,
            "reason": None,
        }
    ),
    max_size=2,
)

CHANGES: dict[str, tuple[str, dict[str, st.SearchStrategy[Any]]]] = {
    "ACCOUNT_UPDATE": ("documented", {"restrictions": CODES, "account_number": FACT, "account_type": FACT}),
    "VIRTUAL_ACCOUNT_BCAN_UPDATE": (
        "documented",
        {"type": st.sampled_from(["CN", "HK"]), "account_number": FACT, "account_type": FACT},
    ),
    "ACCOUNT_INFO_UPDATE": ("documented", {"status": st.sampled_from(["APPROVED", "REJECTED"]), "account_id": FACT}),
    "ACCOUNT_CLOSE": ("documented", {"status": st.sampled_from(["APPROVED", "REJECTED"]), "account_number": FACT}),
    "ACCOUNT_RESTRICT": ("documented", {"restrict_infos": INFOS, "account_number": FACT}),
    "ACCOUNT_UNRESTRICTED": ("documented", {"restrict_infos": INFOS, "account_id": FACT}),
    "TRANSFER": (
        "documented-completed",
        {
            "status": st.sampled_from(["PENDING", "COMPLETED", "RETURNED", "REJECTED"]),
            "client_request_id": st.sampled_from(["A", "B"]),
            "direction": FACT,
        },
    ),
    "EXCHANGE": ("documented-completed", {"status": st.sampled_from(["PENDING", "COMPLETED", "FAILED"])}),
}


@st.composite
def topics(draw: st.DrawFn) -> list[list[Event]]:
    """For each event type, what its topic holds of one account, in the order of the offsets."""
    drawn = []
    for biz_type, (name, changes) in CHANGES.items():
        topic = draw(st.lists(st.fixed_dictionaries({"ns": TIMES, **changes}), max_size=4))
        drawn.append(
            [event(biz_type, name, **{**values, "event_id": f"{biz_type}-{n}"}) for n, values in enumerate(topic)]
        )
    return drawn


def interleave(drawn: list[list[T]], order: list[int]) -> list[T]:
    """Take the next event of the topic that `order` names, again and again."""
    rest = [iter(topic) for topic in drawn]
    return [next(rest[number]) for number in order]


@settings(max_examples=400)
@given(topics(), st.data())
def test_states_and_alerts_do_not_depend_on_how_the_topics_interleave(
    drawn: list[list[Event]], data: st.DataObject
) -> None:
    in_turn = [number for number, topic in enumerate(drawn) for _ in topic]
    one = fold(*interleave(drawn, in_turn))
    other = fold(*interleave(drawn, data.draw(st.permutations(in_turn))))
    assert one.states == other.states
    by_id = {alert["alert_id"]: alert for alert in one.alerts}
    assert by_id == {alert["alert_id"]: alert for alert in other.alerts}
    assert len(by_id) == len(one.alerts) == len(other.alerts)


snapshots = st.lists(st.tuples(CODES, TIMES), max_size=12)


def updates(drawn: list[tuple[list[str], int]]) -> list[Event]:
    return [account_update(codes, ns=ns, event_id=f"e{n}") for n, (codes, ns) in enumerate(drawn)]


@settings(max_examples=400)
@given(snapshots)
def test_there_is_one_alert_for_each_transition_between_snapshots_that_are_not_stale(
    drawn: list[tuple[list[str], int]],
) -> None:
    expected = set()
    held: set[str | None] = set()
    newest = -1
    stale = 0
    for number, (codes, ns) in enumerate(drawn):
        if ns < newest:
            stale += 1
            continue
        newest = ns
        now = {market_of(code) for code in codes} - {None}
        expected |= {("FIRING", market, f"e{number}") for market in now - held}
        expected |= {("RESOLVED", market, f"e{number}") for market in held - now}
        held = now
    folded = fold(*updates(drawn))
    assert len(folded.alerts) == len(expected)
    assert {(alert["status"], alert["subject"], alert["event_id"]) for alert in folded.alerts} == expected
    assert folded.flags.count(Flag.STALE) == stale


@given(snapshots)
def test_each_condition_fires_and_resolves_in_turn_and_the_pair_belongs_together(
    drawn: list[tuple[list[str], int]],
) -> None:
    open_alerts: dict[str, str] = {}
    folded = fold(*updates(drawn))
    for alert in folded.alerts:
        assert alert["restriction"] is not None
        if alert["status"] == "FIRING":
            assert alert["dedup_key"] not in open_alerts
            open_alerts[alert["dedup_key"]] = alert["alert_id"]
            assert alert["restriction"]["duration_us"] is None
        else:
            duration_us = alert["restriction"]["duration_us"]
            assert alert["restriction"]["fired_alert_id"] == open_alerts.pop(alert["dedup_key"])
            assert duration_us is not None
            assert duration_us >= 0
    for state in folded.states.values():
        held = state["restrictions"]["liquidate_only"].values()
        assert sorted(since["fired_alert_id"] for since in held) == sorted(open_alerts.values())


@given(st.lists(st.tuples(st.sampled_from(["PENDING", "COMPLETED", "RETURNED", "REJECTED"]), TIMES), max_size=12))
def test_a_movement_shows_its_newest_event_and_its_history_in_order(drawn: list[tuple[str, int]]) -> None:
    events = [
        event("TRANSFER", "documented-completed", ns=ns, status=status, event_id=f"e{number}")
        for number, (status, ns) in enumerate(drawn)
    ]
    folded = fold(*events)
    by_time = sorted(range(len(drawn)), key=lambda number: drawn[number][1])
    for state in folded.states.values():
        assert [entry["event_id"] for entry in state["history"]] == [f"e{number}" for number in by_time]
        assert (state["status"], state["event_id"]) == (drawn[by_time[-1]][0], f"e{by_time[-1]}")
        assert state["event_time_text"] == time_at(drawn[by_time[-1]][1])["event_time_text"]
    assert len(folded.alerts) == ("RETURNED" in dict(drawn))


@st.composite
def readings(draw: st.DrawFn) -> list[tuple[str, str, str]]:
    """Two ways to read one text with slashes as account key, subject and event id."""
    words = draw(st.lists(st.sampled_from(["A", "%2F", "%", "25", "/"]), min_size=4, max_size=7))
    cuts = st.lists(st.integers(1, len(words) - 1), min_size=2, max_size=2, unique=True).map(sorted)
    return [("/".join(words[:i]), "/".join(words[i:j]), "/".join(words[j:])) for i, j in (draw(cuts), draw(cuts))]


@settings(max_examples=400)
@given(readings())
def test_no_two_conditions_or_transfers_share_a_dedup_key_or_an_alert_id(drawn: list[tuple[str, str, str]]) -> None:
    for rule in ("LIQUIDATE_ONLY", "TRANSFER_RETURNED"):
        alerts = []
        for account_key, subject, event_id in drawn:
            restricted = account_update([f"A{subject}A_LIQUIDATE_ONLY"], ns=0, event_id=event_id)
            returned = transfer("RETURNED", ns=0, client_request_id=f"A{subject}A", event_id=event_id)
            one = restricted if rule == "LIQUIDATE_ONLY" else returned
            alerts += fold(one, account_key=account_key).alerts
        assert len({alert["dedup_key"] for alert in alerts}) == len({each[:2] for each in drawn})
        assert len({alert["alert_id"] for alert in alerts}) == len({*drawn})
        for alert in alerts:
            parts = [rule, alert["account_key"], alert["subject"]]
            assert [unquote(part) for part in alert["dedup_key"].split("/")] == parts


@given(st.text("ABC-_.:~é 0123456789", min_size=1), st.text("ABC-_.:~é 123456789", min_size=1))
def test_a_usual_dedup_key_is_its_parts(account_key: str, request: str) -> None:
    request += "R"
    (alert,) = fold(transfer("RETURNED", ns=0, client_request_id=request), account_key=account_key).alerts
    assert alert["dedup_key"] == f"TRANSFER_RETURNED/{account_key}/{request}"

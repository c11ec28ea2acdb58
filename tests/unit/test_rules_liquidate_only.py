import pytest
from rules_events import ACCOUNT, CN, HK, HK_NO_TRADE, SECOND, US, account_update, fold, sample

from broker_events.processors.rules import Flag
from broker_events.processors.rules.liquidate_only import market_of


@pytest.mark.parametrize(
    ("code", "market"),
    [
        ("HK_STOCK_LIQUIDATE_ONLY", "HK"),
        ("US_STOCK_LIQUIDATE_ONLY", "US"),
        ("CN_STOCK_LIQUIDATE_ONLY", "CN"),
        ("EU_STOCK_LIQUIDATE_ONLY", "EU"),
        ("HK_LIQUIDATE_ONLY", "HK"),
        ("US_OPTION_LIQUIDATE_ONLY", "US_OPTION"),
        ("LIQUIDATE_ONLY", "ALL"),
        ("HK_STOCK_NO_TRADE", None),
        ("LIQUIDATE_ONLY_HK", None),
        ("", None),
    ],
)
def test_market_of_a_restriction_code(code: str, market: str | None) -> None:
    assert market_of(code) == market


@pytest.mark.parametrize(
    ("snapshots", "alerts"),
    [
        ([[]], []),
        ([[HK_NO_TRADE]], []),
        ([[HK]], ["FIRING HK first"]),
        ([[HK, US, CN]], ["FIRING HK first", "FIRING US first", "FIRING CN first"]),
        ([[], [HK]], ["FIRING HK"]),
        ([[HK_NO_TRADE], [HK_NO_TRADE, HK]], ["FIRING HK"]),
        ([[HK], [HK, US]], ["FIRING HK first", "FIRING US"]),
        ([[HK], []], ["FIRING HK first", "RESOLVED HK"]),
        ([[HK], [HK_NO_TRADE]], ["FIRING HK first", "RESOLVED HK"]),
        ([[HK, US], [US]], ["FIRING HK first", "FIRING US first", "RESOLVED HK"]),
        ([[HK], [US]], ["FIRING HK first", "FIRING US", "RESOLVED HK"]),
        ([[HK], [HK], [HK, HK_NO_TRADE], [HK_NO_TRADE, HK]], ["FIRING HK first"]),
        ([[], [HK], [], [HK]], ["FIRING HK", "RESOLVED HK", "FIRING HK"]),
        ([[], []], []),
        ([["LIQUIDATE_ONLY"], []], ["FIRING ALL first", "RESOLVED ALL"]),
        ([[HK, "HK_LIQUIDATE_ONLY"], ["HK_LIQUIDATE_ONLY"], []], ["FIRING HK first", "RESOLVED HK"]),
    ],
)
def test_one_alert_for_each_market_that_begins_or_ends(snapshots: list[list[str]], alerts: list[str]) -> None:
    folded = fold(*(account_update(codes, ns=number * SECOND) for number, codes in enumerate(snapshots)))
    assert [
        f"{alert['status']} {alert['subject']}{' first' if alert['first_sight'] else ''}" for alert in folded.alerts
    ] == alerts


def test_the_documented_event_fires_for_all_three_markets() -> None:
    folded = fold(sample("ACCOUNT_UPDATE", "documented-all-restrictions"))
    assert {alert["subject"] for alert in folded.alerts} == {"HK", "US", "CN"}
    assert folded.state["restrictions"]["liquidate_only"].keys() == {"HK", "US", "CN"}
    assert folded.flags == []


def test_a_firing_alert_says_who_what_and_by_which_record() -> None:
    alert = fold(account_update([HK_NO_TRADE], ns=0), account_update([HK_NO_TRADE, HK], ns=SECOND + 1)).alerts[0]
    assert alert == {
        "alert_id": "ddb5b691-7b1d-5c1e-9b12-cf7114f2f23f",
        "rule": "LIQUIDATE_ONLY",
        "rule_version": 1,
        "status": "FIRING",
        "severity": "critical",
        "dedup_key": f"LIQUIDATE_ONLY/{ACCOUNT}/HK",
        "account_key": ACCOUNT,
        "account_id": ACCOUNT,
        "account_number": "5KT05001",
        "subject": "HK",
        "first_sight": False,
        "summary": "HK: account …5001 is liquidate-only",
        "event_id": "ACCOUNT_UPDATE.documented-all-restrictions.1000000001",
        "event_type": "ACCOUNT",
        "biz_type": "ACCOUNT_UPDATE",
        "event_time": 1_743_231_754_000_000,
        "event_time_text": "2025-03-29T07:02:34.000000001Z",
        "source_topic": "broker.event.account-update",
        "source_partition": 3,
        "source_offset": 1,
        "restriction": {
            "code": HK,
            "restrictions": [HK_NO_TRADE, HK],
            "previous_restrictions": [HK_NO_TRADE],
            "fired_alert_id": alert["alert_id"],
            "since_event_id": "ACCOUNT_UPDATE.documented-all-restrictions.1000000001",
            "since": 1_743_231_754_000_000,
            "since_text": "2025-03-29T07:02:34.000000001Z",
            "duration_us": None,
        },
        "transfer": None,
        "condition": None,
        "movement": None,
    }


def test_a_resolved_alert_names_the_fired_one_its_beginning_and_how_long_it_held() -> None:
    first, again, end = (account_update(codes, ns=ns * SECOND) for codes, ns in (([HK], 0), ([HK, US], 5), ([], 90)))
    fired, _, *resolved = fold(first, again, end).alerts
    ended = resolved[0]
    assert ended["restriction"] is not None
    assert ended["dedup_key"] == fired["dedup_key"]
    assert ended["alert_id"] != fired["alert_id"]
    assert ended["restriction"] == {
        "code": HK,
        "restrictions": [],
        "previous_restrictions": [HK, US],
        "fired_alert_id": fired["alert_id"],
        "since_event_id": first["event_id"],
        "since": first["event_time"],
        "since_text": first["event_time_text"],
        "duration_us": 90_000_000,
    }
    assert not ended["first_sight"]


def test_a_repeated_snapshot_keeps_the_beginning() -> None:
    first, again = account_update([HK], ns=0), account_update([HK], ns=SECOND)
    state = fold(first, again).state["restrictions"]
    assert state["event_id"] == again["event_id"]
    assert state["liquidate_only"]["HK"]["since_event_id"] == first["event_id"]
    assert state["liquidate_only"]["HK"]["first_sight"]


def test_of_two_codes_for_one_market_the_first_is_named() -> None:
    (alert,) = fold(account_update([HK_NO_TRADE, HK, "HK_LIQUIDATE_ONLY"], ns=0)).alerts
    assert alert["restriction"] is not None
    assert alert["restriction"]["code"] == HK


def test_the_state_names_the_alert_that_fired() -> None:
    folded = fold(account_update([], ns=0), account_update([US], ns=SECOND))
    held = folded.state["restrictions"]["liquidate_only"]
    assert held["US"]["fired_alert_id"] == folded.alerts[0]["alert_id"]
    assert not held["US"]["first_sight"]


@pytest.mark.parametrize("codes", [[], [HK, US]])
def test_a_stale_snapshot_neither_fires_nor_resolves_and_is_counted(codes: list[str]) -> None:
    newest = account_update([HK], ns=1000 * SECOND + 1)
    before = fold(newest)
    after = fold(newest, account_update(codes, ns=1000 * SECOND))
    assert after.state == before.state
    assert after.alerts == before.alerts
    assert after.flags == [Flag.STALE]


def test_of_two_snapshots_at_one_instant_the_later_offset_counts() -> None:
    folded = fold(account_update([HK], ns=0), account_update([], ns=0, event_id="other"))
    assert [alert["status"] for alert in folded.alerts] == ["FIRING", "RESOLVED"]
    assert folded.state["restrictions"]["event_id"] == "other"
    assert folded.flags == []


def test_an_unknown_code_flows_and_is_counted() -> None:
    folded = fold(account_update(["EU_STOCK_LIQUIDATE_ONLY"], ns=0))
    assert folded.alerts[0]["subject"] == "EU"
    assert folded.flags == [Flag.UNKNOWN_VALUE]


def test_a_replay_gives_the_same_alerts() -> None:
    events = [account_update(codes, ns=ns) for ns, codes in enumerate([[HK], [], [HK, US]])]
    assert fold(*events).alerts == fold(*events).alerts
    assert len({alert["alert_id"] for alert in fold(*events).alerts}) == 4


def test_an_account_without_number_is_named_by_its_key() -> None:
    alert = fold(account_update([HK], ns=0, account_number=None)).alerts[0]
    assert alert["account_number"] is None
    assert alert["summary"] == "HK: account …0000 is liquidate-only"

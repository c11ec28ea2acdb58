from typing import Any

import pytest
from rules_events import ACCOUNT, HK, SECOND, Memory, account_update, event, fold, sample, typed_at

from broker_events.processors.rules import PROJECTIONS, Flag

UPDATE, BCAN, INFO, CLOSE, RESTRICT, UNRESTRICTED = (
    "ACCOUNT_UPDATE",
    "VIRTUAL_ACCOUNT_BCAN_UPDATE",
    "ACCOUNT_INFO_UPDATE",
    "ACCOUNT_CLOSE",
    "ACCOUNT_RESTRICT",
    "ACCOUNT_UNRESTRICTED",
)
LATER_US = 2_000_000_000_000_000


def approved(biz_type: str, *, ns: int, **changes: Any) -> dict[str, Any]:
    return event(biz_type, "documented-approved", ns=ns, **changes)


def risk(biz_type: str, *, ns: int, **changes: Any) -> dict[str, Any]:
    return event(biz_type, "documented-risk", ns=ns, **changes)


def stamp(of: dict[str, Any]) -> dict[str, Any]:
    return {name: of[name] for name in ("event_time", "event_time_text", "event_id")} | {"arrival": None}


def test_a_snapshot_of_restrictions() -> None:
    documented = sample(UPDATE, "documented-all-restrictions")
    restrictions = fold(documented).state["restrictions"]
    assert restrictions["codes"] == documented["restrictions"]
    assert restrictions.items() >= stamp(documented).items()


def test_an_empty_snapshot_is_a_snapshot() -> None:
    assert fold(account_update([], ns=0)).state["restrictions"]["codes"] == []


def test_facts_come_from_every_account_event() -> None:
    facts = ("account_id", "account_number", "account_type")
    for biz_type in (UPDATE, BCAN, INFO, CLOSE, RESTRICT, UNRESTRICTED):
        one = sample(biz_type, "documented")
        state = fold(one).state
        for fact in facts:
            expected = one.get(fact) and {"value": one[fact], "biz_type": biz_type, **stamp(one)}
            assert state[fact] == expected, (biz_type, fact)


def test_a_newer_event_without_a_fact_leaves_it() -> None:
    number = account_update([], ns=0, account_number="5KT05001")
    state = fold(number, approved(CLOSE, ns=SECOND, account_number=None)).state
    assert state["account_number"] == {"value": "5KT05001", "biz_type": UPDATE, **stamp(number)}
    assert state["account_id"]["biz_type"] == CLOSE
    assert state["account_type"]["biz_type"] == UPDATE


def test_a_fact_never_said_is_taken_from_an_event_that_is_otherwise_stale() -> None:
    newest = account_update([HK], ns=SECOND, account_type=None)
    late = account_update([], ns=0, account_type="MARGIN")
    folded = fold(newest, late)
    assert folded.flags == [Flag.STALE]
    assert folded.state["account_type"]["value"] == "MARGIN"
    assert folded.state["restrictions"]["codes"] == [HK]


def test_at_one_instant_the_type_of_event_decides_over_a_fact() -> None:
    update, close = account_update([], ns=0, account_number="U"), approved(CLOSE, ns=0, account_number="C")
    for order in ((update, close), (close, update)):
        assert fold(*order).state["account_number"]["value"] == "U"


@pytest.mark.parametrize("biz_type", [RESTRICT, UNRESTRICTED])
def test_restrict_infos_are_kept_as_received_with_the_type_they_came_by(biz_type: str) -> None:
    documented = sample(biz_type, "documented-risk")
    assert fold(documented).state["restrict_infos"] == {
        "biz_type": biz_type,
        "infos": [
            {
                "restriction_code": "RISK",
                "restriction_start_time": 1_736_204_399_012_000,
                "restriction_start_time_text": "2025-01-06T22:59:59.012Z",
                "reason": "Unusual trading activity detected on 2025-01-05.",
            }
        ],
        **stamp(documented),
    }


def test_restrict_and_unrestricted_follow_each_other_by_time() -> None:
    assert fold(risk(RESTRICT, ns=0), risk(UNRESTRICTED, ns=1)).state["restrict_infos"]["biz_type"] == UNRESTRICTED
    late = fold(risk(RESTRICT, ns=1), risk(UNRESTRICTED, ns=0))
    assert late.state["restrict_infos"]["biz_type"] == RESTRICT
    assert late.flags == [Flag.STALE]


def test_at_one_instant_restrict_wins_whichever_arrives_first() -> None:
    restrict, unrestricted = risk(RESTRICT, ns=7), risk(UNRESTRICTED, ns=7)
    assert fold(restrict, unrestricted).state == fold(unrestricted, restrict).state
    assert fold(restrict, unrestricted).state["restrict_infos"]["biz_type"] == RESTRICT


def test_bcan_is_kept_by_type() -> None:
    cn, hk = (event(BCAN, "documented-success", ns=0, type=market) for market in ("CN", "HK"))
    rejected = event(BCAN, "documented-failed", ns=1)
    folded = fold(cn, hk, rejected)
    assert folded.state["bcan"] == {
        "CN": {"status": "FAILED", **stamp(rejected)},
        "HK": {"status": "SUCCESS", **stamp(hk)},
    }
    assert folded.flags == [Flag.UNKNOWN_VALUE]


def test_outcomes_of_info_update_and_close() -> None:
    info, close = sample(INFO, "documented-approved"), sample(CLOSE, "documented-rejected")
    state = fold(info, close).state
    assert state["info_update"] == {
        "status": "APPROVED",
        "request_id": "036T1L88B07TF0KHJN4C000000",
        "client_request_id": "d44caf9eb12d4abe894b529699059ec5",
        **stamp(info),
    }
    assert state["close"] == {
        "status": "REJECTED",
        "request_id": None,
        "client_request_id": "d44caf9eb12d4abe894b529699059ec5",
        **stamp(close),
    }


@pytest.mark.parametrize(
    ("newest", "late"),
    [
        (account_update([HK], ns=1), account_update([], ns=0)),
        (event(BCAN, "documented-success", ns=1), event(BCAN, "documented-failed", ns=0)),
        (approved(INFO, ns=1), approved(INFO, ns=0, status="REJECTED")),
        (approved(CLOSE, ns=1), approved(CLOSE, ns=0, status="REJECTED")),
        (risk(RESTRICT, ns=1), risk(RESTRICT, ns=0, restrict_infos=[])),
        (risk(UNRESTRICTED, ns=1), risk(UNRESTRICTED, ns=0, restrict_infos=[])),
    ],
    ids=lambda one: one["biz_type"] if one["event_time_text"].endswith("1Z") else "",
)
def test_an_event_older_by_a_nanosecond_changes_nothing_and_is_counted(
    newest: dict[str, Any], late: dict[str, Any]
) -> None:
    apply, table = PROJECTIONS[newest["biz_type"]].apply, Memory()
    table.put(apply(table, newest, ACCOUNT, typed_at(newest["biz_type"], 0, LATER_US)))
    _, state, outcome, _ = apply(table, late, ACCOUNT, typed_at(late["biz_type"], 1, LATER_US))
    assert outcome.state is state
    assert outcome.alerts == ()
    assert outcome.flags == (Flag.STALE,)


@pytest.mark.parametrize(
    "unknown",
    [
        account_update(["HK_STOCK_HALTED"], ns=0),
        account_update([], ns=0, account_type="IRA"),
        event(BCAN, "documented-success", ns=0, status="PENDING"),
        event(BCAN, "documented-success", ns=0, account_type="IRA"),
        approved(INFO, ns=0, status="PENDING"),
        approved(CLOSE, ns=0, status="PENDING"),
    ],
    ids=lambda one: one["biz_type"],
)
def test_a_value_the_documents_do_not_list_flows_and_is_counted(unknown: dict[str, Any]) -> None:
    folded = fold(unknown)
    assert folded.flags == [Flag.UNKNOWN_VALUE]
    assert any(folded.state[part] for part in ("restrictions", "bcan", "info_update", "close"))


def test_an_event_about_one_part_leaves_the_others() -> None:
    folded = fold(account_update([HK], ns=SECOND), risk(RESTRICT, ns=0), approved(INFO, ns=0), approved(CLOSE, ns=0))
    assert folded.flags == []
    assert all(folded.state[part] for part in ("restrictions", "restrict_infos", "info_update", "close"))

from typing import Any

import pytest
from rules_events import ACCOUNT, decimal, event, fold, sample, transfer

from broker_events.processors.rules import Flag
from broker_events.processors.rules.movement import HISTORY_LIMIT, is_legal

FUNDING = ("TRANSFER", "FEE_DEDUCTION", "CREDIT", "INSTANT_FUNDING", "INSTANT_EXCHANGE", "EXCHANGE")
TERMS = (
    *("type", "direction", "amount", "currency"),
    *("from_amount", "from_currency", "to_amount", "to_currency", "fx_rate"),
)
REQUEST = "LJIS16BACHQG9LPP44L9IQHGAB"


@pytest.mark.parametrize("biz_type", FUNDING)
def test_a_movement_is_named_by_account_type_and_client_request_id(biz_type: str) -> None:
    folded = fold(sample(biz_type, "documented-completed"))
    assert list(folded.states) == [f"{ACCOUNT}/{biz_type}/{REQUEST}"]
    assert folded.state["movement_id"] == f"{ACCOUNT}/{biz_type}/{REQUEST}"
    assert folded.state["client_request_id"] == REQUEST
    assert folded.flags == []


@pytest.mark.parametrize(
    ("biz_type", "ids", "named"),
    [
        ("TRANSFER", {"transfer_id": "T"}, "T"),
        ("FEE_DEDUCTION", {"fee_id": "F", "instant_funding_id": "I"}, "F"),
        ("FEE_DEDUCTION", {"fee_id": None, "instant_funding_id": "I"}, "I"),
        ("FEE_DEDUCTION", {"fee_id": "", "instant_funding_id": "I"}, "I"),
        ("CREDIT", {"credit_id": "C"}, "C"),
        ("INSTANT_FUNDING", {"instant_funding_id": "I"}, "I"),
        ("INSTANT_EXCHANGE", {"instant_exchange_id": "X"}, "X"),
        ("EXCHANGE", {"fx_id": "X"}, "X"),
        ("TRANSFER", {"transfer_id": None}, "the-event"),
        ("EXCHANGE", {"fx_id": ""}, "the-event"),
    ],
)
@pytest.mark.parametrize("absent", [None, ""])
def test_without_client_request_id_the_types_own_id_names_it_then_the_event(
    biz_type: str, ids: dict[str, str | None], named: str, absent: str | None
) -> None:
    one = event(biz_type, "documented-completed", ns=0, event_id="the-event", client_request_id=absent, **ids)
    assert [*fold(one, account_key="K").states] == [f"K/{biz_type}/{named}"]


@pytest.mark.parametrize(
    ("biz_type", "terms"),
    [
        ("TRANSFER", {"type": "ACH", "direction": "DEPOSIT", "amount": decimal("1000"), "currency": "USD"}),
        ("FEE_DEDUCTION", {"type": "SERVICE_FEE", "amount": decimal("100"), "currency": "USD"}),
        ("CREDIT", {"type": "GIFTING", "amount": decimal("100"), "currency": "USD"}),
        ("INSTANT_FUNDING", {"type": "DEPOSIT", "amount": decimal("100"), "currency": "USD"}),
        (
            "INSTANT_EXCHANGE",
            {
                "from_amount": decimal("100"),
                "from_currency": "USD",
                "to_amount": decimal("700"),
                "to_currency": "HKD",
            },
        ),
        (
            "EXCHANGE",
            {
                "from_amount": decimal("100"),
                "from_currency": "USD",
                "to_amount": decimal("801"),
                "to_currency": "HKD",
                "fx_rate": decimal("8.01"),
            },
        ),
    ],
)
def test_terms_of_the_documented_completed_events(biz_type: str, terms: dict[str, Any]) -> None:
    documented = sample(biz_type, "documented-completed")
    state = fold(documented).state
    unsaid = {name: None for name in TERMS if name not in terms}
    assert {name: state[name] for name in TERMS} == {**terms, **unsaid}
    assert state["status"] == "COMPLETED"
    assert state["completed"]["event_id"] == documented["event_id"]


def test_what_a_later_event_leaves_out_stays() -> None:
    known = event("EXCHANGE", "documented-completed", ns=0)
    silent = event("EXCHANGE", "documented-completed", ns=1, to_amount=None, fx_rate=None, fx_id=None)
    state = fold(known, silent).state
    assert state["to_amount"] == decimal("801")
    assert state["fx_rate"] == decimal("8.01")
    assert state["system_ids"] == {"fx_id": known["fx_id"]}


def test_a_reason_belongs_to_its_status() -> None:
    pending = transfer("PENDING", ns=0, reason="under review")
    assert fold(pending).state["reason"] == "under review"
    assert fold(pending, transfer("COMPLETED", ns=1)).state["reason"] is None


def test_the_history_is_in_the_order_of_time() -> None:
    folded = fold(transfer("RETURNED", ns=9), transfer("PENDING", ns=1), transfer("COMPLETED", ns=5))
    assert [entry["status"] for entry in folded.state["history"]] == ["PENDING", "COMPLETED", "RETURNED"]
    assert not any(entry["illegal"] for entry in folded.state["history"])
    assert folded.state["status"] == "RETURNED"
    assert folded.flags == [Flag.UNKNOWN_VALUE, Flag.STALE, Flag.STALE]


def test_a_stale_event_fills_in_what_was_never_said_and_overwrites_nothing() -> None:
    newest = transfer("COMPLETED", ns=1, direction=None, transfer_id="T")
    late = transfer("PENDING", ns=0, direction="WITHDRAWAL", transfer_id="S", currency="HKD", reason="wait")
    state = fold(newest, late).state
    assert state["direction"] == "WITHDRAWAL"
    assert (state["status"], state["reason"], state["currency"]) == ("COMPLETED", None, "USD")
    assert state["system_ids"] == {"transfer_id": "T"}
    assert state["event_id"] == newest["event_id"]


def test_at_one_instant_the_later_offset_counts() -> None:
    state = fold(transfer("PENDING", ns=0), transfer("COMPLETED", ns=0)).state
    assert [entry["status"] for entry in state["history"]] == ["PENDING", "COMPLETED"]
    assert state["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("before", "after", "legal"),
    [
        ("COMPLETED", "RETURNED", True),
        ("COMPLETED", "COMPLETED", True),
        ("PENDING", "COMPLETED", True),
        ("PENDING", "PROCESSING", True),
        ("COMPLETED", "PENDING", True),
        ("RETURNED", "COMPLETED", False),
        ("COMPLETED", "FAILED", False),
        ("COMPLETED", "CANCELED", False),
        ("REJECTED", "COMPLETED", False),
        ("CANCELED", "RETURNED", False),
        ("FAILED", "REJECTED", False),
    ],
)
def test_transitions(before: str, after: str, legal: bool) -> None:  # noqa: FBT001 (a column of the table)
    assert is_legal(before, after) is legal


def test_an_illegal_transition_is_kept_and_flagged() -> None:
    folded = fold(transfer("REJECTED", ns=0), transfer("COMPLETED", ns=1))
    assert [(entry["status"], entry["illegal"]) for entry in folded.state["history"]] == [
        ("REJECTED", False),
        ("COMPLETED", True),
    ]
    assert folded.state["status"] == "COMPLETED"
    assert folded.flags == [Flag.ILLEGAL_TRANSITION]


def test_an_event_that_arrives_late_is_judged_against_both_its_neighbours() -> None:
    folded = fold(transfer("COMPLETED", ns=5), transfer("REJECTED", ns=0))
    assert [(entry["status"], entry["illegal"]) for entry in folded.state["history"]] == [
        ("REJECTED", False),
        ("COMPLETED", True),
    ]
    assert folded.flags == [Flag.STALE, Flag.ILLEGAL_TRANSITION]


@pytest.mark.parametrize(("biz_type", "status"), [("TRANSFER", "FAILED"), ("CREDIT", "RETURNED"), ("EXCHANGE", "NEW")])
def test_a_status_the_documents_do_not_list_for_the_type_flows_and_is_counted(biz_type: str, status: str) -> None:
    folded = fold(event(biz_type, "documented-completed", ns=0, status=status))
    assert folded.state["status"] == status
    assert folded.flags == [Flag.UNKNOWN_VALUE]
    assert folded.alerts == []


def test_the_history_is_bounded_and_says_what_it_lost() -> None:
    events = [transfer("PENDING", ns=ns, event_id=f"e{ns}") for ns in range(1, HISTORY_LIMIT + 3)]
    state = fold(transfer("COMPLETED", ns=0), *events).state
    assert len(state["history"]) == HISTORY_LIMIT == 32
    assert state["history_dropped"] == 3
    assert state["history"][0]["event_id"] == "e3"
    assert state["history"][-1]["event_id"] == "e34"
    assert state["completed"]["event_id"] == "TRANSFER.COMPLETED.0"


def test_the_oldest_completed_event_is_remembered() -> None:
    folded = fold(transfer("COMPLETED", ns=5), transfer("COMPLETED", ns=2), transfer("COMPLETED", ns=9))
    assert folded.state["completed"]["event_id"] == "TRANSFER.COMPLETED.2"
    assert folded.state["event_id"] == "TRANSFER.COMPLETED.9"

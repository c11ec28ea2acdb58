import pytest
from rules_events import ACCOUNT, SECOND, decimal, event, fold, transfer

from broker_events.processors.rules import Flag
from broker_events.processors.rules.transfer_returned import decimal_text

MOVEMENT = f"{ACCOUNT}/TRANSFER/LJIS16BACHQG9LPP44L9IQHGAB"


def test_a_returned_transfer_fires_with_its_terms_and_the_completed_event() -> None:
    completed, returned = transfer("COMPLETED", ns=SECOND), transfer("RETURNED", ns=3 * SECOND + 7)
    folded = fold(completed, returned)
    (alert,) = folded.alerts
    assert alert["status"] == "FIRING"
    assert (alert["rule"], alert["severity"]) == ("TRANSFER_RETURNED", "warning")
    assert alert["dedup_key"] == f"TRANSFER_RETURNED/{ACCOUNT}/LJIS16BACHQG9LPP44L9IQHGAB"
    assert alert["summary"] == "ACH DEPOSIT of 1000 USD returned on account …M649"
    assert alert["account_id"] == "J6HA4EBQRQFJD2J6NQH0F7M649"
    assert alert["event_id"] == returned["event_id"]
    assert (alert["source_topic"], alert["source_offset"]) == ("broker.event.transfer", 1)
    assert not alert["first_sight"]
    assert alert["restriction"] is None
    assert alert["transfer"] == {
        "movement_id": MOVEMENT,
        "client_request_id": "LJIS16BACHQG9LPP44L9IQHGAB",
        "transfer_id": None,
        "transfer_type": "ACH",
        "direction": "DEPOSIT",
        "amount": decimal("1000.00"),
        "currency": "USD",
        "reason": "xxx",
        "completed_event_id": completed["event_id"],
        "completed_event_time": completed["event_time"],
        "completed_event_time_text": completed["event_time_text"],
        "elapsed_us": 2_000_000,
    }
    assert folded.state["returned_alert_id"] == alert["alert_id"]
    assert folded.flags == []


def test_a_return_that_arrives_late_is_stale_and_still_an_alert() -> None:
    folded = fold(transfer("COMPLETED", ns=2 * SECOND), transfer("RETURNED", ns=SECOND))
    assert [alert["event_id"] for alert in folded.alerts] == [f"TRANSFER.RETURNED.{SECOND}"]
    assert folded.state["status"] == "COMPLETED"
    assert Flag.STALE in folded.flags


def test_returned_without_completed_is_still_an_alert() -> None:
    (alert,) = fold(transfer("RETURNED", ns=0)).alerts
    evidence = alert["transfer"]
    assert evidence is not None
    assert evidence["completed_event_id"] is None
    assert evidence["completed_event_time"] is None
    assert evidence["completed_event_time_text"] is None
    assert evidence["elapsed_us"] is None


@pytest.mark.parametrize("status", ["CANCELED", "REJECTED", "COMPLETED", "FAILED", "PENDING", "SETTLED"])
def test_no_other_status_fires(status: str) -> None:
    assert fold(transfer(status, ns=0)).alerts == []


@pytest.mark.parametrize("biz_type", ["FEE_DEDUCTION", "CREDIT", "INSTANT_FUNDING", "INSTANT_EXCHANGE", "EXCHANGE"])
def test_no_other_type_fires(biz_type: str) -> None:
    assert fold(event(biz_type, "documented-completed", ns=0, status="RETURNED")).alerts == []


def test_it_fires_once_per_transfer() -> None:
    again = [transfer("RETURNED", ns=ns) for ns in (2, 3, 1)]
    folded = fold(transfer("COMPLETED", ns=0), *again)
    assert [alert["event_id"] for alert in folded.alerts] == ["TRANSFER.RETURNED.2"]


def test_it_does_not_fire_again_after_the_history_forgot_it() -> None:
    repeats = [transfer("COMPLETED", ns=ns) for ns in range(1, 40)]
    folded = fold(transfer("RETURNED", ns=0), *repeats, transfer("RETURNED", ns=50))
    assert len(folded.alerts) == 1


def test_each_transfer_has_its_own() -> None:
    one, other = (transfer("RETURNED", ns=0, client_request_id=request) for request in ("A", "B"))
    folded = fold(one, other)
    assert {alert["subject"] for alert in folded.alerts} == {"A", "B"}
    assert len({alert["alert_id"] for alert in folded.alerts}) == 2
    assert folded.states.keys() == {f"{ACCOUNT}/TRANSFER/A", f"{ACCOUNT}/TRANSFER/B"}


def test_a_return_stamped_before_its_completion_still_fires() -> None:
    folded = fold(transfer("COMPLETED", ns=5 * SECOND), transfer("RETURNED", ns=3 * SECOND))
    (alert,) = folded.alerts
    assert alert["transfer"] is not None
    assert alert["transfer"]["completed_event_id"] == "TRANSFER.COMPLETED.5000000000"
    assert alert["transfer"]["elapsed_us"] == -2_000_000
    assert folded.flags == [Flag.STALE, Flag.ILLEGAL_TRANSITION]
    assert folded.state["status"] == "COMPLETED"
    assert folded.state["returned_alert_id"] == alert["alert_id"]


def test_a_transfer_without_type_and_direction_has_a_summary() -> None:
    bare = transfer("RETURNED", ns=0, transfer_type=None, direction=None, account_id=None, client_request_id=None)
    (alert,) = fold(bare).alerts
    assert alert["summary"] == "transfer of 1000 USD returned on account …0000"
    assert alert["subject"] == bare["event_id"]


@pytest.mark.parametrize(
    "text",
    ["0", "1", "-1", "8.01", "-0.000000000000000001", "1000", "100.5", "99999999999999999999.999999999999999999"],
)
def test_decimals_are_written_exactly(text: str) -> None:
    assert decimal_text(decimal(text)) == text

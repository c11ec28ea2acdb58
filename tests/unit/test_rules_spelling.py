"""A documented word in another spelling has the same effect, stays as sent, and is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_events import HK, SECOND, US, account_update, fold, transfer

from broker_events.processors.rules import Flag
from broker_events.processors.rules.liquidate_only import market_of
from broker_events.processors.rules.movement import is_legal

OTHER_SPELLINGS = (
    *("returned", "Returned", " RETURNED", "RETURNED ", "Returned\n", "\ufeffRETURNED", "RETURNED\u200b"),
    *("\u00a0returned", '"RETURNED"', "RETURNED.", "RE-TURNED", "re_turned"),
    *("\uff32\uff25\uff34\uff35\uff32\uff2e\uff25\uff24", "RETU\u00adRNED", "R.E.T.U.R.N.E.D", "RETURNED\u3164"),
    *(
        "RET\u200b\u2060URNED",
        "RETUR\u115fNED",
        "\u202eRETURNED\u202c",
        "RETURNED\ufe0f",
        "RE\x00TURNED",
        "RETURNED\U000e0020",
    ),
)


@pytest.mark.parametrize("status", OTHER_SPELLINGS)
def test_a_return_in_another_spelling_is_alerted_and_counted(status: str) -> None:
    folded = fold(transfer(" completed", ns=0), transfer(status, ns=SECOND))
    (alert,) = folded.alerts
    assert alert["transfer"] is not None
    assert alert["transfer"]["completed_event_id"] == "TRANSFER. completed.0"
    assert folded.state["status"] == status
    assert [entry["status"] for entry in folded.state["history"]] == [" completed", status]
    assert folded.flags == [Flag.UNKNOWN_VALUE, Flag.UNKNOWN_VALUE]


@pytest.mark.parametrize("status", ["RETURN", "RETURNEDX", "NOT RETURNED", "", "退回"])
def test_another_word_is_no_return(status: str) -> None:
    folded = fold(transfer(status, ns=0))
    assert folded.alerts == []
    assert folded.flags == [Flag.UNKNOWN_VALUE]


def test_transitions_are_judged_by_the_word() -> None:
    assert is_legal("completed", "Returned")
    assert is_legal("completed", "COMPLETED")
    assert not is_legal("rejected", "Completed ")


@pytest.mark.parametrize(
    ("code", "market"),
    [
        ("us_stock_liquidate_only", "US"),
        (" Us_Stock_Liquidate_Only ", "US"),
        ("US STOCK LIQUIDATE ONLY", "US"),
        ("us-stock-liquidate-only", "US"),
        ("liquidate_only", "ALL"),
        ("LiquidateOnly", "ALL"),
        ("\uff35\uff33_STOCK_LIQUIDATE_ONLY", "US"),
        ("US_LIQUIDATE_ONLY\u200b", "US"),
        ("\ufeffUS_STOCK_LIQUIDATE_ONLY", "US"),
        ("A.B_STOCK_LIQUIDATE_ONLY", "A.B"),
        ("US_STOCK_LIQUI\u00adDATE_ONLY", "US"),
        ("US\u200b_STOCK_LIQUIDATE_\u2060ONLY", "US"),
        ("USSTOCKLIQUIDATEONLY", "US"),
        ("UsStockLiquidateOnly", "US"),
        ("U.S._STOCK_LIQUIDATE_ONLY", "US"),
        ("U.S._LIQUIDATE_ONLY", "US"),
        ("US__STOCK__LIQUIDATE__ONLY", "US"),
        ("US/STOCK/LIQUI-DATE/ONLY", "US"),
        ("US_STOCK_L\u0131QU\u0131DATE_ONLY", "US"),
        ("US_STOCK_L\u0130QU\u0130DATE_ONLY", "US"),
        ("\u3164US_STOCK_LIQUI\u115fDATE_ONLY\uffa0", "US"),
        ("U\u00adS_OPTION_LIQUIDATE_ONLY", "US_OPTION"),
        ("EU_STOCK_LIQUI\u00adDATE_ONLY", "EU"),
        ("E\u00adU_STOCK_LIQUIDATE_ONLY", "EU"),
        ("EUSTOCKLIQUIDATEONLY", "EU"),
        ("EU_LIQUI.DATE_ONLY", "EU"),
        ("USLIQUIDATEONLY", "US"),
        ("STOCK_LIQUIDATE_ONLY", "STOCK"),
        ("U.S._STOCK_NO_TRADE", None),
        ("USSTOCKNOTRADE", None),
        ("\u00ad", None),
        ("PRELIQUIDATE_ON", None),
        ("US_STOCK_NO_TRADE", None),
        ("us_stock_no_trade", None),
        ("ONLY", None),
        ("LIQUIDATE", None),
        ("US_STOCK_LIQUIDATE_ONLY_ENDED", None),
        ("", None),
    ],
)
def test_market_of_a_code_in_another_spelling(code: str, market: str | None) -> None:
    assert market_of(code) == market


def test_a_restriction_in_another_spelling_fires_once_and_resolves() -> None:
    spelled = account_update([HK, "us_stock_liquidate_only"], ns=0)
    folded = fold(spelled, account_update([US, HK], ns=SECOND), account_update([HK], ns=2 * SECOND))
    assert [(alert["status"], alert["subject"]) for alert in folded.alerts] == [
        ("FIRING", "HK"),
        ("FIRING", "US"),
        ("RESOLVED", "US"),
    ]
    assert folded.flags == [Flag.UNKNOWN_VALUE]
    restriction = folded.alerts[1]["restriction"]
    assert restriction is not None
    assert restriction["code"] == "us_stock_liquidate_only"


SEPARATORS = st.text(st.sampled_from("_ -./\u00ad\u200b\u2060\u3164\ufeff\n\x00"), max_size=3)


@given(
    st.sampled_from(
        [f"{market}_STOCK_{kind}" for market in ("HK", "US", "CN") for kind in ("LIQUIDATE_ONLY", "NO_TRADE")]
    ),
    st.data(),
)
def test_a_documented_code_is_known_whatever_is_between_its_letters(code: str, data: st.DataObject) -> None:
    spelled = "".join(data.draw(SEPARATORS) + data.draw(st.sampled_from((c, c.lower()))) for c in code.replace("_", ""))
    assert market_of(spelled) == (code[:2] if code.endswith("LIQUIDATE_ONLY") else None)


@given(st.text())
def test_any_text_has_a_market_or_none(code: str) -> None:
    assert market_of(code) is None or market_of(code)
    assert market_of(f"{code}_STOCK_LIQUIDATE_ONLY")


@given(st.text(alphabet="HKUSCN", min_size=1), st.sampled_from(["_STOCK_LIQUIDATE_ONLY", "_LIQUIDATE_ONLY"]))
def test_the_documented_form_has_the_market_it_names(market: str, rest: str) -> None:
    assert market_of(market + rest) == market_of((market + rest).lower()) == market

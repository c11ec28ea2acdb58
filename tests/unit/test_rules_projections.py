import json
from uuid import UUID

import pytest
from rules_events import CATALOG, HK, SECOND, account_update, fold, sample, sample_names, transfer

from broker_events.processors.rules import PROJECTIONS, active_change
from broker_events.processors.rules.alerting import NAMESPACE
from broker_events.schemas.codec import Codec

SAMPLES = [(biz_type, name) for biz_type in PROJECTIONS for name in sample_names(biz_type)]


def test_the_twelve_documented_events_are_projected_to_contracted_tables() -> None:
    assert len(PROJECTIONS) == 12
    assert PROJECTIONS.keys() <= CATALOG.events.keys()  # an event type without a state needs no rule
    assert {projection.topic for projection in PROJECTIONS.values()} <= CATALOG.topics.keys()


@pytest.mark.parametrize(("biz_type", "name"), SAMPLES)
def test_states_and_alerts_of_every_sample_survive_their_avro(biz_type: str, name: str) -> None:
    folded = fold(sample(biz_type, name))
    ((key, state),) = folded.states.items()
    contract = CATALOG.topics[PROJECTIONS[biz_type].topic][0]
    assert contract.schema is not None
    assert state.keys() == {field["name"] for field in contract.schema["fields"]}
    assert key == state.get("movement_id", state["account_key"])
    codec = Codec[object](contract, 1)
    assert codec.decode(codec.encode(state)) == state
    for alert in folded.alerts:
        codec = Codec[object](CATALOG.contracts["alert"], 1)
        assert codec.decode(codec.encode(alert)) == alert


def test_the_namespace_of_alert_ids_is_the_documented_one() -> None:
    schema = json.dumps(CATALOG.contracts["alert"].schema)
    assert UUID("6261f28f-fc6c-59a7-817f-efdca5dc1481") == NAMESPACE
    assert str(NAMESPACE) in schema


def test_a_condition_is_active_until_it_is_resolved() -> None:
    fired, resolved = fold(account_update([HK], ns=0), account_update([], ns=SECOND)).alerts
    assert active_change(fired) == (fired["dedup_key"], fired)
    assert active_change(resolved) == (fired["dedup_key"], None)


def test_a_returned_transfer_is_never_active() -> None:
    (alert,) = fold(transfer("RETURNED", ns=0)).alerts
    assert active_change(alert) is None

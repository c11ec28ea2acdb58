"""`contracts new` writes a contract that loads, and that types every documented event completely."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from broker_events.cli.contracts import command
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.invalid_event import InvalidEvent, Reason

EVENTS = next(iter(load_catalog().events.values())).folder.parent
SAMPLES = {path for path in EVENTS.glob("*/samples/accept/documented-*.json") if ".record" not in path.name}
# The documents give client_request_id twice in it. Only a contract with may_repeat accepts that.
AMBIGUOUS = EVENTS / "account-info-update/samples/accept/documented-rejected.json"
DOCUMENTED = sorted(SAMPLES - {AMBIGUOUS})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for group in ("events", "state", "alerts", "internal"):
        shutil.copytree(EVENTS.parent / group, tmp_path / group)
    shutil.copy(EVENTS.parent / "promises.toml", tmp_path)
    return tmp_path


def new(root: Path, event: object, name: str = "fee-forecast") -> Result:
    value = event if isinstance(event, str) else json.dumps(event)
    return CliRunner().invoke(command, ["new", name, "--from", "-", "--root", str(root)], input=value)


def as_forecast(path: Path) -> str:
    return re.sub(r'"biz_type": "\w+"', '"biz_type": "FEE_FORECAST"', path.read_text(encoding="utf-8"))


def forecast(**payload: Any) -> dict[str, Any]:
    event = {"id": "event_1", "event_type": "FUNDING", "timestamp": "2026-01-05T09:31:00.123456789Z"}
    return {**event, "payload": {"biz_type": "FEE_FORECAST", "account_id": "ACC-1", **payload}}


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.relative_to(EVENTS).as_posix())
def test_every_documented_event_gives_a_contract_that_keeps_all_of_it(path: Path, root: Path) -> None:
    done = new(root, as_forecast(path))
    assert done.exit_code == 0, done.output
    folder = root / "events/fee-forecast"
    contract = load_catalog(root).events["FEE_FORECAST"]
    assert json.loads((folder / "samples/accept/first.record.json").read_text(encoding="utf-8"))["extra"] == {}
    for sample in (folder / "samples/reject").iterdir():
        with pytest.raises(InvalidEvent) as raised:
            Transcoder(contract, 1).encode(sample.read_bytes())
        assert raised.value.reason is Reason(sample.name.partition("--")[0])


def test_types_are_proposed_from_values_and_names(root: Path) -> None:
    event = forecast(
        amount="12.50", rate=0.125, count=3, isFinal=True, payTime="2026-01-06T00:00:00+08:00", reference="007",
        lots=[{"lot_id": "1", "quantity": "10"}], nothing=None, more={"x": 1}, tags=["a"], event_id="other",
    )  # fmt: skip
    done = new(root, event)
    assert done.exit_code == 0, done.output
    assert "no field for nothing, more, event_id: kept as JSON text in extra" in done.output
    record = json.loads((root / "events/fee-forecast/samples/accept/first.record.json").read_text(encoding="utf-8"))
    assert {name: record[name] for name in [*record][7:]} == {
        "amount": "12.500000000000000000",
        "rate": "0.125000000000000000",
        "count": 3,
        "is_final": True,
        "pay_time": "2026-01-05T16:00:00.000000Z",
        "pay_time_text": "2026-01-06T00:00:00+08:00",
        "reference": "007",
        "lots": [{"lot_id": "1", "quantity": "10.000000000000000000"}],
        "tags": ["a"],
        "extra": {"/payload/nothing": "null", "/payload/more": '{"x":1}', "/payload/event_id": '"other"'},
    }


@pytest.mark.parametrize(
    ("event", "name", "message"),
    [
        ("{", "fee-forecast", "the event is not valid: not_json"),
        (forecast(account_id=7), "fee-forecast", "the event is not valid: no_account"),
        (forecast(biz_type=7), "fee-forecast", "no payload member biz_type that is a text"),
        (forecast(biz_type="CREDIT"), "fee-forecast", "CREDIT has a contract: "),
        (forecast(biz_type="fee forecast"), "fee-forecast", "biz_type: String should match pattern"),
        (forecast(), "credit", "credit exists"),
        (as_forecast(AMBIGUOUS), "fee-forecast", "cannot be typed: duplicate_key: the member occurs more than once"),
        (forecast(), "../fee", "NAME must be lower-case words joined by hyphens"),
    ],
)
def test_what_can_be_no_contract_is_refused_and_leaves_nothing(
    event: object, name: str, message: str, root: Path
) -> None:
    before = sorted(root.rglob("*"))
    done = new(root, event, name)
    assert done.exit_code != 0
    assert message in done.output + str(done.exception)
    assert sorted(root.rglob("*")) == before


def test_outside_of_a_clone_it_says_where_to_run_it(tmp_path: Path) -> None:
    done = new(tmp_path, {})
    assert done.exit_code == 2
    assert f"{tmp_path} holds no contracts: run this in a clone of the project" in done.output

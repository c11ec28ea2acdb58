"""The catalog: what the contracts are, and which mistakes in them it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import Contract, ContractError, load_catalog
from broker_events.schemas.generate import models_text
from broker_events.schemas.schema_rules import COMMON_FIELDS

CATALOG = load_catalog()
ROOT = next(iter(CATALOG.events.values())).folder.parents[1]
GROUPS = ("events", "state", "alerts", "internal")

Json = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Copy all contracts to a place of their own."""
    for group in GROUPS:
        shutil.copytree(ROOT / group, tmp_path / group)
    shutil.copy(ROOT / "promises.toml", tmp_path)
    return tmp_path


def edit_schema(root: Path, contract: str, change: Callable[[Json], object]) -> None:
    path = root / contract / "schema.avsc"
    schema = json.loads(path.read_text(encoding="utf-8"))
    change(schema)
    path.write_text(json.dumps(schema), encoding="utf-8")


def edit_metadata(root: Path, contract: str, old: str, new: str) -> None:
    path = root / contract / "contract.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def field(schema: Json, name: str) -> Json:
    return next(each for each in schema["fields"] if each["name"] == name)


def refusal(root: Path) -> ContractError:
    with pytest.raises(ContractError) as raised:
        load_catalog(root)
    return raised.value


def test_topics_and_their_cleanup() -> None:
    topics = {
        name: topic.retention_days if topic.cleanup == "delete" else "compact"
        for name, (_, topic) in CATALOG.topics.items()
    }
    assert (
        topics.items()
        >= {
            "raw": 30,
            "ingest.cursors": "compact",
            "event.account-update": 30,
            "event.virtual-account-bcan-update": 30,
            "event.account-info-update": 30,
            "event.account-restrict": 30,
            "event.account-unrestricted": 30,
            "event.account-close": 30,
            "event.fee-deduction": 30,
            "event.credit": 30,
            "event.instant-funding": 30,
            "event.instant-exchange": 30,
            "event.exchange": 30,
            "event.transfer": 30,
            "alerts": 90,
            "alerts.active": "compact",
            "state.accounts": "compact",
            "state.movements": "compact",
            "quarantine": 90,
        }.items()
    )


def test_events_are_in_the_folder_of_their_name() -> None:
    assert {name.lower().replace("_", "-"): name for name in CATALOG.events} == {
        contract.name: contract.biz_type for contract in CATALOG.events.values()
    }
    assert len(CATALOG.events) >= 12


@pytest.mark.parametrize("contract", CATALOG.events.values(), ids=lambda contract: contract.name)
def test_common_fields_are_the_same_in_all_events(contract: Contract) -> None:
    """Doc and origin too; one differing field is named."""
    common, own = (
        (each.schema or {})["fields"][: len(COMMON_FIELDS)] for each in (CATALOG.contracts["fee-deduction"], contract)
    )
    assert [each["name"] for each in common] == [name for name, _, _ in COMMON_FIELDS]
    assert [each["name"] for each in own] == [each["name"] for each in common]
    differing = [ours["name"] for ours, shared in zip(own, common, strict=True) if ours != shared]
    assert differing == [], f"{contract.name}: not as in fee-deduction"


def test_registered_text_is_the_schema_of_the_file() -> None:
    for contract in CATALOG.contracts.values():
        if contract.schema_text is not None:
            file = json.loads((contract.folder / "schema.avsc").read_text(encoding="utf-8"))
            assert json.loads(contract.schema_text) == file == contract.schema
            assert list(json.loads(contract.schema_text)) == list(file)


def test_a_deprecated_contract_names_date_and_successor(root: Path) -> None:
    lifecycle = '[lifecycle]\nstatus = "deprecated"\nends = 2027-06-30\nsuccessor = "event.credit"\n[[topics]]'
    edit_metadata(root, "events/transfer", "[[topics]]", lifecycle)
    found = load_catalog(root).contracts["transfer"].lifecycle
    assert (found.status, str(found.ends), found.successor) == ("deprecated", "2027-06-30", "event.credit")


def test_promises_need_a_proof(root: Path) -> None:
    path = root / "promises.toml"
    path.write_text('[order-none]\nkind = "order"\ntext = "None."\n', encoding="utf-8")
    assert (refusal(root).path, refusal(root).key) == (path, "order-none")
    path.unlink()
    assert refusal(root).problem == "is missing"


def test_contracts_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        CATALOG.events["OTHER"] = CATALOG.events["TRANSFER"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        CATALOG.events["TRANSFER"].biz_type = "OTHER"  # type: ignore[misc]


def test_a_new_event_type_is_a_new_folder(root: Path) -> None:
    shutil.copytree(root / "events/credit", root / "events/test-award")
    shutil.rmtree(root / "events/test-award/samples")
    edit_metadata(root, "events/test-award", "CREDIT", "TEST_AWARD")
    edit_metadata(root, "events/test-award", "event.credit", "event.test-award")
    edit_schema(root, "events/test-award", lambda schema: schema.update(name="TestAward"))

    catalog = load_catalog(root)

    assert len(catalog.events) == len(CATALOG.events) + 1
    assert "class TestAward(Record):" in models_text(catalog)
    value = (
        (ROOT / "events/credit/samples/accept/documented-completed.json").read_bytes().replace(b"CREDIT", b"TEST_AWARD")
    )
    record = Transcoder(catalog.events["TEST_AWARD"], 7).encode(value)
    assert record.startswith(b"\x00\x00\x00\x00\x07")
    assert b"TEST_AWARD" in record


@pytest.mark.parametrize(
    "path",
    [
        "events/notes.md",
        "events/transfer/schema.json",
        "events/transfer/encode.py",
        "events/transfer/samples/completed.json",
        "events/transfer/samples/reject/cut-off.json",
        "events/transfer/samples/accept/old/completed.json",
    ],
)
def test_orphan_file_is_refused(root: Path, path: str) -> None:
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text("{}", encoding="utf-8")
    assert refusal(root).path == root / path


@pytest.mark.parametrize("missing", ["completed.json", "completed.record.json"])
def test_sample_without_its_partner_is_refused(root: Path, missing: str) -> None:
    path = root / f"events/transfer/samples/accept/documented-{missing}"
    path.unlink()
    assert refusal(root).path == path


@pytest.mark.parametrize("path", ["events/__pycache__/x.pyc", "events/transfer/.DS_Store", "events/.cache/x"])
def test_litter_of_tools_is_passed_over(root: Path, path: str) -> None:
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_bytes(b"")
    assert load_catalog(root).events.keys() == CATALOG.events.keys()


@pytest.mark.parametrize(
    ("contract", "old", "new", "key"),
    [
        ("events/transfer", "owner", "oner", "owner"),
        ("events/transfer", "[[topics]]", 'team = "x"\n[[topics]]', "team"),
        ("events/transfer", "retention_days = 30", "retention_days = 30\npartitions = 3", "topics.0.partitions"),
        ("events/transfer", "retention_days = 30", "retention_days = 0", "topics.0.retention_days"),
        ("events/transfer", "retention_days = 30", "", "topics.0"),
        ("events/transfer", '"delete"', '"compact"', "topics.0"),
        ("events/transfer", '"delete"', '"none"', "topics.0.cleanup"),
        ("events/transfer", '"TRANSFER"', '"transfer"', "biz_type"),
        ("events/transfer", 'event_type = "FUNDING"', "", "biz_type"),
        ("events/transfer", "event.transfer", "event.transfers", "topics"),
        ("events/transfer", 'key_class = "personal"', "", "topics.0.key_class"),
        ("events/transfer", 'version = "1.0.0"', 'version = "1.0"', "version"),
        ("events/transfer", '"order-account"', '"order-acount"', "topics.0.promises"),
        ("events/transfer", '"order-account", ', "", "topics.0.promises"),
        ("events/transfer", '"order-account"', '"order-account", "order-key"', "topics.0.promises"),
        ("events/transfer", "[[topics]]", '[lifecycle]\nstatus = "deprecated"\n[[topics]]', "lifecycle"),
        ("events/transfer", "[[topics]]", '[lifecycle]\nstatus = "gone"\n[[topics]]', "lifecycle.status"),
        ("events/transfer", "[[topics]]", 'value_class = "personal"\n[[topics]]', "value_class"),
        ("internal/raw", 'value_class = "personal"', "", "value_class"),
        ("events/transfer", '"TRANSFER"', '"EXCHANGE"', "biz_type"),
        ("alerts/alert", '"alerts.active"', '"state.accounts"', "topics"),
        ("alerts/alert", "[[topics]]", 'biz_type = "ALERT"\n[[topics]]', "biz_type"),
        ("internal/raw", 'owner = "broker-events"', "owner = broker-events", ""),
    ],
)
def test_wrong_metadata_is_refused(root: Path, contract: str, old: str, new: str, key: str) -> None:
    edit_metadata(root, contract, old, new)
    error = refusal(root)
    assert error.path.name == "contract.toml"
    assert error.key == key or not key
    assert str(error.path) in str(error)


SCHEMA_MISTAKES: dict[str, tuple[Callable[[Json], object], str]] = {
    "no doc on the record": (lambda s: s.pop("doc"), "doc"),
    "no doc on a field": (lambda s: field(s, "status").pop("doc"), "status.doc"),
    "an empty doc": (lambda s: field(s, "status").update(doc=" "), "status.doc"),
    "no class": (lambda s: field(s, "status").pop("class"), "status.class"),
    "an unknown class": (lambda s: field(s, "status").update({"class": "private"}), "status.class"),
    "an unknown field property": (lambda s: field(s, "status").update(pii=True), "status.pii"),
    "an unknown record property": (lambda s: s.update(aliases=["T"]), "aliases"),
    "no namespace": (lambda s: s.pop("namespace"), "namespace"),
    "nullable without default": (lambda s: field(s, "reason").pop("default"), "reason"),
    "null as the second branch": (lambda s: field(s, "reason").update(type=["string", "null"]), "reason"),
    "a union of three": (lambda s: field(s, "reason").update(type=["null", "string", "int"]), "reason"),
    "a double": (lambda s: field(s, "amount").update(type="double"), "amount"),
    "plain bytes": (lambda s: field(s, "amount").update(type="bytes"), "amount"),
    "another decimal": (lambda s: field(s, "amount")["type"].update(scale=2), "amount"),
    "milliseconds": (
        lambda s: field(s, "update_time").update(type=["null", {"type": "long", "logicalType": "timestamp-millis"}]),
        "update_time",
    ),
    "an enum": (
        lambda s: field(s, "status").update(type={"type": "enum", "name": "Status", "symbols": ["COMPLETED"]}),
        "status",
    ),
    "a list of lists": (
        lambda s: field(s, "status").update(
            type={"type": "array", "items": {"type": "array", "items": "string"}},
        ),
        "status",
    ),
    "a second map": (lambda s: field(s, "status").update(type={"type": "map", "values": "string"}), "status"),
    "a time without its text": (lambda s: s["fields"].remove(field(s, "update_time_text")), "update_time"),
    "a time's text from elsewhere": (lambda s: field(s, "update_time_text").pop("from"), "update_time"),
    "an origin that is no pointer": (lambda s: field(s, "status").update({"from": "payload/status"}), "status.from"),
    "an origin in depth": (lambda s: field(s, "status").update({"from": "/payload/a/status"}), "status.from"),
    "the payload as an origin": (lambda s: field(s, "status").update({"from": "/payload"}), "status.from"),
    "free text that is no text": (lambda s: field(s, "fee").update({"free_text": True}), "fee.free_text"),
    "free text by half": (lambda s: field(s, "status").update({"free_text": False}), "status.free_text"),
    "no origin": (lambda s: field(s, "status").update({"from": []}), "status.from"),
    "common fields in another order": (lambda s: s["fields"].insert(0, s["fields"].pop(1)), "event_id"),
    "another type of a common field": (lambda s: field(s, "event_time_text").update(type="long"), "event_time_text"),
    "extra not at the end": (lambda s: s["fields"].insert(7, s["fields"].pop()), "extra"),
    "a keyword of Python": (lambda s: field(s, "status").update(name="class"), "class"),
    "a type that does not exist": (lambda s: field(s, "status").update(type="Strin"), ""),
    "one name twice": (lambda s: field(s, "status").update(name="currency"), "currency"),
    "a default of another type": (lambda s: field(s, "status").update(default=0), ""),
    "no record": (lambda s: s.update(type="enum"), "type"),
}


@pytest.mark.parametrize(("change", "key"), SCHEMA_MISTAKES.values(), ids=SCHEMA_MISTAKES)
def test_wrong_schema_is_refused(root: Path, change: Callable[[Json], object], key: str) -> None:
    edit_schema(root, "events/transfer", change)
    error = refusal(root)
    assert (error.path, error.key) == (root / "events/transfer/schema.avsc", key)


def test_origin_is_for_events_alone(root: Path) -> None:
    edit_schema(root, "alerts/alert", lambda schema: field(schema, "rule").update({"from": "/rule"}))
    assert refusal(root).key == "rule.from"


def test_a_field_has_the_strictest_class_of_the_records_in_it(root: Path) -> None:
    edit_schema(root, "alerts/alert", lambda schema: field(schema, "transfer").update({"class": "internal"}))
    error = refusal(root)
    assert (error.key, error.problem) == ("transfer.class", "must be personal, the strictest class of the fields in it")


def test_one_record_name_has_one_shape(root: Path) -> None:
    def change(schema: Json) -> None:
        field(schema, "restrict_infos")["type"]["items"]["fields"].pop(0)

    edit_schema(root, "events/account-restrict", change)
    assert refusal(root).key == "restrict_infos"


def test_repeated_key_is_refused(root: Path) -> None:
    path = root / "events/transfer/schema.avsc"
    path.write_text(path.read_text(encoding="utf-8").replace('"doc"', '"doc": "x", "doc"', 1), encoding="utf-8")
    assert refusal(root).key == "doc"


def test_event_needs_both_files(root: Path) -> None:
    (root / "events/transfer/schema.avsc").unlink()
    assert refusal(root).path.name == "schema.avsc"
    (root / "events/transfer/contract.toml").unlink()
    assert refusal(root).path.name == "contract.toml"


def test_schema_that_is_no_json_is_refused(root: Path) -> None:
    path = root / "events/transfer/schema.avsc"
    path.write_text("{", encoding="utf-8")
    assert "not JSON" in refusal(root).problem


def test_record_without_fields_is_refused(root: Path) -> None:
    edit_schema(root, "alerts/alert", lambda schema: schema.update(fields=[]))
    assert refusal(root).key == "fields"


def test_one_name_for_two_contracts_is_refused(root: Path) -> None:
    shutil.copytree(root / "internal/raw", root / "internal/transfer")
    edit_metadata(root, "internal/transfer", '"raw"', '"other"')
    assert "name is already used" in refusal(root).problem


def test_empty_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "promises.toml").touch()
    assert refusal(tmp_path).path == tmp_path

"""The generated types are those of the schemas."""

import inspect
from pathlib import Path

import pytest

from broker_events.schemas import generate, models, storage_types
from broker_events.schemas.catalog import load_catalog

CATALOG = load_catalog()


def test_generated_modules_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().out


def test_check_shows_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "__file__", str(tmp_path / "generate.py"))
    assert generate.main([]) == 0
    path = tmp_path / "storage_types.py"
    path.write_text(path.read_text(encoding="utf-8").replace("status: str\n", "state: str\n", 1), encoding="utf-8")
    stale = path.read_bytes()

    assert generate.main(["--check"]) == 1

    output = capsys.readouterr().out
    assert "-    state: str" in output
    assert "+    status: str" in output
    assert path.read_bytes() == stale
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_other_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--chek"]) == 2
    assert "usage" in capsys.readouterr().err


def test_types_of_both_forms() -> None:
    model = {name: str(field.annotation) for name, field in models.Exchange.model_fields.items()}
    assert model["event_time"] == "<class 'datetime.datetime'>"
    assert model["from_amount"] == "<class 'decimal.Decimal'>"
    assert model["fx_rate"] == "decimal.Decimal | None"
    assert models.AccountRestrict.model_fields["restrict_infos"].annotation == tuple[models.RestrictInfo, ...]

    storage = storage_types.Exchange.__annotations__
    assert storage["event_time"] is int
    assert storage["from_amount"] is bytes
    assert storage["fx_rate"] == bytes | None
    assert storage["extra"] == dict[str, str]
    assert storage_types.AccountRestrict.__annotations__["restrict_infos"] == list[storage_types.RestrictInfo]


def test_fields_and_docs_are_those_of_the_schemas() -> None:
    for contract in CATALOG.contracts.values():
        if contract.schema is None:
            continue
        model = models.RECORDS[f"{contract.schema['namespace']}.{contract.schema['name']}"]
        docs = {name: " ".join(str(field.description).split()) for name, field in model.model_fields.items()}
        assert docs == {field["name"]: field["doc"] for field in contract.schema["fields"]}
        assert " ".join(str(inspect.getdoc(model)).split()) == contract.schema["doc"]
        storage = getattr(storage_types, contract.schema["name"])
        assert list(storage.__annotations__) == [field["name"] for field in contract.schema["fields"]]


def test_subscribers_type_checkers_see_the_types() -> None:
    assert (Path(models.__file__).parents[1] / "py.typed").exists()

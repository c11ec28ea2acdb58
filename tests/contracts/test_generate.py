"""The generated types are those of the schemas."""

import inspect
from pathlib import Path
from types import ModuleType

import pytest

from broker_events.schemas import generate, models, storage_types
from broker_events.schemas.catalog import load_catalog

CATALOG = load_catalog()


@pytest.mark.parametrize("module", [models, storage_types])
def test_generated_modules_are_fresh(module: ModuleType, tmp_path: Path) -> None:
    generate.generate(tmp_path)
    path = Path(str(module.__file__))
    assert path.read_text(encoding="utf-8") == (tmp_path / path.name).read_text(encoding="utf-8")


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

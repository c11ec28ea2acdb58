"""The lake on a real Kafka: every record of every topic as one row, with its values."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from kafka_cluster import KafkaCluster
from lake_folder import LakeFolder
from pipeline_processes import Pipeline, credit, eventually

from broker_events.schemas.catalog import load_catalog
from broker_events.sinks.lake.tables import Kind, lake_tables

CATALOG = load_catalog()
TABLES = lake_tables(CATALOG)
SAMPLES = [
    path.read_bytes()
    for contract in CATALOG.events.values()
    for path in sorted(contract.folder.glob("samples/*/*.json"))
    if not path.name.endswith(".record.json")
]


@pytest.fixture(scope="module")
def lake(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> LakeFolder:
    """The tables of a pipeline that has processed every sample, good and bad, each one twice."""
    folder = tmp_path_factory.mktemp("lake")
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", folder, partitions=2).made()
    for value in [*SAMPLES, *SAMPLES]:
        pipeline.produce_all("raw", [("ACC-1", value)], [("event_id", b"e"), ("received_at", b"\xff")])
    with pipeline.worker("router") as router, pipeline.worker("projector") as projector:
        eventually(lambda: pipeline.command("ledger").returncode == 0)
        router.wait_ready()
        projector.wait_ready()
        eventually(lambda: len(pipeline.read("state.movements")) > 0)
        assert (projector.stop(), router.stop()) == (0, 0)
    lake = LakeFolder(pipeline, folder / "lake").made()
    lake.fill()
    return lake


@pytest.mark.parametrize("name", TABLES)
def test_every_record_is_one_row_with_the_same_values(lake: LakeFolder, name: str) -> None:
    table = TABLES[name]
    records = sorted(lake.pipeline.read(table.topic), key=lambda record: (record.partition(), record.offset()))
    rows = lake.rows(name)
    assert records
    assert [(row["_partition"], row["_offset"], row["_key"]) for row in rows] == [
        (record.partition(), record.offset(), None if (key := record.key()) is None else key.decode())
        for record in records
    ]
    for row, record in zip(rows, records, strict=True):
        assert round(row["_timestamp"].timestamp() * 1000) == record.timestamp()[1]
        if table.kind is Kind.RAW:
            assert row["value"] == record.value()
            assert [(each["name"], each["value"]) for each in row["headers"]] == record.headers()
        elif record.value() is not None:
            assert plain({k: v for k, v in row.items() if k[0] != "_"}) == plain(
                lake.pipeline.decode(record).model_dump(by_alias=True)
            )
    counts = lake.query("count(*), count(DISTINCT (_partition, _offset))", name)
    assert counts == (len(records), len(records))


def plain(value: Any) -> Any:
    """The value without the types of the library that read it: maps as dicts."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, tuple) for item in value):
        return {name: plain(item) for name, item in value}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value] or {}
    return value


def test_a_second_fill_adds_only_what_is_new(lake: LakeFolder) -> None:
    before = len(lake.rows("raw"))
    lake.pipeline.produce_all("raw", [("ACC-1", credit("later"))])
    lake.fill()
    lake.fill()
    assert len(lake.rows("raw")) == before + 1
    assert lake.query("count(*), count(DISTINCT (_partition, _offset))", "raw") == (before + 1, before + 1)


def test_columns_and_tables_have_the_contracts_docs(lake: LakeFolder) -> None:
    table, contract = lake.table("event_transfer"), TABLES["event_transfer"].contract
    assert table.properties["comment"] == contract.description
    assert contract.schema is not None
    docs = {field["name"]: field["doc"] for field in contract.schema["fields"]}
    for field in table.schema().fields:
        assert field.doc
        assert field.doc.startswith(docs.get(field.name, field.doc))
    assert [field.name for field in table.spec().fields] == ["_day"]
    assert lake.command("apply").stdout.count("unchanged") == len(TABLES)

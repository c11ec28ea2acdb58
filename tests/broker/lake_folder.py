"""A lake in a folder of a test: filled by the command, read by PyIceberg and, as an independent engine, by DuckDB."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import duckdb
import duckdb_ext
from pipeline_processes import Pipeline, Worker
from pyiceberg.catalog import load_catalog
from pyiceberg.table import Table

from broker_events.audit.lake_verify import LakeAudit
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import load_catalog as load_contracts
from broker_events.sinks.lake.iceberg.store import Lake
from broker_events.sinks.lake.tables import chosen_tables

_EXTENSIONS = Path(next(iter(duckdb_ext.__path__))) / "extensions" / "v1.4.4" / "linux_amd64"


class LakeFolder:
    """The tables of one pipeline in one folder. `settings` are of every process, by name."""

    def __init__(self, pipeline: Pipeline, folder: Path, **settings: object) -> None:
        self.pipeline = pipeline
        self.folder = folder
        self.namespace = pipeline.settings.topic_prefix.replace("-", "_")
        self.settings = {"lake_warehouse": folder, "lake_freshness_s": 1, **settings}

    def made(self) -> LakeFolder:
        """Create the tables as `lake apply` does."""
        settings = self._in_process()
        for table in chosen_tables(load_contracts(), settings.lake_tables):
            assert Lake(settings).apply(table, settings.topic(table.topic))
        return self

    def problems(self) -> list[str]:
        """What `lake verify` finds."""
        audit = LakeAudit(self._in_process(), with_topics=True)
        verdicts = [*audit.tables()]
        assert all(verdict.compared == verdict.rows for verdict in verdicts)
        outcomes = audit.outcomes()
        return [p for verdict in verdicts for p in verdict.problems] + ([] if outcomes is None else outcomes.problems)

    def _in_process(self) -> Settings:
        own = {
            "lake_warehouse": str(self.folder),
            "lake_tables": tuple(str(self.settings.get("lake_tables", "")).split()),
        }
        return self.pipeline.settings.model_copy(update=own)

    def command(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """Run `broker-events lake` with these arguments to its end."""
        return self.pipeline.command("lake", *arguments, **{**self.settings, **settings})

    def fill(self, **settings: object) -> None:
        """Commit everything up to the topics' ends."""
        done = self.command("--until-end", **settings)
        assert done.returncode == 0, done.stderr

    def worker(self, instance_id: str = "a", **settings: object) -> Worker:
        return self.pipeline.worker("lake", instance_id, **{**self.settings, **settings})

    def table(self, name: str) -> Table:
        catalog = load_catalog(
            "lake", type="sql", uri=f"sqlite:///{self.folder}/catalog.db", warehouse=str(self.folder)
        )
        return catalog.load_table((self.namespace, name))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Every row, by partition and offset."""
        rows: list[dict[str, Any]] = self.table(name).scan().to_arrow().to_pylist()
        return sorted(rows, key=lambda row: (row["_partition"], row["_offset"]))

    def query(self, select: str, name: str) -> Any:
        """Return the first row of `select ... FROM the table` by DuckDB."""
        with duckdb.connect(config={"allow_unsigned_extensions": "true"}) as engine:
            for extension in ("avro", "iceberg"):
                engine.execute(f"LOAD '{_EXTENSIONS / f'{extension}.duckdb_extension'}'")
            engine.execute("SET TimeZone = 'UTC'")
            return engine.sql(f"FROM iceberg_scan('{self.table(name).metadata_location}')").aggregate(select).fetchone()

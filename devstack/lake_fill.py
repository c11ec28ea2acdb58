"""The lake worker of a run: fills tables in a folder while the pipeline runs, and to the end of the topics after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from broker_events.devstack.interrupts import Interrupted, Interrupts
from broker_events.devstack.java import free_ports
from broker_events.devstack.pipeline import Part, State, environment

_TICK_S: Final = 0.1
# A run is short: a table shows its records sooner than in production.
_FRESHNESS_S: Final = 5
_SPARK_PACKAGES: Final = "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0,org.xerial:sqlite-jdbc:3.50.3.0"


class LakeFill:
    """The tables of one run, in `folder`; `shared` are the settings of the run's processes, `logs` their logs."""

    def __init__(self, folder: Path, shared: Mapping[str, object], logs: Path) -> None:
        (port,) = free_ports(1)
        here: dict[str, object] = {
            "lake_catalog": "sql",
            "lake_catalog_properties": "{}",
            "lake_warehouse": folder.resolve(),
            "lake_tables": "",
            "lake_freshness_s": _FRESHNESS_S,
            "http_port": port,
        }
        self._variables = environment({**shared, **here})
        self._logs = logs
        self.part = Part("lake", ["lake"], self._variables, logs, http_port=port)

    def start(self, say: Callable[[str], None], interrupts: Interrupts) -> None:
        """Create the tables and start the worker. Raises PartFailed, and Interrupted at a signal."""
        self._run("lake-apply", ["lake", "apply"], interrupts)
        self.part.start()
        say(f"lake tables in {self._variables['PIPELINE_LAKE_WAREHOUSE']}")

    def finish(self, interrupts: Interrupts) -> None:
        """Commit everything up to the topics' ends. Raises PartFailed, and Interrupted at a second signal."""
        self.part.stop()
        self._run("lake-end", ["lake", "--until-end"], interrupts)

    def _run(self, name: str, arguments: list[str], interrupts: Interrupts) -> None:
        part, signals = Part(name, arguments, self._variables, self._logs, may_finish=True), interrupts.count
        part.start()
        try:
            while part.state is not State.FINISHED:
                part.supervise()
                if interrupts.count > signals:
                    raise Interrupted
                time.sleep(_TICK_S)
        finally:
            part.stop()


def reading(folder: Path, prefix: str) -> list[str]:
    """Return the lines that read a table of the folder in DuckDB, polars and Spark."""
    root, space = folder.resolve(), prefix.replace(".", "_").replace("-", "_")
    duckdb = f"FROM iceberg_scan('{root}/{space}/alerts')"
    catalog = f"load_catalog('lake', type='sql', uri='sqlite:///{root}/catalog.db')"
    lake = "--conf spark.sql.catalog.lake"
    spark = (
        f"spark-sql --packages {_SPARK_PACKAGES} {lake}=org.apache.iceberg.spark.SparkCatalog {lake}.type=jdbc "
        f"{lake}.uri=jdbc:sqlite:{root}/catalog.db {lake}.warehouse={root}"
    )
    return [
        "read the tables:",
        f"  DuckDB  SET unsafe_enable_version_guessing = true; {duckdb};",
        f"  polars  pl.scan_iceberg(pyiceberg.catalog.{catalog}.load_table('{space}.alerts')).collect()",
        f"  Spark   {spark} -e 'FROM lake.{space}.alerts'",
    ]

"""Counts the rows of a lake table with DuckDB, which shares no code with the writer."""

from __future__ import annotations

import importlib
import platform
from pathlib import Path
from typing import Any, Final

from broker_events.runtime.process.errors import OperatorActionRequired

_MACHINES: Final = {"x86_64": "linux_amd64", "aarch64": "linux_arm64"}
_INSTALL: Final = "pip install duckdb==1.4.4 duckdb-ext-avro==1.4.4.20260205 duckdb-ext-iceberg==1.4.4.20260205"


class DuckDb:
    """A DuckDB with its Iceberg extension. Raises OperatorActionRequired if one of them is not installed."""

    def __init__(self) -> None:
        try:
            duckdb: Any = importlib.import_module("duckdb")
            extensions: Any = importlib.import_module("duckdb_ext")
        except ModuleNotFoundError as error:
            raise OperatorActionRequired(f"--engine duckdb: {error.name} is not installed. Run: {_INSTALL}") from None
        folder = Path(next(iter(extensions.__path__))) / "extensions" / f"v{duckdb.__version__}"
        self._engine = duckdb.connect(config={"allow_unsigned_extensions": "true"})
        try:
            for name in ("avro", "iceberg"):
                path = folder / _MACHINES.get(platform.machine(), "unknown") / f"{name}.duckdb_extension"
                self._engine.execute(f"LOAD '{path}'")
        except duckdb.Error as error:
            raise OperatorActionRequired(f"--engine duckdb: {error}. Run: {_INSTALL}") from None

    def counts(self, metadata: str) -> tuple[int, int]:
        """Return the numbers of rows, and of different pairs of partition and offset; `metadata`: its location."""
        rows = self._engine.sql(f"FROM iceberg_scan('{metadata}')")
        found: tuple[int, int] = rows.aggregate("count(*), count(DISTINCT (_partition, _offset))").fetchone()
        return found

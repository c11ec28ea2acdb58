"""Settings of the lake; part of `runtime.settings`."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://.+")


def _comma_separated(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class LakeSettings(BaseSettings):
    """Where the Iceberg tables are, and how `broker-events lake` fills them."""

    lake_catalog: Literal["sql", "rest", "glue"] = Field("sql", description="kind of the Iceberg catalog")
    lake_catalog_properties: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="PyIceberg's properties of catalog and storage, as JSON: uri, s3.endpoint, s3.access-key-id ...; "
        "default for sql: a SQLite file in the warehouse folder",
    )
    lake_warehouse: str = Field("lake", min_length=1, description="folder or URI (s3://bucket/path) of the tables")
    lake_tables: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = Field(
        (), description="tables that this lake worker owns, comma separated; default: all"
    )
    lake_freshness_s: float = Field(
        60, ge=1, le=3600, description="a record is in its table at most this time after the worker read it"
    )
    lake_commit_records: int = Field(500_000, ge=1, description="maximum number of records per commit of a table")
    lake_commit_mb: int = Field(64, ge=1, le=4096, description="maximum size of Kafka values per commit of a table")
    lake_buffer_mb: int = Field(256, ge=1, le=16_384, description="maximum size of Kafka values of all tables together")
    lake_snapshots: int = Field(
        50, ge=10, le=1000, description="expire a table's oldest snapshots above this number; each one slows a commit"
    )
    lake_orphan_h: float = Field(
        72, ge=1, description="`lake maintain` removes a file of no snapshot once it is this many hours old"
    )

    @field_validator("lake_warehouse")
    @classmethod
    def _warehouse_without_password(cls, warehouse: str) -> str:
        if "@" in warehouse and _URI.fullmatch(warehouse):
            raise ValueError("must be without user and password: put them in LAKE_CATALOG_PROPERTIES")
        return warehouse

    @property
    def lake_is_folder(self) -> bool:
        """Whether the warehouse is a folder of this machine."""
        return _URI.fullmatch(self.lake_warehouse) is None

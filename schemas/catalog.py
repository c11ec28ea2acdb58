"""The contracts: one folder each, loaded and validated together.

    <group>/<name>/schema.avsc                          the record's schema; absent if the topic carries plain bytes
    <group>/<name>/contract.toml                        owner, version, promises, description, topics
    promises.toml                                       the promises that contracts name
    <group>/<name>/samples/accept/<case>.json           an event as pushed
    <group>/<name>/samples/accept/<case>.record.json    its typed record
    <group>/<name>/samples/reject/<reason>--<case>.json an event rejected for this reason

The groups are events, state, alerts and internal. A file in any other place is an error, since nothing would load it.
`alerts/rules` has the rules as data (processors.alert_rules).
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from broker_events.schemas.field_classes import FieldClass, class_within
from broker_events.schemas.promises import Promise, chosen_promises, load_promises
from broker_events.schemas.schema_rules import ContractError, read_schema, records

__all__ = [
    "DELIVERIES",
    "RAW",
    "RULES",
    "AccountMember",
    "Catalog",
    "Contract",
    "ContractError",
    "Lifecycle",
    "TopicContract",
    "load_catalog",
]

RAW: Final = "raw"
"""Name of the topic with the events as pushed."""

DELIVERIES: Final = "alerts.deliveries"
"""Name of the topic with what became of each alert at each receiver."""

RULES: Final = "alerts/rules"
"""Folder of the rules as data, which are no contracts."""

AccountMember = Literal["account_id", "account", "account_number", "client_request_id"]
"""Payload members that can give the key of an event, the preferred one first."""

_GROUPS = ("events", "state", "alerts", "internal")
_SAMPLE = re.compile(r"samples/(accept/[a-z0-9-]+(\.record)?|reject/[a-z0-9_]+--[a-z0-9-]+)\.json")

_Text = Annotated[str, Field(min_length=1)]
_Topic = Annotated[str, Field(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$")]
_BizType = Annotated[str, Field(pattern=r"^[A-Z0-9]+(_[A-Z0-9]+)*$")]


class TopicContract(BaseModel):
    """A topic. `name` excludes the deployment's prefix; `key` describes the record key, `key_class` is its class.

    `append_time`: the timestamp of a record is the broker's append time, not the producer's. `cleanup` compact,delete:
    the last record of each key is kept for `retention_days`. `promises` has one promise of each kind.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Topic
    key: _Text
    key_class: FieldClass
    cleanup: Literal["delete", "compact", "compact,delete"]
    retention_days: Annotated[int, Field(gt=0)] | None = None
    append_time: bool = False
    promises: tuple[Promise, ...]

    @field_validator("promises", mode="before")
    @classmethod
    def _by_name(cls, names: object, info: ValidationInfo) -> object:
        return chosen_promises(names, info.context or {})

    @property
    def is_compacted(self) -> bool:
        """Whether only the last record of each key counts."""
        return "compact" in self.cleanup

    @model_validator(mode="after")
    def _retention_belongs_to_delete(self) -> Self:
        if ("delete" in self.cleanup) != (self.retention_days is not None):
            raise ValueError("retention_days is required with cleanup = delete and not allowed otherwise")
        return self


class Lifecycle(BaseModel):
    """`active`; `deprecated`: maintained until the date `ends`, use `successor`; `retired`: no record since `ends`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["active", "deprecated", "retired"]
    ends: date | None = None
    successor: _Text | None = None

    @model_validator(mode="after")
    def _names_the_successor(self) -> Self:
        if (self.status == "active") == (self.ends is not None):
            raise ValueError("ends is required for deprecated and retired, and not allowed for active")
        if (self.status == "active") == (self.successor is not None):
            raise ValueError("successor is required for deprecated and retired, and not allowed for active")
        return self


class _Metadata(BaseModel):
    """Contents of a contract.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: _Text
    channel: _Text
    version: Annotated[str, Field(pattern=r"^[1-9][0-9]*\.[0-9]+\.[0-9]+$")]
    lifecycle: Lifecycle = Lifecycle(status="active")
    description: _Text
    source: _Text
    biz_type: _BizType | None = None
    event_type: _BizType | None = None
    account_key: Annotated[tuple[AccountMember, ...], Field(min_length=1)] | None = None
    value_class: FieldClass | None = None
    topics: Annotated[tuple[TopicContract, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Contract:
    """What subscribers of its topics can rely on.

    `schema` is the parsed schema.avsc. `schema_text` is the JSON text for the registry: compact, in the file's order,
    with docs and origins. Both are None for topics of plain bytes. `biz_type` and `event_type` are set for events only.
    `channel` is where to ask the owner. `version` is semantic: a breaking change raises the first number, a visible one
    the second, any other the third (`schemas.contract_changes`).
    `account_key` lists payload members, one of which every event must have; None allows any `AccountMember`.
    `value_class` is the class of the whole value, the strictest of its fields.
    """

    name: str
    folder: Path
    owner: str
    channel: str
    version: str
    lifecycle: Lifecycle
    description: str
    source: str
    biz_type: str | None
    event_type: str | None
    account_key: tuple[AccountMember, ...] | None
    value_class: FieldClass
    topics: tuple[TopicContract, ...]
    schema: dict[str, Any] | None
    schema_text: str | None


@dataclass(frozen=True, slots=True)
class Catalog:
    """All contracts by folder name, event contracts by biz_type, and contract with topic by topic name (no prefix)."""

    contracts: Mapping[str, Contract]
    events: Mapping[str, Contract]
    topics: Mapping[str, tuple[Contract, TopicContract]]


def load_catalog(root: Path = Path(__file__).parent) -> Catalog:
    """Read every contract under `root`.

    Raises `ContractError` with file and key of the first violation.
    """
    contracts: dict[str, Contract] = {}
    events: dict[str, Contract] = {}
    topics: dict[str, tuple[Contract, TopicContract]] = {}
    definitions: dict[str, Any] = {}
    promises = load_promises(root)
    for folder in _folders(root):
        contract = _load(folder, promises)
        metadata = folder / "contract.toml"
        if contract.name in contracts:
            raise ContractError(metadata, "", f"the name is already used by {contracts[contract.name].folder}")
        contracts[contract.name] = contract
        if contract.biz_type is not None:
            if contract.biz_type in events:
                taken = events[contract.biz_type].folder
                raise ContractError(metadata, "biz_type", f"{contract.biz_type} is already used by {taken}")
            events[contract.biz_type] = contract
        for topic in contract.topics:
            if topic.name in topics:
                used_by = topics[topic.name][0].folder
                raise ContractError(metadata, "topics", f"{topic.name} is already used by {used_by}")
            topics[topic.name] = (contract, topic)
        if contract.schema is not None:
            _check_unique(folder / "schema.avsc", contract.schema, definitions)
    if not contracts:
        raise ContractError(root, "", "contains no contracts")
    return Catalog(MappingProxyType(contracts), MappingProxyType(events), MappingProxyType(topics))


def _folders(root: Path) -> Iterator[Path]:
    for group in _GROUPS:
        for entry in sorted((root / group).glob("*")):
            if _is_litter(entry.relative_to(root)) or entry == root / RULES:
                continue
            if not entry.is_dir():
                raise ContractError(entry, "", "is not a contract folder")
            if any(entry.iterdir()):  # git leaves empty folders when it switches branches
                yield entry


def _is_litter(path: Path) -> bool:
    """Whether the file is a bytecode cache or hidden."""
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _load(folder: Path, promises: Mapping[str, Promise]) -> Contract:
    path = folder / "contract.toml"
    metadata = _metadata(path, promises)
    _check_files(folder)
    schema_path = folder / "schema.avsc"
    of_event = folder.parent.name == "events"
    schema = read_schema(schema_path, of_event=of_event) if of_event or schema_path.exists() else None
    if of_event:
        _check_event(path, metadata)
    elif (metadata.biz_type, metadata.event_type, metadata.account_key) != (None, None, None):
        raise ContractError(path, "biz_type", "event_type and account_key are allowed for events only")
    return Contract(
        name=folder.name,
        folder=folder,
        **dict(metadata) | {"value_class": _value_class(path, metadata, schema)},
        schema=schema,
        schema_text=None if schema is None else json.dumps(schema, ensure_ascii=False, separators=(",", ":")),
    )


def _value_class(path: Path, metadata: _Metadata, schema: dict[str, Any] | None) -> FieldClass:
    if (metadata.value_class is None) == (schema is None):
        raise ContractError(path, "value_class", "is required without a schema and not allowed with one")
    return metadata.value_class or class_within(schema, {}) or "public"


def _metadata(path: Path, promises: Mapping[str, Promise]) -> _Metadata:
    try:
        return _Metadata.model_validate(tomllib.loads(path.read_text(encoding="utf-8")), context=promises)
    except FileNotFoundError as error:
        raise ContractError(path, "", "is missing") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ContractError(path, ".".join(map(str, first["loc"])), first["msg"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ContractError(path, "", f"is not TOML: {error}") from error


def _check_event(path: Path, metadata: _Metadata) -> None:
    if metadata.biz_type is None or metadata.event_type is None:
        raise ContractError(path, "biz_type", "and event_type are missing")
    if [topic.name for topic in metadata.topics] != [f"event.{path.parent.name}"]:
        raise ContractError(path, "topics", f"must be event.{path.parent.name} only, named after the folder")


def _check_files(folder: Path) -> None:
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    samples = {path.as_posix() for path in files if not _is_litter(path)} - {"contract.toml", "schema.avsc"}
    for name in sorted(samples):
        if not _SAMPLE.fullmatch(name):
            raise ContractError(folder / name, "", "is not a contract file; schemas/catalog.py lists the allowed files")
        if name.startswith("samples/accept/"):
            event = name.removesuffix(".json").removesuffix(".record")
            for partner in (f"{event}.json", f"{event}.record.json"):
                if partner not in samples:
                    raise ContractError(folder / partner, "", f"is required with {name}")


def _check_unique(path: Path, schema: dict[str, Any], known: dict[str, Any]) -> None:
    """Reject a second definition of a record name: generated code has one type per name."""
    for key, record in records(schema):
        name = record["name"]
        if known.setdefault(name, record) != record:
            raise ContractError(path, key or "name", f"another contract defines {name} differently")

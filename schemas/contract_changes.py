"""What changed between two versions of the contracts, and what that means for subscribers.

Compares what Avro compatibility compares and what it cannot see: keys, order, retention, meaning, classes. A change is
`breaking` (a reader fails or reads other values), `visible` (a reader may have to act) or `silent`.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from broker_events.schemas.field_types import Json, field_types
from broker_events.schemas.schema_rules import records

Level = Literal["breaking", "visible", "silent"]
LEVELS: Final[tuple[Level, ...]] = ("breaking", "visible", "silent")
_NO_TYPE: Final = "no such field"


class Change(NamedTuple):
    """`place`: topic, field or key of the contract, "" for the contract itself."""

    level: Level
    contract: str
    place: str
    text: str


class ContractText(NamedTuple):
    """A contract as its files say, without the rules of the catalog, so that older versions can be read too."""

    metadata: Json
    schema: Json | None


Contracts = Mapping[str, ContractText]


def read_contracts(root: Path) -> dict[str, ContractText]:
    """Read the contracts under a folder, of any version. Raises `ValueError` or `OSError` for an unreadable file."""
    promises_path = root / "promises.toml"
    promises = tomllib.loads(promises_path.read_text(encoding="utf-8")) if promises_path.exists() else {}
    found = {}
    for path in sorted(root.glob("*/*/contract.toml")):
        metadata = tomllib.loads(path.read_text(encoding="utf-8"))
        for topic in metadata.get("topics", ()):
            chosen = [promises.get(name, {}) for name in topic.get("promises", ())]
            topic["promises"] = {promise.get("kind"): promise.get("text") for promise in chosen}
        schema_path = path.with_name("schema.avsc")
        schema = json.loads(schema_path.read_text(encoding="utf-8")) if schema_path.exists() else None
        found[path.parent.name] = ContractText(metadata, schema)
    return found


def contract_changes(old: Contracts, new: Contracts) -> list[Change]:
    """Return all changes, the worst first."""
    changes = [*_gone_and_new(old, new)]
    for name in old.keys() & new.keys():
        own = [*_metadata(name, old[name].metadata, new[name].metadata), *_topics(name, old[name], new[name])]
        own += schema_changes(name, old[name].schema, new[name].schema)
        changes += [*own, *_version(name, old[name].metadata, new[name].metadata, own)]
    return sorted(changes, key=lambda change: (LEVELS.index(change.level), change[1:]))


def worst(changes: list[Change]) -> Level | None:
    """Return the worst level, None if nothing changed."""
    return min((change.level for change in changes), key=LEVELS.index, default=None)


def schema_changes(name: str, old: Json | None, new: Json | None) -> Iterator[Change]:
    """Compare two schemas of one contract: types, meaning, class and origin of every field."""
    if old is None or new is None:
        if old is not new:
            yield Change("breaking", name, "schema", "is new" if old is None else "is gone")
        return
    before, after = field_types(old), field_types(new)
    for path, was in before.items():
        now = after.get(path, _NO_TYPE)
        if now != was:
            yield Change("breaking", name, path or "record", f"was {was}, is {now}")
    for path in after.keys() - before.keys():
        yield Change("visible", name, path, f"new field, {after[path]}; its value moves out of `extra`")
    was_record, is_record = _records(old), _records(new)
    for record in was_record.keys() & is_record.keys():
        if was_record[record]["doc"] != is_record[record]["doc"]:
            yield Change("visible", name, record, "the meaning (doc) of the record changed")
        old_fields = {field["name"]: field for field in was_record[record]["fields"]}
        new_fields = {field["name"]: field for field in is_record[record]["fields"]}
        for field in old_fields.keys() & new_fields.keys():
            yield from _field(name, f"{record}.{field}", old_fields[field], new_fields[field])


def _field(name: str, place: str, old: Json, new: Json) -> Iterator[Change]:
    if old.get("from") != new.get("from"):
        text = f"its value comes from {_shown(new.get('from'))}, before from {_shown(old.get('from'))}"
        yield Change("breaking", name, place, text)
    if old.get("class") != new.get("class"):
        yield Change("visible", name, place, f"class was {old.get('class', 'none')}, is {new.get('class', 'none')}")
    for key, text in (
        ("doc", "the meaning (doc) changed"),
        ("free_text", "the length limit changed"),
        ("may_repeat", "the rule for repeated members changed"),
    ):
        if old.get(key) != new.get(key):
            yield Change("visible", name, place, text)


def _gone_and_new(old: Contracts, new: Contracts) -> Iterator[Change]:
    for name in old.keys() - new.keys():
        yield Change("breaking", name, "", "the contract is gone")
    for name in new.keys() - old.keys():
        yield Change("visible", name, "", "new contract")


def _metadata(name: str, old: Json, new: Json) -> Iterator[Change]:
    levels: dict[str, Level] = {
        "biz_type": "breaking",
        "event_type": "breaking",
        "account_key": "breaking",
        "lifecycle": "visible",
        "description": "visible",
        "value_class": "visible",
        "channel": "silent",
        "owner": "silent",
        "source": "silent",
    }
    for key, level in levels.items():
        if old.get(key) != new.get(key):
            retired = key == "lifecycle" and new.get(key, {}).get("status") == "retired"
            yield Change(
                "breaking" if retired else level, name, key, f"was {_shown(old.get(key))}, is {_shown(new.get(key))}"
            )


def _topics(name: str, old: ContractText, new: ContractText) -> Iterator[Change]:
    before = {topic["name"]: topic for topic in old.metadata.get("topics", ())}
    after = {topic["name"]: topic for topic in new.metadata.get("topics", ())}
    for topic in before.keys() - after.keys():
        yield Change("breaking", name, topic, "the topic is gone")
    for topic in after.keys() - before.keys():
        yield Change("visible", name, topic, "new topic")
    for topic in before.keys() & after.keys():
        yield from _topic(name, topic, before[topic], after[topic])


def _topic(name: str, topic: str, old: Json, new: Json) -> Iterator[Change]:
    for key in ("key", "cleanup"):
        if old.get(key) != new.get(key):
            yield Change("breaking", name, topic, f"{key} was {_shown(old.get(key))}, is {_shown(new.get(key))}")
    for key in ("key_class", "append_time"):
        if old.get(key) != new.get(key):
            yield Change("visible", name, topic, f"{key} was {_shown(old.get(key))}, is {_shown(new.get(key))}")
    was, now = old.get("retention_days"), new.get("retention_days")
    if was != now and was is not None and now is not None:
        level: Level = "breaking" if now < was else "visible"
        yield Change(level, name, topic, f"retention was {was} days, is {now} days")
    old_promises, new_promises = old.get("promises", {}), new.get("promises", {})
    for kind in old_promises.keys() | new_promises.keys():
        if kind not in new_promises:
            yield Change("breaking", name, topic, f"no promise of {kind} any more")
        elif old_promises.get(kind) != new_promises[kind]:
            level = "breaking" if kind == "order" and kind in old_promises else "visible"
            yield Change(
                level, name, topic, f"{kind} was {_shown(old_promises.get(kind))}, is {_shown(new_promises[kind])}"
            )


def _version(name: str, old: Json, new: Json, changes: list[Change]) -> Iterator[Change]:
    """Report a version that is lower than the changes require."""
    level = worst(changes)
    if level is None or "version" not in old or "version" not in new:
        return
    was, now = (tuple(map(int, metadata["version"].split("."))) for metadata in (old, new))
    place = LEVELS.index(level)
    needed = (*was[:place], was[place] + 1, *(0,) * (2 - place))
    if now < needed:
        wanted = ".".join(map(str, needed))
        yield Change(level, name, "version", f"is {new['version']}, must be at least {wanted}")


def _records(schema: Json) -> dict[str, Json]:
    return {record["name"]: record for _, record in records(schema)}


def _shown(value: Any) -> str:  # noqa: ANN401  (any JSON)
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)

"""The contracts of the topics: fields with class, doc and origin, samples, versions in the registry."""

from __future__ import annotations

import json
from typing import Any, Final

from broker_events.console.answers import ContractAnswer, ContractsAnswer, FieldItem, TopicItem
from broker_events.console.service import NotFound, Service
from broker_events.runtime.schema_ids import open_registry
from broker_events.schemas.catalog import Contract, TopicContract
from broker_events.schemas.registry import RegistryError

_MOST_SAMPLES: Final = 6


class ContractService:
    """Answers about contracts. They are the same for all users: nothing in them comes from an event."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def topics(self) -> ContractsAnswer:
        """Return all topics in the order of the catalog."""
        listed = [self._item(contract, topic) for contract, topic in self._service.catalog.topics.values()]
        return ContractsAnswer(topics=listed, **self._service.age())

    def contract(self, name: str) -> ContractAnswer:
        """Return the contract of a topic (without prefix). Raises NotFound."""
        found = self._service.catalog.topics.get(name)
        if found is None:
            raise NotFound(f"no topic {name} in the catalog")
        contract, topic = found
        schema_id = versions = None
        if contract.schema_text is not None:
            schema_id, versions = self._registered(name, contract.schema_text)
        return ContractAnswer(
            topic=self._item(contract, topic),
            owner=contract.owner,
            biz_type=contract.biz_type,
            fields=[] if contract.schema is None else [_field(field) for field in contract.schema["fields"]],
            versions=versions,
            schema_id=schema_id,
            samples=_samples(contract),
            **self._service.age(name),
        )

    def schema(self, name: str) -> str:
        """Return the Avro schema of a topic, indented. Raises NotFound."""
        found = self._service.catalog.topics.get(name)
        if found is None or found[0].schema is None:
            raise NotFound(f"{name} is no topic with a schema")
        return json.dumps(found[0].schema, ensure_ascii=False, indent=2)

    def _registered(self, name: str, text: str) -> tuple[int | None, list[int] | None]:
        """Return the id of this version's schema, and all versions of the subject; None without an answer."""
        subject = f"{self._service.settings.topic(name)}-value"
        try:
            registry = open_registry(self._service.settings)
            return registry.resolve(subject, text), registry.versions(subject)
        except RegistryError:
            return None, None

    def _item(self, contract: Contract, topic: TopicContract) -> TopicItem:
        rates = self._service.follower.rates
        return TopicItem(
            name=topic.name,
            key=topic.key,
            cleanup=topic.cleanup,
            retention_days=topic.retention_days,
            contract=contract.name,
            description=contract.description,
            per_s=round(rates.get(self._service.settings.topic(topic.name), 0.0), 1),
        )


def _field(field: dict[str, Any]) -> FieldItem:
    origin = field.get("from")
    return FieldItem(
        name=field["name"],
        type=_type(field["type"]),
        field_class=field["class"],
        doc=field.get("doc", ""),
        origin=" or ".join(origin) if isinstance(origin, list) else origin,
    )


def _type(avro: Any) -> str:  # noqa: ANN401, PLR0911 (any JSON; a return per kind)
    """Return an Avro type in words: `decimal(38, 18) or null`."""
    match avro:
        case str():
            return avro
        case list():
            kinds = [_type(each) for each in avro if each != "null"]
            return " or ".join([*kinds, "null"] if "null" in avro else kinds)
        case {"logicalType": "decimal", "precision": precision, "scale": scale}:
            return f"decimal({precision}, {scale})"
        case {"logicalType": logical}:
            return str(logical)
        case {"type": "array", "items": items}:
            return f"array of {_type(items)}"
        case {"type": "map", "values": values}:
            return f"map of {_type(values)}"
        case {"name": name}:
            return str(name)
    return str(avro.get("type", ""))


def _samples(contract: Contract) -> dict[str, str]:
    """Return some sample events by file name, with their typed records."""
    paths = sorted((contract.folder / "samples").glob("accept/*.json"))[:_MOST_SAMPLES]
    return {path.name: path.read_text(encoding="utf-8") for path in paths}

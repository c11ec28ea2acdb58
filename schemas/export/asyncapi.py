"""The catalog as an AsyncAPI 3.0 document with Kafka bindings 0.5.0. Written from the contracts, never read back."""

from importlib import metadata
from typing import Final

from broker_events.schemas.catalog import Catalog, Contract, TopicContract
from broker_events.schemas.field_types import Json

_BINDING: Final = {"bindingVersion": "0.5.0"}
_AVRO: Final = "application/vnd.apache.avro+json;version=1.9.0"
_DAY_MS: Final = 86_400_000


def asyncapi(catalog: Catalog, prefix: str) -> Json:
    """Return the document. `prefix`: of the topics, without the dot. Its version is that of the installed package.

    Servers are placeholders with the addresses of the documentation. `x-class` and `x-promises` are extensions.
    """
    topics = catalog.topics.items()
    return {
        "asyncapi": "3.0.0",
        "id": "urn:broker-events",
        "info": {
            "title": "broker-events",
            "version": metadata.version("broker-events"),
            "description": "Account and funding events of a brokerage as typed Kafka topics, alerts and state. "
            "Read with isolation.level=read_committed.",
            "contact": _contact(next(iter(catalog.contracts.values()))),
        },
        "defaultContentType": "application/avro",
        "servers": {
            "kafka": {
                "host": "kafka:9092",
                "protocol": "kafka",
                "bindings": {
                    "kafka": {
                        "schemaRegistryUrl": "http://registry:8081",
                        "schemaRegistryVendor": "confluent",
                        **_BINDING,
                    }
                },
            }
        },
        "channels": {name: _channel(name, contract, topic, prefix) for name, (contract, topic) in topics},
        "operations": {f"send.{name}": _operation(name, contract) for name, (contract, _) in topics},
        "components": {
            "messages": {_message_name(name, contract): _message(contract, topic) for name, (contract, topic) in topics}
        },
    }


def _contact(contract: Contract) -> Json:
    return {"name": contract.owner, "url": contract.channel}


def _channel(name: str, contract: Contract, topic: TopicContract, prefix: str) -> Json:
    configuration: Json = {"cleanup.policy": topic.cleanup.split(",")}
    if topic.retention_days is not None:
        configuration["retention.ms"] = topic.retention_days * _DAY_MS
    lifecycle = contract.lifecycle.model_dump(mode="json", exclude_none=True)
    return {
        "address": f"{prefix}.{name}",
        "title": name,
        "description": contract.description,
        "messages": {_message_name(name, contract): {"$ref": f"#/components/messages/{_message_name(name, contract)}"}},
        "bindings": {"kafka": {"topic": f"{prefix}.{name}", "topicConfiguration": configuration, **_BINDING}},
        "x-contract-version": contract.version,
        "x-lifecycle": lifecycle,
        "x-owner": _contact(contract),
        "x-promises": [promise.model_dump(exclude_none=True) for promise in topic.promises],
    }


def _operation(name: str, contract: Contract) -> Json:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{_message_name(name, contract)}"}],
    }


def _message_name(name: str, contract: Contract) -> str:
    return name if contract.schema is None else f"{name}.{contract.schema['name']}"


def _message(contract: Contract, topic: TopicContract) -> Json:
    key = {"type": "string", "description": topic.key, "x-class": topic.key_class}
    binding: Json = {"key": key, **_BINDING}
    message: Json = {"name": contract.name, "summary": contract.description}
    if contract.schema is None:
        return message | {
            "contentType": "application/octet-stream",
            "payload": {"type": "string", "format": "binary", "x-class": contract.value_class},
            "bindings": {"kafka": binding},
        }
    return message | {
        "contentType": "application/avro",
        "payload": {"schemaFormat": _AVRO, "schema": contract.schema},
        "bindings": {"kafka": binding | {"schemaIdLocation": "payload", "schemaIdPayloadEncoding": "confluent"}},
    }

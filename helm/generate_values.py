"""Write what the Helm chart repeats from the program: `python helm/generate_values.py`.

It rewrites helm/topics.json, and the `$defs` of helm/values.schema.json whose names begin with `settings`, `secrets` or
`files`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from broker_events.runtime.kafka.topics import plan_topics
from broker_events.runtime.settings import Settings
from broker_events.schemas.catalog import load_catalog

HELM: Final = Path(__file__).resolve().parent
SCHEMA: Final = HELM / "values.schema.json"
TOPICS: Final = HELM / "topics.json"

# The chart sets these: a pod's name is its instance id.
OF_THE_CHART: Final = frozenset({"instance_id", "console_folder", "console_port"})
# Folders of a volume in pod.extraVolumes, not files of a secret or config map.
_FOLDERS: Final = frozenset({"rules_folder"})
# Only the bridge connects to the event push, so only the bridge gets these.
_OF_THE_BRIDGE: Final = ("grpc_", "app_", "signature_")
# A user name may be a plain value, or a key of the secret that holds the password.
_PLAIN_OR_SECRET: Final = frozenset({"kafka_sasl_username", "app_key"})

# Values that only the wrong map can hold; Helm's refusal quotes them.
_GOES_TO: Final = {name: {"const": f"nothing here: it goes under {name}"} for name in ("secrets", "files")}
_SECRET: Final = {"$ref": "#/$defs/keyOfSecret"}
_FILE: Final = {"$ref": "#/$defs/keyOfSecretOrConfigMap"}

Json = dict[str, Any]


def settings_definitions() -> dict[str, Json]:
    """Return the `$defs` of the schema: settings, secrets and files, for every workload and for the bridge."""
    maps: dict[str, Json] = {"settings": {}, "secrets": {}, "files": {}}
    for name, described in Settings.model_json_schema()["properties"].items():
        if name in OF_THE_CHART:
            continue
        kind = _one_type(described)
        if name in _FOLDERS:
            maps["settings"][name] = {key: each for key, each in kind.items() if key != "format"}
        elif kind.get("format") == "path":
            maps["files"][name] = _FILE
            maps["settings"][name] = _GOES_TO["files"]
        elif kind.get("format") == "password":
            maps["secrets"][name] = _SECRET
            maps["settings"][name] = _GOES_TO["secrets"]
        else:
            maps["settings"][name] = kind
            if name in _PLAIN_OR_SECRET:
                maps["secrets"][name] = _SECRET
    definitions = {}
    for title, properties in maps.items():
        common = {name: kind for name, kind in properties.items() if not name.startswith(_OF_THE_BRIDGE)}
        shared = {name: {"$ref": f"#/$defs/{title}/properties/{name}"} for name in common}
        pushed = {name: kind for name, kind in properties.items() if name not in common}
        definitions[title] = _closed(common)
        definitions[f"{title}OfBridge"] = _closed(shared | pushed)
    return definitions


def topics() -> list[Json]:
    """Return every topic without its prefix, with the Kafka settings that do not depend on a deployment."""
    settings = Settings.model_construct(topic_prefix="", replication_factor=1)
    found = []
    for plan in plan_topics(load_catalog(), settings):
        config = dict(plan.config)
        largest = int(config.pop("max.message.bytes"))
        found.append(
            {
                "name": plan.name.removeprefix("."),
                "config": config,
                "max_message_bytes": settings.max_message_bytes,
                "size_factor": largest // settings.max_message_bytes,
            }
        )
    return found


def schema_text() -> str:
    """Return helm/values.schema.json with the `$defs` of the settings replaced."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["$defs"] |= settings_definitions()
    return json.dumps(schema, indent=2) + "\n"


def topics_text() -> str:
    """Return helm/topics.json."""
    return json.dumps(topics(), indent=2) + "\n"


def _one_type(described: Mapping[str, Any]) -> Json:
    """Return a setting's JSON Schema without null: the values leave out what is not set."""
    kind = {name: value for name, value in described.items() if name not in ("anyOf", "default", "title")}
    for one in described.get("anyOf", ()):
        if one.get("type") != "null":
            kind |= one
    return kind


def _closed(properties: Json) -> Json:
    return {"type": "object", "additionalProperties": False, "properties": properties}


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    TOPICS.write_text(topics_text(), encoding="utf-8")

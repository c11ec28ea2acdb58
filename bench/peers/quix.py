"""Quix Streams with processing_guarantee exactly-once. `quix.py JOB.json [own]`.

With `own` it reads and writes by its own serializers, JSONDeserializer and AvroSerializer with the registry. Without,
by the encoder of the plain loop.
"""

from __future__ import annotations

import sys
from typing import Any

from events import Typing, read_job
from quixstreams import Application, message_context
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.models.serializers.avro import AvroSerializer
from quixstreams.models.serializers.schema_registry import (
    SchemaRegistryClientConfig,
    SchemaRegistrySerializationConfig,
)

Headers = list[tuple[str, bytes]]
Job = dict[str, Any]


def main() -> None:
    job = read_job(sys.argv[1])
    app = Application(
        job["bootstrap_servers"],
        consumer_group=job["group"],
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=job["commit_interval_ms"] / 1000,
        auto_create_topics=False,
        use_changelog_topics=False,
        state_dir=job["folder"],
        loglevel="WARNING",
        consumer_extra_config={"fetch.wait.max.ms": 100},
        producer_extra_config={
            "compression.type": "lz4",
            "linger.ms": 5,
            "batch.size": 500_000,
            "partitioner": "murmur2_random",
        },
    )
    if sys.argv[2:] == ["own"]:
        by_own_serializers(app, job)
    else:
        by_plain_encoder(app, job)
    app.run()


def by_own_serializers(app: Application, job: Job) -> None:
    registry = SchemaRegistryClientConfig(url=job["registry_url"])
    registered = SchemaRegistrySerializationConfig(auto_register_schemas=False)
    typed = {
        biz_type: app.topic(
            route["topic"],
            value_serializer=AvroSerializer(
                route["schema"],
                schema_registry_client_config=registry,
                schema_registry_serialization_config=registered,
            ),
        )
        for biz_type, route in job["routes"].items()
    }
    frame = app.dataframe(app.topic(job["raw"], value_deserializer="json"))
    frame = with_raw_offset(frame.apply(Typing(job).record))
    frame.to_topic(lambda value, _key, _timestamp, _headers: typed[value["biz_type"]])


def by_plain_encoder(app: Application, job: Job) -> None:
    typed = {
        route["schema_id"].to_bytes(4, "big"): app.topic(route["topic"], value_serializer="bytes")
        for route in job["routes"].values()
    }
    typing = Typing(job)
    frame = app.dataframe(app.topic(job["raw"], value_deserializer="bytes"))
    frame = with_raw_offset(frame.apply(lambda value: typing.encode(value)[1]))
    frame.to_topic(lambda value, _key, _timestamp, _headers: typed[value[1:5]])


def with_raw_offset(frame: StreamingDataFrame) -> StreamingDataFrame:
    def raw_offset(_value: Any, _key: Any, _timestamp: int, _headers: Any) -> Headers:  # noqa: ANN401 (their types)
        return [("raw_offset", b"%d" % message_context().offset)]

    return frame.set_headers(raw_offset)


if __name__ == "__main__":
    main()

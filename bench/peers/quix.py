"""Quix Streams with processing_guarantee exactly-once. `quix.py JOB.json`."""

from __future__ import annotations

import sys
from typing import Any

from events import Typing, read_job
from quixstreams import Application, message_context

Headers = list[tuple[str, bytes]]


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
    raw = app.topic(job["raw"], value_deserializer="bytes")
    typed = {
        route["schema_id"].to_bytes(4, "big"): app.topic(route["topic"], value_serializer="bytes")
        for route in job["routes"].values()
    }
    typing = Typing(job)

    def raw_offset(_value: bytes, _key: Any, _timestamp: int, _headers: Any) -> Headers:  # noqa: ANN401 (their types)
        return [("raw_offset", b"%d" % message_context().offset)]

    frame = app.dataframe(raw)
    frame = frame.apply(lambda value: typing.encode(value)[1]).set_headers(raw_offset)
    frame.to_topic(lambda value, _key, _timestamp, _headers: typed[value[1:5]])
    app.run()


if __name__ == "__main__":
    main()

"""Faust as its guide shows it: an agent that sends each event on. At least once. `stock_faust.py JOB.json`."""

from __future__ import annotations

import sys
from typing import Any

import faust
from events import Typing, read_job

job = read_job(sys.argv[1])
typing = Typing(job)
app = faust.App(
    job["group"],
    broker=f"kafka://{job['bootstrap_servers']}",
    datadir=job["folder"],
    store="memory://",
    key_serializer="raw",
    value_serializer="raw",
    topic_allow_declare=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    broker_commit_interval=job["commit_interval_ms"] / 1000,
    producer_compression_type="lz4",
    producer_linger_ms=5,
    producer_max_batch_size=500_000,
)


def topic_of_bytes(name: str) -> Any:  # noqa: ANN401 (Faust's topics are generic without end)
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


typed = {route["topic"]: topic_of_bytes(route["topic"]) for route in job["routes"].values()}


@app.agent(topic_of_bytes(job["raw"]))
async def route(events: Any) -> None:  # noqa: ANN401 (a Faust stream)
    async for event in events.events():
        topic, value = typing.encode(event.value)
        message = event.message
        headers = [("raw_offset", b"%d" % message.offset)]
        await typed[topic].send(key=message.key, value=value, partition=message.partition, headers=headers)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "--without-web", "--loglevel", "warn"]
    app.main()

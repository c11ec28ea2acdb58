"""`broker-events tail`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import click

from broker_events.cli.output import reader_may_leave, write_lines
from broker_events.cli.time_arguments import EXAMPLES, moment_ms
from broker_events.runtime.events.record_json import in_base64, iso_millis, json_line, text_or_base64

if TYPE_CHECKING:
    from broker_events.runtime.consume.record import KafkaRecord, TopicPartition
    from broker_events.runtime.settings import Settings

CURSORS: Final = "ingest.cursors"

Starts = dict["TopicPartition", int]


@click.command("tail")
@click.argument("topic")
@click.option(
    "--from",
    "start",
    metavar="WHERE",
    help=f"Start at: beginning, end, an offset, {EXAMPLES}.  [default: beginning; end with --follow]",
)
@click.option("--follow", "-f", is_flag=True, help="Wait for new records until Ctrl-C.")
@click.option("--key", help="Print only records with this key, such as an account.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after N records.")
@click.option("--latest", is_flag=True, help="Print only the last value of each key of a compacted topic.")
@click.option("--masked", is_flag=True, help="Hide personal and secret fields: ids keep their last four characters.")
def command(
    *, topic: str, start: str | None, follow: bool, key: str | None, limit: int | None, latest: bool, masked: bool
) -> None:
    """Print committed records of a topic as JSON, one per line.

    TOPIC is a name of the catalog (raw, event.transfer, alerts, state.accounts ...) or a full Kafka name. Records of
    a partition are printed in order. Amounts are strings with every digit. Bytes that are not UTF-8 are {"base64":
    ...}. A value that cannot be decoded has an "error" beside it. The contracts say which fields are personal.

    Exit codes: 0 success, 2 usage, settings or permissions, 130 interrupted.

    \b
    Examples:
      broker-events tail alerts --follow
      broker-events tail event.transfer --from "1h ago" | jq -r '.value.amount'
      broker-events tail raw --key 1234567890 --limit 10
      broker-events tail state.movements --latest
      broker-events tail alerts --masked
    """
    from broker_events.runtime.kafka.clients import answering
    from broker_events.runtime.kafka.topic_reader import follow as read_on
    from broker_events.runtime.kafka.topic_reader import latest_records, read_to_end, topic_partitions
    from broker_events.runtime.settings import load_settings

    settings = load_settings()
    name = _catalog_name(topic, settings.topic_prefix)
    if latest and (follow or not _is_compacted(name)):
        raise click.UsageError("--latest needs a compacted topic, and no --follow")
    start = start or ("end" if follow else "beginning")
    from_ms = None if start in ("beginning", "end") or start.isdecimal() else _time_ms(start)
    decode = _decoder(answering(settings), name, masked=masked)
    starts = _starts(settings, topic_partitions(settings, settings.topic(name)), start, from_ms)
    batches = read_on(settings, starts) if follow else read_to_end(settings, starts)
    if latest:
        batches = iter([[*latest_records(batches).values()]])
    left = limit
    with reader_may_leave():
        for batch in batches:
            documents = [_document(record, decode) for record in _chosen(batch, key, left)]
            lines = [json_line(_masked(each, name) if masked else each) for each in documents]
            write_lines(lines)
            if left is not None:
                left -= len(lines)
                if not left:
                    return


def _catalog_name(topic: str, prefix: str) -> str:
    from broker_events.schemas.catalog import load_catalog

    known = load_catalog().topics
    for name in (topic, topic.removeprefix(f"{prefix}.")):
        if name in known:
            return name
    near = difflib.get_close_matches(topic.removeprefix(f"{prefix}."), known, 1)
    question = f" Did you mean {near[0]}?" if near else ""
    raise click.UsageError(f"No topic {topic!r}.{question} Topics, also with {prefix}. before: {', '.join(known)}")


def _is_compacted(name: str) -> bool:
    from broker_events.schemas.catalog import load_catalog

    return load_catalog().topics[name][1].is_compacted


def _starts(settings: Settings, partitions: list[TopicPartition], start: str, from_ms: int | None) -> Starts:
    """Offset to begin with in each partition."""
    from broker_events.runtime.kafka.topic_reader import end_offsets, first_offsets, offsets_at

    ends = end_offsets(settings, partitions)
    if start == "end":
        return ends
    if from_ms is not None:
        return offsets_at(settings, partitions, from_ms)
    offset = int(start) if start.isdecimal() else 0
    firsts = first_offsets(settings, partitions)
    return {tp: min(max(offset, first), ends[tp]) for tp, first in firsts.items()}


def _time_ms(text: str) -> int:
    try:
        return moment_ms(text)
    except ValueError:
        wanted = f"beginning, end, an offset, {EXAMPLES}"
        raise click.BadParameter(f"{text!r} is none of {wanted}", param_hint="--from") from None


def _decoder(settings: Settings, name: str, *, masked: bool) -> Callable[[bytes], object]:
    """How the values of this topic are read: a function that raises ValueError where it can't."""
    from broker_events.schemas.catalog import load_catalog

    if load_catalog().topics[name][0].schema is not None:
        from broker_events.cli.decoding import open_decoder
        from broker_events.schemas.masking import masked as hide

        decode = open_decoder(settings)
        return lambda value: hide(decode(value)) if masked else decode(value).model_dump()
    if name == CURSORS:
        import orjson

        return orjson.loads
    return text_or_base64


def _chosen(batch: list[KafkaRecord], key: str | None, limit: int | None) -> Iterator[KafkaRecord]:
    wanted = None if key is None else key.encode()
    for record in batch:
        if limit == 0:
            return
        if wanted is None or record.key() == wanted:
            limit = None if limit is None else limit - 1
            yield record


def _document(record: KafkaRecord, decode: Callable[[bytes], object]) -> dict[str, object]:
    document: dict[str, object] = {
        "topic": record.topic(),
        "partition": record.partition(),
        "offset": record.offset(),
        "timestamp": iso_millis(record.timestamp()[1]),
        "key": text_or_base64(record.key()),
        "headers": {name: text_or_base64(value) for name, value in record.headers() or ()},
    }
    value = record.value()
    try:
        document["value"] = None if value is None else decode(value)
    except ValueError as error:
        document |= {"value": in_base64(value or b""), "error": str(error)}
    return document


def _masked(document: dict[str, object], name: str) -> dict[str, object]:
    """Hide the key, the headers and a value without decoded fields, by their classes."""
    from broker_events.schemas.catalog import load_catalog
    from broker_events.schemas.headers import INTERNAL
    from broker_events.schemas.masking import HIDDEN, SHOWN, mask

    contract, topic = load_catalog().topics[name]
    headers: dict[str, object] = document["headers"]  # type: ignore[assignment]
    if topic.key_class not in SHOWN:
        document["key"] = mask(document["key"], topic.key_class)
    document["headers"] = {each: value if each in INTERNAL else mask(value) for each, value in headers.items()}
    is_whole = contract.schema is None or "error" in document
    if is_whole and document["value"] is not None and contract.value_class not in SHOWN:
        document["value"] = HIDDEN
    return document

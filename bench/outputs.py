"""Whether contenders write the same records: compared whole, after every run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from bench.cluster import Digest, Pipeline, digest
from bench.contenders import Contender
from bench.corpus import Corpus
from broker_events.runtime.consume.record import KafkaRecord, TopicPartition

EQUAL: Final = "equal"
_STATE: Final = ("state.accounts", "state.movements")
_ALERTS: Final = ("alerts", "alerts.active")


class Outputs(Protocol):
    """What an app writes: made empty before a run, compared after it."""

    def prepare(self) -> None: ...
    def compare(self, contender: Contender, group: str) -> str:
        """Return EQUAL, or what is different; called while the contender still runs, with nothing left to do."""
        ...


class TypedOutputs:
    """The typed topics, against what the raw records have to become: all of topic, partition, key, value, headers."""

    def __init__(self, pipeline: Pipeline, corpus: Corpus) -> None:
        self._pipeline = pipeline
        self._topics = list(pipeline.typed.values())
        self._starts: dict[TopicPartition, int] = {}
        self._expected = Digest(0, 0)
        self._expected = self._expect(corpus)

    def prepare(self) -> None:
        self._pipeline.empty(self._topics)
        self._starts = self._pipeline.ends(self._topics)

    def compare(self, contender: Contender, group: str) -> str:  # noqa: ARG002 (the protocol's)
        found = digest(self._pipeline.read(self._starts))
        if not contender.same_output:
            same = found.records == self._expected.records
            return "as many" if same else _counts(found, self._expected)
        return EQUAL if found == self._expected else _counts(found, self._expected)

    def _expect(self, corpus: Corpus) -> Digest:
        pipeline = self._pipeline
        typed = {event.value: (pipeline.typed[event.biz_type], event.typed) for event in corpus.events}
        total = count = 0
        for record in pipeline.read(dict.fromkeys(pipeline.partitions_of([pipeline.raw]), 0)):
            topic, value = typed[record.value() or b""]
            headers = (("raw_offset", b"%d" % record.offset()),)
            total += hash((topic, record.partition(), record.key(), value, headers))
            count += 1
        return Digest(count, total)


class ProjectedOutputs:
    """Alerts as they are, state tables by their last record of each key; the first run is the reference."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._reference: tuple[Digest, ...] = ()

    def prepare(self) -> None:
        self._pipeline.recreate((*_STATE, *_ALERTS))

    def compare(self, contender: Contender, group: str) -> str:
        settings = self._pipeline.settings
        ours = contender.is_ours
        tables = [
            settings.topic(name) if ours else f"{group}-{name.removeprefix('state.')}-changelog" for name in _STATE
        ]
        found = (
            *(digest(self._read([settings.topic(name)])) for name in _ALERTS),
            *(_table(self._read([topic])) for topic in tables),
        )
        self._reference = self._reference or found
        different = [
            f"{name}: {_counts(seen, expected)}"
            for name, seen, expected in zip((*_ALERTS, *_STATE), found, self._reference, strict=True)
            if seen != expected
        ]
        return "; ".join(different) or EQUAL

    def _read(self, topics: list[str]) -> Iterator[KafkaRecord]:
        yield from self._pipeline.read(dict.fromkeys(self._pipeline.partitions_of(topics), 0))


def _table(records: Iterable[KafkaRecord]) -> Digest:
    last = {(record.partition(), record.key()): record.value() for record in records}
    return Digest(len(last), sum(hash(item) for item in last.items()))


def _counts(found: Digest, expected: Digest) -> str:
    if found.records == expected.records:
        return "as many records, but not the same"
    return f"{found.records} records, expected {expected.records}"

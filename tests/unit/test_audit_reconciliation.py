"""Reconciliation of a raw partition: it finds every kind of discrepancy, and reports no others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Never

import pytest

from broker_events.audit import fingerprint
from broker_events.audit.discrepancies import DiscrepancyKind
from broker_events.audit.fingerprint import typed_id
from broker_events.audit.reconciliation import Read, Reconciliation
from broker_events.audit.verdict import Verdict, judge
from broker_events.runtime.events.event_reader import EventReader, Readable
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.invalid_event import InvalidEvent, Reason
from broker_events.schemas.storage_types import QuarantinedEvent

TOPICS = {"broker.event.credit": "CREDIT", "broker.event.transfer": "TRANSFER"}
FRAMES = dict.fromkeys(TOPICS, b"\0\0\0\0\7")
CREDIT, TRANSFER = TOPICS


@dataclass(frozen=True)
class Rec:
    """A record of partition 0; without an account in its key it is `ACC`'s."""

    offset_: int
    value_: bytes | None
    topic_: str = "broker.raw"
    key_: bytes | None = b"ACC"
    timestamp_: int = 1000
    headers_: dict[str, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.value_ or b"")

    def topic(self) -> str:
        return self.topic_

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.offset_

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def headers(self) -> list[tuple[str, bytes | None]]:
        return [*self.headers_.items()]

    def timestamp(self) -> tuple[int, int]:
        return 1, self.timestamp_


def declining(_: bytes | None) -> None:
    """A fast reader that declines everything."""


def raw(offset: int, event_id: str, amount: int = 1, biz_type: str = "CREDIT") -> Rec:
    envelope = b'"id":"%b","event_type":"FUNDING","timestamp":"%d"' % (event_id.encode(), offset)
    payload = b'{"amount":%d,"biz_type":"%b"}' % (amount, biz_type.encode())
    return Rec(offset, b'{%b,"payload":%b}' % (envelope, payload))


def typed(offset: int, event_id: str, raw_offset: int, topic: str = CREDIT) -> Rec:
    value = b"\0\0\0\0\7" + bytes([2 * len(event_id)]) + event_id.encode() + b"rest"
    return Rec(offset, value, topic, headers_={"raw_offset": b"%d" % raw_offset})


def quarantined(source: Rec) -> QuarantinedEvent:
    return {  # type: ignore[typeddict-item]  # the fields that the reconciliation reads
        "offset": source.offset_,
        "timestamp": source.timestamp_ * 1000,
        "key": source.key_,
        "value": source.value_,
        "headers": [{"name": name, "value": value} for name, value in source.headers_.items()],
    }


RAW = [raw(0, "a"), raw(1, "b"), raw(2, "a"), raw(4, "c")]  # 3 is a transaction's marker
TYPED = [typed(0, "a", 0), typed(1, "b", 1)]


def verdict(
    raws: list[Rec],
    outputs: list[Rec],
    refused: list[Rec],
    start: int = 0,
    window: int = 10,
    kept_from: dict[str, int] | None = None,
) -> Verdict:
    reconciliation = Reconciliation(0, start, 5, window, TOPICS, declining, raw_end=6)
    reconciliation.add_raw([record for record in raws if record.offset_ >= reconciliation.origin])
    reconciliation.add_typed(outputs, FRAMES)
    for record in refused:
        reconciliation.add_quarantined(Rec(record.offset_, b"", "broker.quarantine"), quarantined(record))
    return judge(reconciliation, kept_from or {}, 0)


def test_a_verdict() -> None:
    found = verdict(RAW, TYPED, [RAW[3]])
    assert (found.raw, found.typed, found.quarantined, found.duplicates, found.expired) == (4, 2, 1, 1, 0)
    assert found.is_reconciled
    assert found.listed == []


@pytest.mark.parametrize(
    ("outputs", "refused", "expected"),
    [
        ([TYPED[0]], [RAW[3]], (DiscrepancyKind.LOST, 1, None)),
        (TYPED, [], (DiscrepancyKind.LOST, 4, None)),
        ([TYPED[1], typed(2, "c", 4)], [RAW[0]], (DiscrepancyKind.LOST, 2, None)),
        ([*TYPED, typed(7, "b", 1)], [RAW[3]], (DiscrepancyKind.DOUBLED, 1, f"{CREDIT}[0]@7")),
        (TYPED, [RAW[1], RAW[3]], (DiscrepancyKind.DOUBLED, 1, "broker.quarantine[0]@1")),
        ([*TYPED, typed(7, "x", 3)], [RAW[3]], (DiscrepancyKind.FOREIGN, 3, f"{CREDIT}[0]@7")),
        ([*TYPED, replace(TYPED[0], headers_={})], [RAW[3]], (DiscrepancyKind.FOREIGN, None, f"{CREDIT}[0]@0")),
        ([TYPED[0], typed(7, "b", 1, TRANSFER)], [RAW[3]], (DiscrepancyKind.FOREIGN, 1, f"{TRANSFER}[0]@7")),
        ([*TYPED, typed(7, "b", 9)], [RAW[3]], (DiscrepancyKind.FOREIGN, 9, f"{CREDIT}[0]@7")),
        (TYPED, [RAW[3], replace(RAW[1], offset_=9)], (DiscrepancyKind.FOREIGN, 9, "broker.quarantine[0]@9")),
        ([TYPED[0], replace(TYPED[1], key_=b"other")], [RAW[3]], (DiscrepancyKind.ALTERED, 1, f"{CREDIT}[0]@1")),
        ([TYPED[0], replace(TYPED[1], timestamp_=1001)], [RAW[3]], (DiscrepancyKind.ALTERED, 1, f"{CREDIT}[0]@1")),
        ([TYPED[0], typed(1, "B", 1)], [RAW[3]], (DiscrepancyKind.ALTERED, 1, f"{CREDIT}[0]@1")),
        (TYPED, [replace(RAW[3], value_=b"{}")], (DiscrepancyKind.ALTERED, 4, "broker.quarantine[0]@4")),
        ([*TYPED, typed(2, "a", 2)], [RAW[3]], (DiscrepancyKind.REPEATED, 2, None)),
    ],
)
def test_what_is_wrong(
    outputs: list[Rec], refused: list[Rec], expected: tuple[DiscrepancyKind, int | None, str | None]
) -> None:
    found = verdict(RAW, outputs, refused)
    assert found.listed == [expected]
    assert found.discrepancies[expected[0]] == 1
    assert not found.is_reconciled


def test_a_record_of_the_same_id_and_another_body_is_no_repetition() -> None:
    found = verdict([RAW[0], RAW[1], raw(2, "a", amount=2), RAW[3]], TYPED, [RAW[3]])
    assert found.listed == [(DiscrepancyKind.LOST, 2, None)]


def test_two_bodies_of_one_id_are_not_both_typed_within_the_window() -> None:
    raws = [RAW[0], RAW[1], raw(2, "a", amount=2)]
    assert verdict(raws, [*TYPED, typed(2, "a", 2)], []).listed == [(DiscrepancyKind.REPEATED, 2, None)]
    assert verdict(raws, [*TYPED, typed(2, "a", 2)], [], window=1).is_reconciled


def test_an_event_without_a_contract_is_not_typed() -> None:
    found = verdict([raw(0, "a", biz_type="NONSENSE")], [typed(0, "a", 0)], [])
    assert found.listed == [(DiscrepancyKind.FOREIGN, 0, f"{CREDIT}[0]@0")]


@pytest.mark.parametrize("typed_before", [3, 4])
def test_nothing_is_lost_that_may_repeat_what_was_not_read(typed_before: int) -> None:
    # A router knows at most two windows of typed records, here four.
    raws = [raw(offset, str(offset)) for offset in range(20, 31)]
    reconciliation = Reconciliation(0, 30, 31, 2, TOPICS, declining)
    reconciliation.add_raw([record for record in raws if record.offset_ >= reconciliation.origin])
    reconciliation.add_typed([typed(n, str(n), n) for n in range(22, 22 + typed_before)], FRAMES)
    found = judge(reconciliation, {}, 0)
    assert found.listed == [(DiscrepancyKind.UNKNOWN if typed_before < 4 else DiscrepancyKind.LOST, 30, None)]


def test_a_defect_of_reading_ends_no_audit() -> None:
    def defect(_: bytes | None) -> Never:
        raise RecursionError

    reconciliation = Reconciliation(0, 0, 1, 10, TOPICS, defect, defect)
    reconciliation.add_raw([RAW[0]])
    reconciliation.add_quarantined(Rec(0, b"", "broker.quarantine"), quarantined(RAW[0]))
    assert judge(reconciliation, {}, 0).is_reconciled


def test_a_defect_of_parsing_ends_no_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(_: bytes | None) -> None:
        raise RecursionError

    monkeypatch.setattr(fingerprint, "parse_event", defect)
    assert verdict([RAW[0]], [], [RAW[0]]).quarantined == 1


def test_a_repetition_before_its_typed_twin_is_lost() -> None:
    assert verdict(RAW[:3], [typed(0, "b", 1), typed(1, "a", 2)], []).listed == [(DiscrepancyKind.LOST, 0, None)]


def test_what_is_repeated_beyond_the_window_is_typed_again() -> None:
    raws = [raw(0, "a"), raw(1, "b"), raw(2, "c"), raw(3, "a")]
    outputs = [typed(n, event_id, n) for n, event_id in enumerate("abca")]
    assert verdict(raws, outputs, [], window=2).is_reconciled
    assert verdict(raws, outputs, [], window=3).listed == [(DiscrepancyKind.REPEATED, 3, None)]
    # A refused record counts, a transaction's marker doesn't.
    assert verdict(raws, [outputs[0], outputs[3]], raws[1:3], window=2).is_reconciled
    assert verdict([raws[0], raws[3]], [outputs[0], outputs[3]], [], window=1).listed == [
        (DiscrepancyKind.REPEATED, 3, None)
    ]


def test_a_range_knows_duplicates_by_what_was_before_it() -> None:
    found = verdict(RAW, TYPED, [RAW[3]], start=2)
    assert (found.raw, found.duplicates, found.quarantined, found.typed) == (2, 1, 1, 0)
    assert found.is_reconciled


def test_a_duplicate_of_a_record_that_is_deleted() -> None:
    assert verdict(RAW[2:], TYPED, [RAW[3]], start=2).is_reconciled
    assert verdict(RAW[2:], TYPED[1:], [RAW[3]], start=2).listed == [(DiscrepancyKind.LOST, 2, None)]


def test_what_retention_has_deleted_is_not_lost() -> None:
    found = verdict(RAW, [], [], kept_from={CREDIT: 2})  # 2 repeats 0
    assert (found.expired, found.listed) == (3, [(DiscrepancyKind.LOST, 4, None)])
    assert verdict(RAW, [], [RAW[3]], kept_from={TRANSFER: 5}).discrepancies == {DiscrepancyKind.LOST: 3}


def test_outputs_of_later_and_of_deleted_records_are_none_of_its_business() -> None:
    assert verdict(RAW[2:], [*TYPED, typed(9, "later", 5)], [RAW[3]], start=2).is_reconciled


def test_a_type_is_read_from_the_value() -> None:
    record = Rec(0, b'{"id":"a","event_type":"FUNDING","timestamp":"t","payload":{"biz_type":"CREDIT"}}')
    assert verdict([record], [], [], kept_from={CREDIT: 5}).expired == 1


def test_what_is_wrong_before_the_range_is_none_of_its_business() -> None:
    assert verdict(RAW, [*TYPED, typed(7, "b", 1)], [RAW[0], RAW[3]], start=4).is_reconciled


def test_an_id_is_read_from_the_value_whatever_its_header_says() -> None:
    timestamp = b'"event_type":"FUNDING","timestamp":"t"'
    record = Rec(0, b'{"id":"a",%b,"payload":{"biz_type":"CREDIT"}}' % timestamp, headers_={"event_id": b"b"})
    assert verdict([record], [typed(0, "a", 0)], []).is_reconciled
    assert verdict([record], [typed(0, "b", 0)], []).discrepancies == {DiscrepancyKind.ALTERED: 1}


def test_a_long_id() -> None:
    event_id = "x" * 100
    value = b"\0\0\0\0\7" + b"\xc8\x01" + event_id.encode() + b"rest"
    output = Rec(0, value, CREDIT, headers_={"raw_offset": b"0"})
    assert verdict([raw(0, event_id)], [output], []).is_reconciled


@pytest.mark.parametrize(("value", "differs"), [(b"\0\0\0\0\7\2arest", 0), (b"\0\0\0\0\7\2aREST", 1)])
def test_values_compared(value: bytes, differs: int) -> None:
    def encode(_: bytes | None) -> bytes:
        return b"\0\0\0\0\7\2arest"

    reconciliation = Reconciliation(0, 0, 1, 10, TOPICS, declining, encode)
    reconciliation.add_raw([raw(0, "a")])
    reconciliation.add_typed([Rec(0, value, CREDIT, headers_={"raw_offset": b"0"})], FRAMES)
    assert judge(reconciliation, {}, 0).discrepancies.get(DiscrepancyKind.ALTERED, 0) == differs


@pytest.mark.parametrize(
    ("wanted", "altered"),
    [(b"\0\0\0\0\6\2arest", 0), (b"\0\0\0\0\6\2aREST", 1), (None, 1)],
)
def test_values_of_another_schema_are_compared_by_that_schema(wanted: bytes | None, altered: int) -> None:
    def encode(_: bytes | None) -> bytes:
        raise InvalidEvent(Reason.MISSING_FIELD, "/payload", "under the present schema")

    records = [raw(4, "a"), raw(5, "b")]
    reconciliation = Reconciliation(0, 4, 6, 0, TOPICS, declining, encode)
    reconciliation.add_raw(records)
    reconciliation.add_typed([Rec(8, b"\0\0\0\0\6\2arest", CREDIT, headers_={"raw_offset": b"4"})], FRAMES)
    reconciliation.add_quarantined(records[1], quarantined(records[1]))
    assert reconciliation.other_schemas == {(CREDIT, 6)}
    reconciliation.compare_others(records, {(CREDIT, 6): None if wanted is None else lambda _: wanted})
    found = judge(reconciliation, {}, 0)
    assert found.discrepancies.get(DiscrepancyKind.ALTERED, 0) == altered
    assert [each.output for each in found.listed] == altered * [f"{CREDIT}[0]@8"]


@pytest.mark.parametrize("frame", [b"\0\0\0\0\0", b"\1\0\0\0\6", b"\0"])
def test_a_value_without_a_schema_is_altered(frame: bytes) -> None:
    reconciliation = Reconciliation(0, 0, 1, 10, TOPICS, declining, lambda _: b"")
    reconciliation.add_raw([raw(0, "a")])
    reconciliation.add_typed([Rec(0, frame + b"\2arest", CREDIT, headers_={"raw_offset": b"0"})], FRAMES)
    assert judge(reconciliation, {}, 0).discrepancies == {DiscrepancyKind.ALTERED: 1}
    assert reconciliation.other_schemas == set()


@pytest.mark.parametrize(("event_id", "tail"), [(None, b""), (None, b"!"), (b"other", b"")])
def test_the_fast_reader_and_the_python_path_find_the_same(event_id: bytes | None, tail: bytes) -> None:
    contract = load_catalog().events["CREDIT"]
    value = (contract.folder / "samples/accept/documented-completed.json").read_bytes()
    encode = Transcoder(contract, 7).encode
    output = encode(value) + tail
    if event_id is not None:
        output = output.replace(typed_id(output), event_id.ljust(len(typed_id(output))))

    def found(read: Read) -> Verdict:
        reconciliation = Reconciliation(0, 0, 1, 10, TOPICS, read, lambda raw_value: encode(raw_value or b""))
        reconciliation.add_raw([Rec(0, value)])
        reconciliation.add_typed([Rec(0, output, CREDIT, headers_={"raw_offset": b"0"})], FRAMES)
        return judge(reconciliation, {}, 0)

    plain, fast = found(declining), found(EventReader([Readable(contract, 7, "CREDIT")]).read)
    assert plain == fast
    assert plain.is_reconciled == (event_id is None and not tail)

"""A worker with one deliberate flaw: `python broken_worker.py FLAW MARKER router|projector --instance-id ID`.

`outputs-first` and `offsets-first`: its offsets and its outputs are two transactions, and it kills itself once in
between; MARKER is the file that says it has. The former does again after the restart what was already written, the
latter never writes it. `revoke-without-commit`: after its first commits, MARKER says so, it keeps a transaction open,
gives partitions back with it, and commits when their next owner has long begun with the same records.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from broker_events.cli.main import main
from broker_events.runtime.consume import record_source
from broker_events.runtime.consume.commit_rule import CommitRule
from broker_events.runtime.consume.record_source import RecordSource
from broker_events.runtime.kafka.transaction import Transaction

FLAW, MARKER = sys.argv[1], Path(sys.argv[2])
# Well after the start: every partition has had a commit; well after the rebalance: the next owner has one too.
HOLDS_AFTER_S, COMMITS_AFTER_S = 2.0, 4.0

produce, commit = Transaction.produce, Transaction.commit
revoke, worth_a_commit = RecordSource._on_revoke, RecordSource._is_worth_a_commit
held_back: list[tuple[Any, ...]] = []
committed: set[int] = set()


def die_once(offsets: Sequence[TopicPartition]) -> None:
    """Die as soon as each of these partitions has had a commit before: without one, the restart would be refused."""
    partitions = {tp.partition for tp in offsets}
    if partitions <= committed and not MARKER.exists():
        MARKER.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    committed.update(partitions)


def commit_outputs_first(
    self: Transaction,
    offsets: Sequence[TopicPartition] = (),
    group: object = None,
    verify: Callable[[], None] = lambda: None,  # noqa: ARG001 (the signature of the real one)
) -> None:
    commit(self)
    die_once(offsets)
    self.begin()
    commit(self, offsets, group)


def commit_offsets_first(
    self: Transaction,
    offsets: Sequence[TopicPartition] = (),
    group: object = None,
    verify: Callable[[], None] = lambda: None,  # noqa: ARG001 (the signature of the real one)
) -> None:
    commit(self, offsets, group)
    die_once(offsets)
    self.begin()
    for arguments in held_back:
        produce(self, *arguments)
    held_back.clear()
    commit(self)


def hold_back(_self: Transaction, *arguments: Any) -> None:
    held_back.append(arguments)


class HeldOpen(CommitRule):
    """Commits at first, then no more until some time after a rebalance."""

    began = 0.0
    revoked = 0.0

    def is_due(self, age_s: float, records: int, *, at_end: bool) -> bool:  # noqa: ARG002 (the rule's own signature)
        now = time.monotonic()
        self.began = self.began or now
        if now < self.began + HOLDS_AFTER_S:
            return at_end
        MARKER.touch()
        return bool(HeldOpen.revoked) and now > HeldOpen.revoked + COMMITS_AFTER_S


def revoke_without_commit(self: RecordSource, consumer: Consumer, revoked: list[TopicPartition]) -> None:
    HeldOpen.revoked = time.monotonic()
    self._commit = lambda: None  # type: ignore[method-assign]
    revoke(self, consumer, revoked)
    del self._commit


def not_while_held_open(self: RecordSource) -> bool:
    is_held = not HeldOpen.revoked or time.monotonic() < HeldOpen.revoked + COMMITS_AFTER_S
    return not is_held and worth_a_commit(self)


if FLAW == "revoke-without-commit":
    RecordSource._on_revoke = revoke_without_commit  # type: ignore[assignment,method-assign]
    record_source.CommitRule = HeldOpen  # type: ignore[attr-defined]
    RecordSource._is_worth_a_commit = not_while_held_open  # type: ignore[method-assign]
    os.environ["PIPELINE_TRANSACTION_TIMEOUT_MS"] = "60000"
elif FLAW == "outputs-first":
    Transaction.commit = commit_outputs_first  # type: ignore[method-assign]
elif FLAW == "offsets-first":
    Transaction.commit = commit_offsets_first  # type: ignore[method-assign]
    Transaction.produce = hold_back  # type: ignore[assignment,method-assign]
    Transaction.writer = lambda *_: None  # type: ignore[method-assign]
else:
    raise SystemExit(f"no flaw {FLAW!r}")
if FLAW.endswith("-first"):
    # Many small transactions, so that every partition soon has its second one.
    record_source.BATCH_RECORDS = 20  # type: ignore[misc]
    os.environ["PIPELINE_TRANSACTION_RECORDS"] = "20"
    os.environ["PIPELINE_COMMIT_INTERVAL_MS"] = "5"
sys.argv = ["broken-worker", *sys.argv[3:]]
main()

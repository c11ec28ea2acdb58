"""A worker with one deliberate flaw: `python broken_worker.py FLAW MARKER router|projector --instance-id ID`.

`outputs-first` and `offsets-first`: its offsets and its outputs are two transactions, and it kills itself once in
between; MARKER is the file that says it has. The former does again after the restart what was already written, the
latter never writes it. `revoke-without-commit`: after its first commits, MARKER says so, it keeps a transaction open,
gives partitions back with it, and commits when their next owner has long begun with the same records.

A projector with one of these has a wrong rule: `alert-lost` and `alert-doubled` every tenth time, `amount-changed` by
10^-18, `muted-by-future` orders updates by their own time alone, `exact-spelling` reads only documented codes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from broker_events.cli.main import main
from broker_events.processors import fold
from broker_events.processors.rules import account, liquidate_only, transfer_returned
from broker_events.runtime.consume import record_source
from broker_events.runtime.consume.commit_rule import CommitRule
from broker_events.runtime.consume.record_source import RecordSource
from broker_events.runtime.kafka.transaction import Transaction

FLAW, MARKER = sys.argv[1], Path(sys.argv[2])
RULES = ("alert-lost", "alert-doubled", "amount-changed", "muted-by-future", "exact-spelling")
# Well after the start: every partition has had a commit; well after the rebalance: the next owner has one too.
HOLDS_AFTER_S, COMMITS_AFTER_S = 2.0, 4.0

produce, commit = Transaction.produce, Transaction.commit
revoke, worth_a_commit = RecordSource._on_revoke, RecordSource._is_worth_a_commit
held_back: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
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
    for arguments, named in held_back:
        produce(self, *arguments, **named)
    held_back.clear()
    commit(self)


def hold_back(_self: Transaction, *arguments: Any, **named: Any) -> None:
    held_back.append((arguments, named))


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


def with_flaw(name: str) -> None:
    """Put the wrong rule in place of the right one."""
    alert_records, fire, turns = fold._alert_records, transfer_returned.fire, count(1)

    def flawed_records(*arguments: Any) -> tuple[list[Any], int]:
        alerts, size = alert_records(*arguments)
        return (alerts * (2 if name == "alert-doubled" else 0), size) if next(turns) % 10 == 0 else (alerts, size)

    def changed_amount(*arguments: Any) -> Any:
        alert: Any = fire(*arguments)
        amount = int.from_bytes(alert["transfer"]["amount"], "big", signed=True) + 1
        alert["transfer"]["amount"] = amount.to_bytes(17, "big", signed=True)
        return alert

    def by_own_time(event: Any, last: Any, _source: object) -> bool | None:
        return None if last is None or event["event_time"] >= last["event_time"] else False

    if name.startswith("alert-"):
        fold._alert_records = flawed_records  # type: ignore[assignment]
    elif name == "amount-changed":
        transfer_returned.fire = changed_amount  # type: ignore[assignment]
    elif name == "muted-by-future":
        account.supersede = by_own_time  # type: ignore[assignment,attr-defined]
    else:
        liquidate_only.market_of = liquidate_only._MARKETS.get  # type: ignore[assignment]


if FLAW in RULES:
    with_flaw(FLAW)
elif FLAW == "revoke-without-commit":
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

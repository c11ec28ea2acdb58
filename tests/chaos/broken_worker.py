"""A worker with one deliberate flaw: `python broken_worker.py FLAW MARKER router|projector --instance-id ID`.

Its offsets and its outputs are two transactions, and it kills itself once in between; MARKER is the file that says it
has. `outputs-first` does again after the restart what was already written; `offsets-first` never writes it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition

from cli.main import main
from runtime import record_source
from runtime.transaction import Transaction

FLAW, MARKER = sys.argv[1], Path(sys.argv[2])

produce, commit = Transaction.produce, Transaction.commit
held_back: list[tuple[Any, ...]] = []
committed: set[int] = set()


def die_once(offsets: Sequence[TopicPartition]) -> None:
    """Die as soon as each of these partitions has had a commit before: without one, the restart would be refused."""
    partitions = {tp.partition for tp in offsets}
    if partitions <= committed and not MARKER.exists():
        MARKER.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    committed.update(partitions)


def commit_outputs_first(self: Transaction, offsets: Sequence[TopicPartition] = (), group: object = None) -> None:
    commit(self)
    die_once(offsets)
    self.begin()
    commit(self, offsets, group)


def commit_offsets_first(self: Transaction, offsets: Sequence[TopicPartition] = (), group: object = None) -> None:
    commit(self, offsets, group)
    die_once(offsets)
    self.begin()
    for arguments in held_back:
        produce(self, *arguments)
    held_back.clear()
    commit(self)


def hold_back(_self: Transaction, *arguments: Any) -> None:
    held_back.append(arguments)


if FLAW == "outputs-first":
    Transaction.commit = commit_outputs_first  # type: ignore[method-assign]
elif FLAW == "offsets-first":
    Transaction.commit = commit_offsets_first  # type: ignore[method-assign]
    Transaction.produce = hold_back  # type: ignore[assignment,method-assign]
else:
    raise SystemExit(f"no flaw {FLAW!r}")
# Many small transactions, so that every partition soon has its second one.
record_source.BATCH_RECORDS = 20  # type: ignore[misc]
os.environ["PIPELINE_TRANSACTION_RECORDS"] = "20"
os.environ["PIPELINE_COMMIT_INTERVAL_MS"] = "5"
sys.argv = ["broken-worker", *sys.argv[3:]]
main()

"""What a million accounts in state cost: restore, memory, throughput beside a thousand."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

from bench.cluster import Pipeline
from bench.contenders import own, running, settings_environment
from bench.corpus import SEED, Corpus
from bench.measurement import Work, measure
from bench.peers.environment import Peers
from bench.throughput import Progress
from broker_events.devstack.simulator.account_traffic import Account, AccountTraffic
from broker_events.processors.rules import PROJECTIONS, RecordOrigin
from broker_events.runtime.kafka.partitioner import partition_for
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.codec import Codec
from broker_events.schemas.storage_types import AccountState, AccountUpdate

_RESTORED: Final = re.compile(r"restored \S+state\.accounts: \d+ partitions, (\d+) records in ([0-9.]+) s")
_SETTLE_S: Final = 2.0
_ID: Final = "#" * 26
_NUMBER: Final = "@" * 10


def with_accounts(pipeline: Pipeline, corpus: Corpus, peers: Peers, folder: Path, progress: Progress) -> dict[str, Any]:
    """Restore a state of `corpus.accounts` accounts, weigh it, then project the corpus on top of it."""
    began = time.monotonic()
    loaded = pipeline.load_table("state.accounts", account_states(pipeline, corpus.accounts))
    progress(f"state     {loaded:,} accounts written in {time.monotonic() - began:.0f} s")
    pipeline.rewind_group(pipeline.settings.group("projector"))
    began = time.monotonic()
    variables = settings_environment(pipeline.settings)
    with Work("projector", own("projector").command(peers, folder), variables, folder) as work:
        ready_s = work.wait_assigned(len(pipeline.typed) * pipeline.settings.partitions) - began
        time.sleep(_SETTLE_S)
        memory = work.memory_bytes()
        found = _RESTORED.search(work.text())
    if found is None:
        raise work.failed("does not say what it restored")
    pipeline.rewind_group(pipeline.settings.group("projector"))
    total = pipeline.load_typed(corpus)
    with running(own("projector"), "projector", pipeline, peers, folder) as (group, work):
        run = measure(pipeline, group, total, [work])
    records, seconds = int(found[1]), float(found[2])
    progress(
        f"state     {records:,} records restored in {seconds:.2f} s, {memory / 1e6:,.0f} MB; "
        f"then {run.records_per_second:,.0f} /s"
    )
    return {
        "accounts": loaded,
        "restored": records,
        "restore_s": seconds,
        "start_to_ready_s": round(ready_s, 2),
        "memory_bytes": memory,
        "records_per_second": round(run.records_per_second),
        "cpu_us_per_record": round(run.cpu_us_per_record, 2),
    }


def account_states(pipeline: Pipeline, accounts: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Key, value and partition of a state of every account of the simulator's traffic, as an ACCOUNT_UPDATE leaves it.

    One state of each form is made by the rules, the others by putting in ids of the same length.
    """
    traffic = AccountTraffic(Random(SEED), accounts)  # noqa: S311 (reproducible on purpose)
    codec: Codec[AccountState] = Codec(
        pipeline.catalog.topics["state.accounts"][0], pipeline.schema_ids["state.accounts"]
    )
    templates: dict[tuple[int, int], bytes] = {}
    for account in (*traffic.omnibus, *traffic.virtual, *traffic.clients):
        form = len(account.account_id), len(account.number)
        if form not in templates:
            templates[form] = codec.encode(
                first_state(Account("#" * form[0], "@" * form[1], account.account_type), codec)
            )
        key = account.account_id.encode()
        value = templates[form].replace(b"#" * form[0], key).replace(b"@" * form[1], account.number.encode())
        yield key, value, partition_for(key, pipeline.settings.partitions)


def first_state(account: Account, codec: Codec[AccountState]) -> AccountState:
    """Return the state of an account after its first ACCOUNT_UPDATE."""
    event: AccountUpdate = {
        "event_id": "event_00000000-0000-4000-8000-000000000000",
        "event_type": "ACCOUNT",
        "biz_type": "ACCOUNT_UPDATE",
        "position": None,
        "event_time": 1_767_225_600_000_000,
        "event_time_text": "2026-01-01T00:00:00.000Z",
        "account_id": account.account_id,
        "account_number": account.number,
        "account_type": account.account_type,
        "restrictions": ["US_STOCK_NO_TRADE"],
        "update_time": 1_767_225_600_000_000,
        "update_time_text": "2026-01-01T00:00:00.000Z",
        "extra": {},
    }
    source = RecordOrigin("", 0, 0, received_us=1_800_000_000_000_000, max_skew_us=60_000_000)
    no_states: PartitionState[AccountState] = PartitionState(codec)
    _, _, outcome, _ = PROJECTIONS["ACCOUNT_UPDATE"].apply(no_states, event, account.account_id, source)
    state: AccountState = outcome.state
    return state

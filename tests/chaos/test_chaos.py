"""The small `make chaos`: every kind of fault once and kill -9 of every process; all that was pushed is there once."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from chaos_run import Outcome, Plan, run_chaos
from faults import FaultKind
from kafka_cluster import chosen_broker

log = logging.getLogger(__name__)

SEED = int(os.environ.get("CHAOS_SEED", "20"))
PLAN = Plan(
    events=18_000,
    rate=600,
    faults=(*FaultKind, *[FaultKind.KILL] * 4),
    seed=SEED,
    routers=2,
    projectors=2,
    partitions=6,
)


@pytest.mark.skipif(chosen_broker() != "embedded", reason="only embedded brokers can be killed")
def test_what_was_pushed_is_there_exactly_once_through_all_faults(tmp_path: Path) -> None:
    outcome = Outcome()
    run_chaos(PLAN, tmp_path, log.info, outcome)
    lives = {worker.name: (worker.lives, worker.kills, worker.restarts_asked) for worker in outcome.workers}
    log.info("seed %d: (lives, kills, 70s) %s, longest standstill %s", SEED, lives, outcome.longest)
    log.info("%s\n%s", "\n".join(map(str, outcome.struck)), outcome.report)
    assert outcome.report.is_clean, f"seed {SEED}\n{outcome.report}"
    assert not any(code for code, _ in outcome.stops.values()), outcome.stops
    assert len(outcome.struck) == len(PLAN.schedule) > len(PLAN.faults)
    assert all(worker.kills for worker in outcome.workers)
    assert outcome.report.compared["records of raw"] >= PLAN.events
    assert outcome.report.compared["duplicates"] > 100
    assert outcome.report.compared["requests"] > 100

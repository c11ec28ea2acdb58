"""Those programs of examples/ that need no other toolchain; `make examples` runs all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline
from subscriber_programs import PROGRAMS, Program, is_here, read_and_compare


@pytest.fixture(scope="module")
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Run a router and a projector."""
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", tmp_path_factory.mktemp("examples")).made()
    with pipeline.worker("router"), pipeline.worker("projector"):
        yield pipeline


@pytest.mark.parametrize(
    "program", [one for one in PROGRAMS if one.name in {"python", "kcat"}], ids=lambda program: program.name
)
def test_a_program_reads_what_tail_prints(program: Program, pipeline: Pipeline, tmp_path: Path) -> None:
    if not is_here(program):
        pytest.skip(f"{program.tool} is not installed")
    read_and_compare(program, pipeline, tmp_path)

"""Every program of examples/ whose toolchain is installed: `make examples`. EXAMPLES_REQUIRED=1 needs all of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from pipeline_processes import Pipeline, eventually
from subscriber_programs import EXAMPLES, PROGRAMS, Program, fill, is_here, read_and_compare, tail
from test_examples import pipeline

__all__ = ["pipeline"]

pytestmark = pytest.mark.timeout(1200)


def require(tool: str) -> None:
    if shutil.which(tool) is None:
        if os.environ.get("EXAMPLES_REQUIRED"):
            pytest.fail(f"{tool} is not installed")
        pytest.skip(f"{tool} is not installed")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_reads_what_tail_prints(program: Program, pipeline: Pipeline, tmp_path: Path) -> None:
    if not is_here(program):
        require(program.tool)
    read_and_compare(program, pipeline, tmp_path)


def test_kafka_connect_writes_every_event_once_and_continues(pipeline: Pipeline, tmp_path: Path) -> None:
    require("mvn")
    copy = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={tmp_path / 'lib'}"]
    subprocess.run(copy, cwd=EXAMPLES / "connect", check=True, timeout=900)
    worker = (EXAMPLES / "connect/worker.properties").read_text(encoding="utf-8")
    sink = (EXAMPLES / "connect/sink.properties").read_text(encoding="utf-8")
    settings = pipeline.settings
    worker += f"bootstrap.servers={settings.kafka_bootstrap_servers}\n"
    (tmp_path / "worker.properties").write_text(worker, encoding="utf-8")
    (tmp_path / "sink.properties").write_text(sink.replace("broker.raw", settings.topic("raw")), encoding="utf-8")
    command = ["java", "-cp", f"{tmp_path / 'lib'}/*", "org.apache.kafka.connect.cli.ConnectStandalone"]
    for _ in range(2):
        fill(pipeline)
        wanted = sorted(value for _, value in tail(pipeline, ("raw",)).values())
        with (tmp_path / "connect.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "worker.properties", "sink.properties"], cwd=tmp_path, stdout=log, stderr=log
            )
            try:
                eventually(lambda: len(written(tmp_path)) >= len(wanted))  # noqa: B023
                time.sleep(2)
            finally:
                process.terminate()  # it commits its offsets
                process.wait(60)
        assert sorted(written(tmp_path)) == wanted


def written(folder: Path) -> list[str]:
    path = folder / "events.ndjson"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

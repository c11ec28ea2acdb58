"""`broker-events run` and `stack` as a user starts them: whole processes on an embedded broker of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from demo_process import CLEAN, PARTS, Started, descendants, gone, marked, part, started

REPLAY_ONE = ("--all", "--limit", "1", "--include-rejected", "--yes")
EVENTS = Path(__file__).parents[2] / "schemas" / "events"


def test_a_run_without_a_terminal_ends_by_itself_and_balances(tmp_path: Path) -> None:
    began = time.monotonic()
    with started(tmp_path, "run", "--folder", str(tmp_path / "logs"), DEMO_SECONDS="15") as run:
        run.wait_for("running: raw [1-9]")
        processes = descendants(run.process.pid)
        assert {line[3] for line in processes.values() if line[1:3] == ["-m", "broker_events.cli"]} == set(PARTS)
        run.wait_for("running: .*quarantined [1-9]")
        replay(tmp_path, run)
        assert run.wait() == 0, run.output
    took_s = time.monotonic() - began
    assert gone(processes, 1.0) == {}
    output = run.output
    assert output.rstrip().splitlines()[-2] == "balanced"
    assert re.search(r"received \+ replayed = raw +[\d,]+ \+ 1 = ", output)
    assert marked(output, "✗") == set()
    assert marked(output, "✓") > {
        "received + replayed = raw",
        "raw = typed + quarantined + duplicates",
        "alerts as simulated",
    }
    report = json.loads((tmp_path / "logs" / "simulator.json").read_text())
    assert 15 * 150 < report["log"]["events"] < 200 * took_s
    assert report["log"]["malformed"]
    assert report["pushed"]["duplicates"] > 0
    assert re.search(rf"simulated = raw without repetitions +{report['log']['events']:,} = ", output)
    for rule, counts in report["expected_alerts"].items():
        for status, count in counts.items():
            assert count > 0, (rule, status)
            assert re.search(rf"✓ {rule} +{status} +{count:,} +{count:,}$", output, re.MULTILINE)
    assert re.search(r"push to alert +p50 \d+ ms   p99 \d+ ms", output)
    assert re.search(r"first typed event +\d+\.\d s after the start", output)
    # No secret on any command line or in any log.
    secret = re.compile(r"\b[0-9a-f]{32}\b")
    assert not any(secret.search(word) for line in processes.values() for word in line)


def replay(folder: Path, run: Started) -> None:
    """Replay a record as README tells, by what the run says that another terminal needs."""
    cluster = dict(re.findall(r"^export (PIPELINE_\w+)=(\S+)$", run.output, re.MULTILINE))
    (folder / "replay").mkdir()
    with started(folder / "replay", "quarantine", "replay", *REPLAY_ONE, **cluster) as done:
        assert done.wait() == 0, done.output


def test_a_killed_router_comes_back_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    arguments = ("run", "--seconds", "14", "--fault", "disconnect=@800", "--fault", "replay:50=/700")
    with started(tmp_path, *arguments) as run:
        run.wait_for("running: raw [1-9].*alerts [1-9]")
        os.kill(part(run, "router"), signal.SIGKILL)
        assert run.wait() == 0, run.output
    assert marked(run.output, "✗") == set()
    assert re.search(r"restarts +router 1$", run.output, re.MULTILINE)


def test_a_killed_bridge_and_projector_come_back(tmp_path: Path) -> None:
    with started(tmp_path, "run", "--seconds", "14") as run:
        run.wait_for("running: raw [1-9].*alerts [1-9]")
        os.kill(part(run, "ingest"), signal.SIGKILL)
        os.kill(part(run, "projector"), signal.SIGKILL)
        assert run.wait() == 0, run.output
    assert marked(run.output, "✗") == set()
    assert "received + replayed <= raw" in marked(run.output, "✓")
    assert re.search(r"restarts +bridge 1, projector 1$", run.output, re.MULTILINE)


def test_alerts_that_the_simulator_did_not_cause_are_no_balance(tmp_path: Path) -> None:
    """The simulator's last word says one alert more than it caused."""
    logs = tmp_path / "logs"
    with started(tmp_path, "run", "--seconds", "4", "--folder", str(logs), "--fault", "malformed=0.01") as run:
        run.wait_for("waiting for the balance")
        report = json.loads((logs / "simulator.json").read_text())
        report["expected_alerts"]["LIQUIDATE_ONLY"]["FIRING"] += 1
        temporary = logs / "tampered"
        temporary.write_text(json.dumps(report))
        temporary.replace(logs / "simulator.json")
        assert run.wait() == 1, run.output
    assert marked(run.output, "✗") == {"alerts as simulated", "LIQUIDATE_ONLY"}
    assert "NOT balanced: 1 of 7" in run.output
    assert re.search(r"waiting for the balance \(alerts as simulated\): ", run.output)


def test_nothing_is_left_of_a_killed_run(tmp_path: Path) -> None:
    with started(tmp_path, "run") as run:
        run.wait_for("running: raw [1-9]")
        processes = descendants(run.process.pid)
        temporary = [Path(line[1][1:]).parents[1] for line in processes.values() if line[0].endswith("/java")]
        assert len(processes) == 2 * (len(PARTS) + 2)  # each with its guard; broker and registry
        assert len(temporary) == 2
        assert all(folder.is_dir() for folder in temporary)
        run.process.kill()
        assert gone(processes, 30.0) == {}
    assert not any(folder.exists() for folder in temporary)


@pytest.mark.parametrize("moment", ["logs in", "Apache Kafka .* on", r"\d+ topics", "router and projector are ready"])
def test_ctrl_c_ends_a_start_cleanly(tmp_path: Path, moment: str) -> None:
    with started(tmp_path, "run") as run:
        run.wait_for(moment)
        processes = descendants(run.process.pid)
        run.process.send_signal(signal.SIGINT)
        code = run.wait()
    assert code == 130, run.output
    assert "Traceback" not in run.output
    assert gone(processes, 20.0) == {}


@pytest.mark.parametrize("after_s", [0.2, 0.4, 0.8, 1.2, 1.6, 2.0, 2.6, 3.5])
def test_ctrl_c_on_a_terminal_ends_a_start_cleanly_at_every_moment(tmp_path: Path, after_s: float) -> None:
    """A terminal signals the whole process group, so also the Java programs that the start runs."""
    command = [sys.executable, "-m", "broker_events.cli", "run"]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = CLEAN | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        start_new_session=True,
    ) as run:
        time.sleep(after_s)
        os.killpg(run.pid, signal.SIGINT)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 130, output
    assert "Traceback" not in output
    assert "failed" not in output
    deadline = time.monotonic() + 20
    while left := [*temporary.iterdir()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_wrong_settings_of_a_process_stop_everything_and_say_why(tmp_path: Path) -> None:
    with started(tmp_path, "run", PIPELINE_GRPC_TARGET="127.0.0.1:1") as run:
        run.wait_for("router and projector are ready")
        processes = descendants(run.process.pid)
        assert run.wait() == 2, run.output
    assert "the bridge ended with exit code 2" in run.output
    assert "PIPELINE_APP_KEY, PIPELINE_APP_SECRET: needed" in run.output
    assert gone(processes, 1.0) == {}


def test_a_wrong_fault_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with started(tmp_path, "run", "--fault", "nonsense=1") as run:
        assert run.wait() == 2
    assert "'nonsense=1' is not KIND" in run.output
    assert "logs in" not in run.output


def test_an_event_push_of_ones_own(tmp_path: Path) -> None:
    """Nobody says what it should cause; a simulator that the run knows nothing of stands for the broker."""
    (tmp_path / "push").mkdir()
    access = {"PIPELINE_APP_KEY": "key", "PIPELINE_APP_SECRET": "s" * 16}
    with started(tmp_path / "push", "simulate", "--rate", "100", **access) as push:
        push.wait_for("listening on")
        target = push.output.split()[-1]
        settings = access | {"PIPELINE_GRPC_TARGET": target, "PIPELINE_GRPC_TLS": "false"}
        with started(tmp_path, "run", "--seconds", "4", **settings) as run:
            assert run.wait() == 0, run.output
    marks = marked(run.output, "✓")
    assert {"received + replayed <= raw", "raw = typed + quarantined + duplicates"} < marks
    assert "simulated = raw without repetitions" not in marks


def test_half_a_cluster_is_refused(tmp_path: Path) -> None:
    with started(tmp_path, "run", "--cluster", PIPELINE_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1") as run:
        assert run.wait() == 2
    assert "PIPELINE_SCHEMA_REGISTRY_URL: not set, and --cluster needs both" in run.output


def test_files_instead_of_the_simulator(tmp_path: Path) -> None:
    samples = sorted(EVENTS.glob("*/samples/accept/*[!d].json"))
    events = [json.loads(path.read_text()) for path in samples if not path.name.endswith(".record.json")]
    for number, event in enumerate(events):
        event["id"] = f"event-{number}"
    lines = [json.dumps(event) for event in (*events, events[0])]
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join([*lines, "{broken"]) + "\n")
    with started(tmp_path, "run", "--file", str(file)) as run:
        assert run.wait() == 0, run.output
    count = len(events)
    assert f"{count + 2:,} + 0 = {count + 2:,}\n" in run.output
    assert f"{count + 2:,} = {count:,} + 1 + 1\n" in run.output
    assert "push to alert" not in run.output


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    with started(tmp_path, "run", "--fault", "malformed=0.01") as run:
        run.wait_for("running: raw [1-9]")
        processes = descendants(run.process.pid)
        os.kill(part(run, "ingest"), signal.SIGSTOP)  # so that an end in order would take long
        run.process.send_signal(signal.SIGINT)
        run.wait_for("ending")
        run.process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        assert run.wait() == 130, run.output
    assert time.monotonic() - begun < 5
    assert run.output.rstrip().endswith("interrupted")
    assert gone(processes, 1.0) == {}

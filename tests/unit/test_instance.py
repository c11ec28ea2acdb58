"""Names of workers: one on a host each, and what one does that another has taken over from."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from broker_events.runtime.process import instance
from broker_events.runtime.process.errors import Fenced, OperatorActionRequired
from broker_events.runtime.process.health import Health
from broker_events.runtime.process.instance import superseded, with_own_instance_id
from broker_events.runtime.settings import Settings


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("PIPELINE_INSTANCE_ID", raising=False)
    monkeypatch.setattr(instance, "_held", [])


def end_of_process() -> None:
    while instance._held:
        os.close(instance._held.pop(0))


def test_two_workers_of_one_host_have_two_names_and_a_restarted_one_its_own() -> None:
    host = Settings().instance_id
    assert with_own_instance_id(Settings(), "router").instance_id == host
    assert with_own_instance_id(Settings(), "router").instance_id == f"{host}-1"
    assert with_own_instance_id(Settings(), "projector").instance_id == host
    end_of_process()
    assert with_own_instance_id(Settings(), "router").instance_id == host


def test_a_killed_process_gives_its_name_back() -> None:
    program = (
        "import os, signal\n"
        "from broker_events.runtime.process.instance import with_own_instance_id\n"
        "from broker_events.runtime.settings import Settings\n"
        "print(with_own_instance_id(Settings(), 'router').instance_id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    names = [
        subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert names == [Settings().instance_id + "\n"] * 2


def test_a_name_that_is_set_stays() -> None:
    settings = Settings(instance_id="router-0")
    assert with_own_instance_id(settings, "router") is with_own_instance_id(settings, "router") is settings


def test_without_a_folder_for_locks_the_name_has_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc/nowhere")
    with pytest.raises(OperatorActionRequired, match=r"/proc/nowhere/broker-events-\d+: .* Set PIPELINE_INSTANCE_ID"):
        with_own_instance_id(Settings(), "router")


def test_a_superseded_worker_ends_with_what_to_do() -> None:
    health = Health()
    health.ready()
    with (
        pytest.raises(Fenced, match=r"^taken\. Name it$"),
        superseded(Settings(), health, threading.Event(), "Name it"),
    ):
        raise Fenced("taken")
    assert health.ready_problem() == "superseded"


def test_where_any_exit_would_be_restarted_it_waits_to_be_stopped() -> None:
    stop, health = threading.Event(), Health()
    seen: list[str | None] = []

    def look_and_stop() -> None:
        seen.extend([health.ready_problem(), health.live_problem()])
        stop.set()

    threading.Timer(0.2, look_and_stop).start()
    with pytest.raises(Fenced), superseded(Settings(superseded_action="wait"), health, stop, ""):
        raise Fenced("taken")
    assert seen == ["superseded", None]

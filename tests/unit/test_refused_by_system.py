"""What the operating system refuses until a person changes it ends with exit code 2 and one line, not with 70."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from broker_events.processors.app import PipelineApp
from broker_events.runtime.process.errors import refused_by_system
from broker_events.runtime.process.lifecycle import run_process
from broker_events.runtime.settings import Settings


def command(*arguments: str, stdout: int | None = None, **variables: str) -> tuple[int, list[str]]:
    """Exit code, and lines on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "broker_events.cli", *arguments],
        env=os.environ | variables,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()


def full_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x")


def no_right() -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/data/x")


def no_temporary_folder() -> None:
    tempfile.mkdtemp()


@pytest.mark.parametrize(
    ("work", "advice"),
    [(full_disk, "free some space"), (no_right, "grant this user access"), (no_temporary_folder, "set TMPDIR")],
)
def test_a_process_ends_with_one_line(
    work: Callable[[], None], advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/dev/null"])
    assert run_process(Settings(), "test", lambda _: work()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert advice in line


def test_other_errors_are_defects() -> None:
    assert refused_by_system(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None
    assert refused_by_system(OSError("no errno")) is None


def test_a_worker_writes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = PipelineApp("test", broker="kafka://", store="memory://", autodiscover=False)
    app._create_directories()
    assert [*tmp_path.iterdir()] == []


def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        code, lines = command("--help", stdout=full.fileno())
    assert code == 2
    assert lines == ["broker-events: No space left on device; free some space, or use another path"]


@pytest.mark.parametrize("name", ["stack", "run"])
def test_a_folder_that_cannot_be_made_is_one_line(name: str) -> None:
    code, lines = command(name, "--folder", "/dev/null/data")
    assert (code, lines[-1]) == (2, "Error: Invalid value for --folder: /dev/null/data: Not a directory")


def test_a_cache_that_cannot_be_written_is_one_line() -> None:
    code, lines = command("stack", XDG_CACHE_HOME="/dev/null")
    assert code == 2
    assert len(lines) == 1
    assert "XDG_CACHE_HOME" in lines[0]

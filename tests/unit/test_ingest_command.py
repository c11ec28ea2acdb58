"""`broker-events ingest --file` of what a person has to change: exit code 2 and one line, with no Kafka needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker_events.runtime.settings import PREFIX


def ingest(file: bytes, **variables: str) -> tuple[int, str]:
    """Exit code and standard error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | variables
    done = subprocess.run(
        [sys.executable, "-m", "broker_events.cli", "ingest", "--file", file],
        env=environment,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    "locale", [{}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}], ids=["UTF-8", "C"]
)
@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("name", [b"caf\xe9.zip", "café.zip".encode(), b"a\nb\x1b.zip"])
def test_a_refusal_is_one_line_whatever_the_name(
    tmp_path: Path, name: bytes, log_format: str, locale: dict[str, str]
) -> None:
    file = os.fsencode(tmp_path) + b"/" + name
    Path(os.fsdecode(file)).write_bytes(b"PK\x03\x04 and more")
    code, output = ingest(file, PIPELINE_LOG_FORMAT=log_format, **locale)
    assert code == 2, output
    assert output.count("\n") == 1
    assert "a zip archive, not NDJSON; convert it: unzip -p" in output
    assert "\x1b" not in output


@pytest.mark.parametrize("name", [b"missing", b"", b"."])
def test_what_is_no_file_is_one_line(tmp_path: Path, name: bytes) -> None:
    code, output = ingest(os.fsencode(tmp_path) + b"/" + name)
    assert code == 2, output
    assert output.count("\n") == 1

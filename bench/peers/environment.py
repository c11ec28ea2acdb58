"""Sets up what the peers need: a Python environment from hashes, and the Kafka Streams peer by Maven."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
REQUIREMENTS: Final = FOLDER / "requirements.txt"
VENV: Final = FOLDER.parent / ".venv-peers"
STREAMS: Final = FOLDER / "kafka-streams"


@dataclass(frozen=True)
class Peers:
    """`python`: the interpreter of their environment; `streams`: the built Kafka Streams peer, None without one."""

    python: Path
    streams: Path | None
    left_out: str | None


def set_up(progress: Callable[[str], None]) -> Peers:
    """Install and build what is missing or older than its description; a few minutes the first time."""
    python = _python(progress)
    missing = [tool for tool in ("mvn", "java", "javac") if shutil.which(tool) is None]
    if missing:
        return Peers(python, None, f"Kafka Streams is left out: no {', '.join(missing)} on this machine")
    target = STREAMS / "target"
    built = target / "built"
    sources = [STREAMS / "pom.xml", *STREAMS.rglob("*.java")]
    if not built.exists() or any(source.stat().st_mtime > built.stat().st_mtime for source in sources):
        progress("building the Kafka Streams peer with Maven ...")
        done = subprocess.run(  # noqa: PLW1510 (looked at below)
            ["mvn", "-q", "-B", "package"],  # noqa: S607 (the Maven of the PATH is meant)
            cwd=STREAMS,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            lines = (done.stdout + done.stderr).strip().splitlines()
            return Peers(python, None, "Kafka Streams is left out: mvn package failed: " + " | ".join(lines[:3]))
        built.touch()
    return Peers(python, target, None)


def _python(progress: Callable[[str], None]) -> Path:
    python, ready = VENV / "bin" / "python", VENV / ".ready"
    if not ready.exists() or ready.stat().st_mtime < REQUIREMENTS.stat().st_mtime:
        progress(f"setting up {VENV} for the peers (once) ...")
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        subprocess.run([str(python), "-m", "pip", "install", *options, "-r", str(REQUIREMENTS)], check=True)
        ready.touch()
    return python

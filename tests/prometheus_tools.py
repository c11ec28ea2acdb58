"""Prometheus, Alertmanager, promtool and amtool for tests: on the PATH, else from Debian's packages, else skipped.

The packages are fetched once, without root, into the cache folder that the embedded stack uses too.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from broker_events.devstack.artifacts import cache_folder

# What a program is called, and in Debian.
PROGRAMS = {
    "prometheus": ("prometheus",),
    "promtool": ("promtool",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
    "amtool": ("amtool",),
}
PACKAGES = ("prometheus", "prometheus-alertmanager")
# Debian's Alertmanager reads its templates from an absolute path. One that isn't installed there is made to read them
# from the folder that it runs in: a path of the same length.
TEMPLATES = b"/usr/share/prometheus/alertmanager"
TEMPLATES_HERE = b".".ljust(len(TEMPLATES), b"/")
FETCH_LIMIT_S = 120


def tool(name: str) -> str:
    """Path of the program; skips the test when it is nowhere to be had."""
    for folder in (None, str(_cache() / "usr" / "bin")):
        for program in PROGRAMS[name]:
            found = shutil.which(program, path=folder)
            if found:
                return found
    if _fetch():
        return tool(name)
    pytest.skip(f"{name} is not on the PATH, and not to be had as a Debian package")


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("promtool"), *arguments], check=False, capture_output=True, text=True, timeout=180)


def provide_templates(folder: Path) -> None:
    """Put the Alertmanager's templates into the folder that it will run in, if it needs them there."""
    for template in (_cache() / TEMPLATES.decode().lstrip("/")).glob("*.tmpl"):
        shutil.copy(template, folder)


def _cache() -> Path:
    return cache_folder() / "prometheus-debian"


def _fetch() -> bool:
    """Whether there is something now that was not there before."""
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg")
    if _cache().exists() or apt is None or dpkg is None:
        return False
    cache_folder().mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="prometheus-", dir=cache_folder()))
    state = partial / "apt"
    (state / "lists" / "partial").mkdir(parents=True)
    # Lists of our own, as those of the machine may be missing, and only root may fetch them.
    apt_get = [
        apt,
        "-qq",
        f"-oDir::State={state}",
        f"-oDir::Cache={state}",
        "-oDir::State::status=/var/lib/dpkg/status",
        "-oAPT::Sandbox::User=",
    ]
    try:
        for arguments in (["update"], ["download", *PACKAGES]):
            subprocess.run([*apt_get, *arguments], cwd=partial, check=True, timeout=FETCH_LIMIT_S, capture_output=True)
        for package in partial.glob("*.deb"):
            subprocess.run([dpkg, "-x", package, partial], cwd=partial, check=True)
            package.unlink()
        alertmanager = partial / "usr" / "bin" / "prometheus-alertmanager"
        alertmanager.write_bytes(alertmanager.read_bytes().replace(TEMPLATES, TEMPLATES_HERE))
        shutil.rmtree(state)
        partial.rename(_cache())
    except (subprocess.SubprocessError, OSError):  # offline, or another process was first
        shutil.rmtree(partial, ignore_errors=True)
    return _cache().exists()

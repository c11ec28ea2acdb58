"""Debian's Chromium for tests: installed where it is missing and may be installed, otherwise the tests are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

import pytest

_PACKAGES = ("chromium", "fonts-dejavu-core")
_INSTALL_S = 600


@cache
def chromium() -> str:
    """Return the path of Chromium. Skips the test, with the reason, where there is none and none can be installed."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is not None:
        return found
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        pytest.skip("no chromium on this machine, and it can't be installed: it needs apt-get and root")
    for arguments in (("update", "-qq"), ("install", "-qq", "--yes", "--no-install-recommends", *_PACKAGES)):
        done = subprocess.run(
            ["apt-get", *arguments],  # noqa: S607 (the system's)
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_INSTALL_S,
        )
        if done.returncode != 0:
            pytest.skip(f"chromium can't be installed: {done.stderr.strip()[-300:]}")
    installed = shutil.which("chromium")
    assert installed is not None
    return installed

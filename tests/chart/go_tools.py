"""Command line tools that are written in Go: found on the PATH, or built once into the user's cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from devstack.artifacts import cache_folder, locked


@dataclass(frozen=True)
class GoTool:
    """A program, its package and the version that is built; `accepted` is what `asked` says of one on the PATH."""

    name: str
    package: str
    version: str
    asked: tuple[str, ...]
    accepted: str


HELM = GoTool("helm", "helm.sh/helm/v4/cmd/helm", "v4.3.1", ("version", "--short"), "v4.")
KUBE_SCORE = GoTool("kube-score", "github.com/zegl/kube-score/cmd/kube-score", "v1.20.0", ("version",), "kube-score")


@cache
def find(tool: GoTool) -> Path:
    """Return the program; skips the test, and says what is missing, where it isn't there and can't be built."""
    on_path = shutil.which(tool.name)
    if on_path is not None:
        said = subprocess.run([on_path, *tool.asked], capture_output=True, text=True, check=False).stdout
        if tool.accepted in said:
            return Path(on_path)
    folder = cache_folder() / "go" / f"{tool.name}-{tool.version}"
    with locked(folder.with_name(f"{folder.name}.lock"), lambda: None):
        if not folder.is_dir():
            _build(tool, folder)
    return folder / tool.name


def _build(tool: GoTool, folder: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip(f"{tool.name} {tool.version} is not on the PATH, and neither is go to build it with")
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        done = subprocess.run(
            [go, "install", "-trimpath", "-ldflags=-s -w", f"{tool.package}@{tool.version}"],
            env=os.environ | {"GOBIN": f"{partial}/bin", "GOFLAGS": "", "CGO_ENABLED": "0"},
            cwd=partial,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last_line = (done.stderr.strip() or "go install failed").splitlines()[-1]
            pytest.skip(f"{tool.name} {tool.version} is not on the PATH, and can't be built: {last_line}")
        Path(partial, "bin").rename(folder)

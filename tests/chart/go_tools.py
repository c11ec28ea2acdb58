"""Command line tools that are written in Go: found on the PATH, or built once into the user's cache folder.

Where they are neither there nor can be built, the tests that need them are skipped and say so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

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


HELM: Final = GoTool("helm", "helm.sh/helm/v4/cmd/helm", "v4.3.1", ("version", "--short"), "v4.")
KUBE_SCORE: Final = GoTool("kube-score", "github.com/zegl/kube-score/cmd/kube-score", "v1.20.0", ("version",), "")
_COMPOSE_CHECK: Final = Path(__file__).parent / "composecheck"


@cache
def find(tool: GoTool) -> Path:
    """Return the program; skips the test, and says what is missing, where it isn't there and can't be built."""
    on_path = shutil.which(tool.name)
    if on_path is not None:
        said = subprocess.run([on_path, *tool.asked], capture_output=True, text=True, check=False).stdout
        if tool.accepted in said:
            return Path(on_path)
    return _built(
        f"{tool.name}-{tool.version}", tool.name, ["install", *_SMALL, f"{tool.package}@{tool.version}"], Path.home()
    )


@cache
def find_compose_check() -> Path:
    """Return the program of the folder composecheck; as `find`."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_COMPOSE_CHECK.iterdir()))).hexdigest()[:12]
    return _built(f"composecheck-{digest}", "composecheck", ["install", *_SMALL, "."], _COMPOSE_CHECK)


_SMALL: Final = ("-trimpath", "-ldflags=-s -w")


def _built(key: str, name: str, arguments: list[str], work: Path) -> Path:
    folder = cache_folder() / "go" / key
    with locked(folder.with_name(f"{key}.lock"), lambda: None):
        if not folder.is_dir():
            go = shutil.which("go")
            if go is None:
                pytest.skip(f"{name} is not on the PATH, and neither is go to build it with")
            with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
                done = subprocess.run(
                    [go, *arguments],
                    env=os.environ | {"GOBIN": f"{partial}/bin", "GOFLAGS": "", "CGO_ENABLED": "0"},
                    cwd=work,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode != 0:
                    last_line = (done.stderr.strip() or "go install failed").splitlines()[-1]
                    pytest.skip(f"{name} is not on the PATH, and can't be built: {last_line}")
                Path(partial, "bin").rename(folder)
    return folder / name

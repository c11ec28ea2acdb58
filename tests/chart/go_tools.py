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

from broker_events.devstack.artifacts import cache_folder, locked


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
ACTIONLINT: Final = GoTool(
    "actionlint", "github.com/rhysd/actionlint/cmd/actionlint", "v1.7.12", ("-version",), "v1.7."
)
_SMALL: Final = ("-trimpath", "-ldflags=-s -w")


@dataclass(frozen=True)
class GoModule:
    """A folder here with a go.mod and a go.sum, and the package to build from it; `name` is the program's."""

    folder: str
    package: str
    name: str
    flags: tuple[str, ...] = _SMALL


COMPOSE_CHECK: Final = GoModule("composecheck", ".", "composecheck")
_KUBERNETES: Final = "k8s.io/component-base/version.git"
API_SERVER: Final = GoModule(
    "kubeapiserver",
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-apiserver",
    (
        "-trimpath",
        f"-ldflags=-s -w -X {_KUBERNETES}Version=v1.34.4 -X {_KUBERNETES}Major=1 -X {_KUBERNETES}Minor=34",
    ),
)
ETCD: Final = GoModule("kubeapiserver", "go.etcd.io/etcd/server/v3", "server")


def find(tool: GoTool) -> Path:
    """Return the program; skips the test, and says what is missing, where it isn't there and can't be built."""
    on_path = shutil.which(tool.name)
    if on_path is not None:
        said = subprocess.run([on_path, *tool.asked], capture_output=True, text=True, check=False).stdout
        if tool.accepted in said:
            return Path(on_path)
    key = f"{tool.name}-{tool.version}"
    return _there(tool.name, _built(key, ("install", *_SMALL, f"{tool.package}@{tool.version}"), Path.home()))


def build(module: GoModule) -> Path:
    """Return the program of a module; as `find`, but never from the PATH."""
    folder = Path(__file__).parent / module.folder
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.iterdir()))).hexdigest()[:12]
    return _there(module.name, _built(f"{module.name}-{digest}", ("install", *module.flags, module.package), folder))


def _there(name: str, found: Path | str) -> Path:
    if isinstance(found, str):
        pytest.skip(f"{name} is not there: {found}")
    return found / name


@cache
def _built(key: str, arguments: tuple[str, ...], work: Path) -> Path | str:
    """Return the folder in the cache that `go` with these arguments has installed to, or why it couldn't."""
    folder = cache_folder() / "go" / key
    with locked(folder.with_name(f"{key}.lock"), lambda: None):
        if folder.is_dir():
            return folder
        go = shutil.which("go")
        if go is None:
            return "neither on the PATH nor built before, and there is no go to build it with"
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
                return "go can't build it: " + (done.stderr.strip() or "no reason given").splitlines()[-1]
            Path(partial, "bin").rename(folder)
    return folder

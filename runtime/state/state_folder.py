"""The folder of a worker's state on disk: one store per partition, locked against a second process."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import PREFIX, Settings
from broker_events.runtime.state.partition_store import PartitionStore, StoreIdentity, StoreMemory

_MEBIBYTE: Final = 1_048_576
# RocksDB's share of STATE_MEMORY_MB; the rest is for values that Python holds.
_STORE_SHARE: Final = 0.4


class StateFolder:
    """`STATE_FOLDER/<group>/<partition>`. It belongs to this process until it ends."""

    def __init__(self, folder: Path, settings: Settings, app: str) -> None:
        """Lock the folder. Raises OperatorActionRequired if another process has it, or if it can't be written."""
        self.path = folder / settings.group(app)
        setting = f"{PREFIX}STATE_FOLDER"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OperatorActionRequired(f"{setting}: {self.path}: {error.strerror or error}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise OperatorActionRequired(
                f"{setting}: {self.path} is in use by another process. Give each worker its own folder"
            ) from None
        self.memory_bytes = settings.state_memory_mb * _MEBIBYTE
        self._memory = StoreMemory(round(self.memory_bytes * _STORE_SHARE))

    @property
    def held_bytes(self) -> int:
        """Memory for values that are held outside of the stores."""
        return round(self.memory_bytes * (1 - _STORE_SHARE))

    def open(self, partition: int, identity: StoreIdentity) -> PartitionStore:
        """Open or create the store of a partition. Raises StateFolderFull."""
        return PartitionStore(self.path / str(partition), identity, self._memory)

    def remove_unused(self, held: Collection[int], before_s: float) -> None:
        """Delete the stores of other partitions than `held` that were last written before this time (Unix seconds)."""
        for path in self.path.iterdir():
            is_store = path.name.isdecimal() and int(path.name) not in held
            if is_store and max((file.stat().st_mtime for file in path.iterdir()), default=0.0) < before_s:
                shutil.rmtree(path, ignore_errors=True)

    def disk_bytes(self) -> tuple[int, int]:
        """Return the free bytes and the size of the folder's disk."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def close(self) -> None:
        """Unlock the folder. Close the stores first."""
        os.close(self._lock)

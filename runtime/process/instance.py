"""Instance ids: claims one per worker on this host, and handles a worker that another process supersedes."""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker_events.runtime.process.errors import Fenced, OperatorActionRequired
from broker_events.runtime.process.health import Health
from broker_events.runtime.settings import Settings

log = logging.getLogger(__name__)

_held: Final[list[int]] = []  # file descriptors of this process's locks, held until it ends


def with_own_instance_id(settings: Settings, app: str) -> Settings:
    """Return the settings with an instance id that no other worker of this app, prefix and user has on this host.

    A configured id stays. The default is the host name, then `<host name>-1` and so on: the lowest free one. It is not
    the process id, because a restarted worker needs the same transactional id to end its predecessor's transaction at
    once. The kernel releases the lock when the process ends. Raises OperatorActionRequired if no lock can be written.
    """
    if "instance_id" in settings.model_fields_set:
        return settings
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"broker-events-{os.getuid()}"
    host = settings.instance_id
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for slot in itertools.count():
            instance_id = f"{host}-{slot}" if slot else host
            if _claim(folder / f"{settings.group(app)}.{instance_id}.lock"):
                return settings.model_copy(update={"instance_id": instance_id})
    except OSError as error:
        raise OperatorActionRequired(
            f"{folder}: {error.strerror}. The default instance id needs a lock file there. Set PIPELINE_INSTANCE_ID"
        ) from None
    raise AssertionError("count() has no end")


def _claim(path: Path) -> bool:
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    _held.append(lock)
    return True


@contextmanager
def superseded(settings: Settings, health: Health, stop: threading.Event, advice: str) -> Iterator[None]:
    """Add `advice` to a Fenced error of the block. With SUPERSEDED_ACTION `wait`, raise it once `stop` is set."""
    try:
        yield
    except Fenced as error:
        superseded_by = Fenced(f"{error}. {advice}")
        health.not_ready("superseded")
        if settings.superseded_action == "wait" and not stop.is_set():
            log.error("%s. Waiting to be stopped", superseded_by)  # noqa: TRY400 (one line is enough)
            health.beat(threading.TIMEOUT_MAX)
            stop.wait()
        raise superseded_by from None

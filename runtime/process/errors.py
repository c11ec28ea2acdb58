"""Errors that end a process, and their exit codes."""

from __future__ import annotations

import errno
from typing import Final

from broker_events.schemas.urls import without_userinfo

_RIGHTS: Final = "grant this user access, or use another path"
_SPACE: Final = "free some space, or use another path"
_ADVICE: Final = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
}


class PipelineError(Exception):
    """Base of the errors that end a process with one clear line instead of a traceback."""

    exit_code = 1

    def __init__(self, text: str) -> None:
        super().__init__(without_userinfo(text))


class OperatorActionRequired(PipelineError):
    """A setting, option or topic is wrong: an operator must change it, a restart does not help."""

    exit_code = 2


def refused_by_system(error: OSError) -> OperatorActionRequired | None:
    """Return the error for an OSError that only an operator can resolve; None for any other.

    That is a missing right, a read-only or full disk, and no folder for temporary files.
    """
    reason = error.strerror or str(error)
    if error.errno == errno.ENOENT and reason.startswith("No usable temporary directory"):
        return OperatorActionRequired("no folder for temporary files can be written: set TMPDIR to one that can")
    advice = _ADVICE.get(error.errno or 0)
    if advice is None:
        return None
    place = f"{error.filename}: " if error.filename else ""
    return OperatorActionRequired(f"{place}{reason}; {advice}")


class Stopped(PipelineError):
    """SIGTERM or Ctrl-C during startup."""

    exit_code = 0


class QuarantineLimitExceeded(PipelineError):
    """Quarantine exceeds the QUARANTINE_LIMIT_ settings, and QUARANTINE_LIMIT_ACTION is stop.

    All processed records are committed. A restart would continue with the next ones: an operator must check first.
    """

    exit_code = 3


class StateFolderFull(PipelineError):
    """The disk of STATE_FOLDER is full. All processed records are committed; an operator must free some space."""

    exit_code = 3


class RestartRequired(PipelineError):
    """The state in memory may be ahead of the committed offsets: a new process restores it from the topics.

    The supervisor (Kubernetes, systemd, `broker-events run`) restarts it on exit code 70 (EX_SOFTWARE).
    """

    exit_code = 70


class Fenced(PipelineError):
    """Superseded: another process with the same transactional id has taken over (KIP-98 producer fencing).

    A restart would fence that process, and the two would fence each other without end.
    """

    exit_code = 4

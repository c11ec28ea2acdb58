"""How a process ends when it can't go on, and with which exit code."""

from __future__ import annotations

from schemas.urls import without_userinfo


class PipelineError(Exception):
    """Base of the errors that end a process with one clear line instead of a traceback."""

    exit_code = 1

    def __init__(self, text: str) -> None:
        super().__init__(without_userinfo(text))


class SettingsError(PipelineError):
    """A setting, option or topic is wrong: a restart would not help, somebody has to change it."""

    exit_code = 2


class Stopped(PipelineError):
    """SIGTERM or Ctrl-C came while the process was still waiting for what it needs to begin."""

    exit_code = 0


class QuarantineLimitExceeded(PipelineError):
    """More goes into quarantine than QUARANTINE_LIMIT_... allow, and QUARANTINE_LIMIT_ACTION is to stop.

    What has been done is committed. A restart would go on with the next records: somebody has to look first.
    """

    exit_code = 3


class MustRestart(PipelineError):
    """The memory of this process may differ from what is committed: end it, a fresh one starts from the topics.

    The supervisor (Kubernetes, systemd, `broker-events run`) starts it anew on exit code 70 (EX_SOFTWARE).
    """

    exit_code = 70


class Fenced(PipelineError):
    """Superseded: another process with the same transactional id has taken over (KIP-98 producer fencing).

    A restart would fence that process in turn, and the two would go on so without end.
    """

    exit_code = 4

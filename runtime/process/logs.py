"""Configures logging: one line per entry on stderr, as text or JSON."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, Final

from broker_events.runtime.process.terminal import escaped
from broker_events.runtime.settings import Settings
from broker_events.schemas.urls import without_userinfo

# These loggers start at WARNING: below, they log too much, some a line per event.
_QUIET: Final = (
    "faust",
    "mode",
    "broker_events.processors.app",
    "asyncio",
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "urllib3",
)
# librdkafka retries by itself and warns each time, such as at the first start on a new cluster.
_ROUTINE: Final = "Failed to acquire transactional PID"
_STANDARD: Final = {*vars(logging.makeLogRecord({})), "message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One JSON object per entry: time (UTC), level, process, logger, message, then the members of `extra`.

    An exception is in `traceback`. Values without a JSON form are written as text.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return escaped(without_userinfo(json.dumps(entry, default=str)))


class TextFormatter(logging.Formatter):
    """A line of text, and a traceback after it, without terminal control characters."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return escaped(without_userinfo(super().format(record)))


def configure_logging(settings: Settings, process: str) -> None:
    """Configure logging by LOG_LEVEL and LOG_FORMAT. `process`: name of this process in each entry."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter(process))
    else:
        line = f"%(asctime)s.%(msecs)03dZ %(levelname)-7s {process} %(message)s"
        handler.setFormatter(TextFormatter(line, datefmt="%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for logger in _QUIET:
        logging.getLogger(logger).setLevel(logging.WARNING)
    logging.getLogger("librdkafka").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a person can act on this entry of librdkafka; at the level DEBUG every entry counts."""
    message = record.getMessage()
    return not (_ROUTINE in message and message.endswith("retrying")) or logging.root.isEnabledFor(logging.DEBUG)

"""Log entries: a line of text or a JSON object each."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from broker_events.runtime.process.logs import configure_logging
from broker_events.runtime.settings import Settings

log = logging.getLogger("runtime.test")


@pytest.fixture(autouse=True)
def _handlers_back() -> Iterator[None]:
    """Give pytest its log handlers back."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def entries(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_json_is_one_object_a_line_with_what_extra_holds(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json"), "router")
    log.info("two\nlines of %s", "text", extra={"records": 3})
    (entry,) = entries(capfd)
    time = entry.pop("time")
    assert isinstance(time, str)
    assert time.endswith("Z")
    assert len(time) == len("2026-01-31T09:30:00.123Z")
    assert entry == {
        "level": "INFO",
        "process": "router",
        "logger": "runtime.test",
        "message": "two\nlines of text",
        "records": 3,
    }


def test_json_keeps_a_traceback_within_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json"), "router")
    try:
        raise ValueError("a \udc80 that has no UTF-8 form")
    except ValueError:
        log.exception("internal error", extra={"what": object})
    (entry,) = entries(capfd)
    assert "ValueError" in str(entry["traceback"])


def test_text_is_the_default_and_the_level_holds(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="WARNING"), "router")
    log.info("nothing")
    log.warning("why")
    assert capfd.readouterr().err.splitlines()[0].split()[1:] == ["WARNING", "router", "why"]


def test_a_retry_of_kafkas_client_is_no_warning(capfd: pytest.CaptureFixture[str]) -> None:
    retry = (
        "GETPID [thrd:main]: Failed to acquire transactional PID from broker 1: Coordinator load in progress: retrying"
    )
    configure_logging(Settings(), "projector")
    logging.getLogger("librdkafka").warning(retry)
    logging.getLogger("librdkafka").warning("FAIL [thrd:main]: Connection refused")
    assert [line.split(" projector ")[1] for line in capfd.readouterr().err.splitlines()] == [
        "FAIL [thrd:main]: Connection refused"
    ]
    configure_logging(Settings(log_level="DEBUG"), "projector")
    logging.getLogger("librdkafka").warning(retry)
    assert retry in capfd.readouterr().err


def test_others_are_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="DEBUG"), "router")
    logging.getLogger("faust.channels").debug("one an event")
    assert capfd.readouterr().err == ""

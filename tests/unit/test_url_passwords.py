"""No message, log entry or error shows the user and password of a URL, whatever setting the URL is in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from broker_events.devstack import artifacts
from broker_events.devstack.artifacts import KAFKA, StackError
from broker_events.runtime.kafka.clients import admin_client
from broker_events.runtime.process.errors import OperatorActionRequired, PipelineError
from broker_events.runtime.process.logs import configure_logging
from broker_events.runtime.schema_ids import open_decoder, open_registry, resolve_schema_ids
from broker_events.runtime.settings import CONFIG_FILE, PREFIX, Settings, load_settings
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import EventDecoder
from broker_events.schemas.frame import frame
from broker_events.schemas.registry import Registry, RegistryError
from broker_events.schemas.urls import split_userinfo, without_userinfo

SECRET = "hunter2"  # noqa: S105 (it protects nothing)
URLS = [
    f"http://team:{SECRET}@127.0.0.1:1",
    f"https://team:{SECRET}@127.0.0.1:1/apis/ccompat/v7",
    f"http://{SECRET}@127.0.0.1:1",
    f"http://team:{SECRET}%40%2F@127.0.0.1:1",
    f"http://127.0.0.1:1,http://team:{SECRET}@127.0.0.1:1",
    # Not as a URL must be: a password that is not percent-encoded, no or another scheme, no host, no port.
    f"http://team:{SECRET}/@127.0.0.1:1",
    f"http://team:/{SECRET}@127.0.0.1:1",
    f"http://team:1/{SECRET}@127.0.0.1:1",
    f"http://team:a#{SECRET}@127.0.0.1:1",
    f"http://team:a?{SECRET}@127.0.0.1:1",
    f"http://team:a@{SECRET}@127.0.0.1:1",
    f"http://team:a,{SECRET}@127.0.0.1:1",
    f"http://team:[{SECRET}@127.0.0.1:1",
    f"http://team:{SECRET}℀@127.0.0.1:1",
    f"http://team:{SECRET}@127.0.0.1:port",
    f"http://team:{SECRET}@",
    f"ftp://team:{SECRET}@127.0.0.1:1",
    f"team:{SECRET}@127.0.0.1:1",
]
ADDRESSES = (
    "schema_registry_url",
    "schema_registry_proxy",
    "kafka_bootstrap_servers",
    "grpc_target",
    "grpc_proxy",
    "http_host",
)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Every error that a traceback or an error tracker may print, and what it was made of."""
    while error is not None:
        yield error
        yield from chain(error.__cause__)
        error = error.__context__


def said(error: BaseException) -> str:
    return "\n".join(f"{each} {each!r} {each.args!r}" for each in chain(error))


@pytest.fixture(autouse=True)
def _log_is_clean(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert SECRET not in caplog.text


def decode(url: str) -> object:
    return EventDecoder(url).decode(frame(1) + b"x")


def resolve(url: str) -> object:
    return resolve_schema_ids(load_settings(schema_registry_url=url, start_timeout_s=0.01), load_catalog())


ENTRY_POINTS: dict[str, Callable[[str], object]] = {
    "EventDecoder": decode,
    "EventDecoder with basic_auth": lambda url: EventDecoder(url, "user:password").decode(frame(1) + b"x"),
    "Registry.resolve": lambda url: Registry(url).resolve("s", '"string"'),
    "Registry, printed": lambda url: (str(Registry(url)), vars(EventDecoder(url))),
    "resolve_schema_ids": resolve,
    "open_registry": lambda url: open_registry(load_settings(schema_registry_url=url)).schema_text(1),
    "open_decoder": lambda url: open_decoder(load_settings(schema_registry_url=url)).decode(frame(1)),
    "Settings": lambda url: Settings(schema_registry_url=url),
    "split_userinfo": lambda url: split_userinfo(url)[0],
    "KAFKA_EXTRA": lambda url: admin_client(
        load_settings(
            kafka_extra={
                "debug": url if "://" in url else "no such context",
            },
            start_timeout_s=0.01,
        )
    ),
}


@pytest.mark.parametrize("entry_point", ENTRY_POINTS.values(), ids=ENTRY_POINTS)
def test_entry_points(entry_point: Callable[[str], object]) -> None:
    for url in URLS:
        try:
            shown = repr(entry_point(url))
        except (RegistryError, PipelineError, ValueError) as error:
            shown = said(error)
        assert SECRET not in shown


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_of_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in URLS:
        monkeypatch.setenv(variable, url)
        try:
            shown = repr(Registry("http://registry.invalid"))
        except RegistryError as error:
            shown = said(error)
        assert SECRET not in shown


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_that_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in URLS:
        monkeypatch.setenv(PREFIX + name.upper(), url)
        if name not in ADDRESSES:
            with suppress(OperatorActionRequired):
                load_settings()
                continue
        with pytest.raises(OperatorActionRequired, match=f"{PREFIX}{name.upper()}: ") as refusal:
            load_settings()
        assert SECRET not in said(refusal.value)


@pytest.mark.parametrize(
    "form",
    ["schema_registry_url = '{}'", "'{}' = 1", "{} = 1", "http_host = '{}", "http_host = '{}'", "a = '{}\udcff'"],
)
def test_a_config_file(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pipeline.toml"
    monkeypatch.setenv(CONFIG_FILE, str(path))
    for url in URLS:
        path.write_text(form.format(url), encoding="utf-8", errors="surrogateescape")
        with pytest.raises(OperatorActionRequired) as refusal:
            load_settings()
        assert SECRET not in said(refusal.value)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log(log_format: str, capfd: pytest.CaptureFixture[str]) -> None:
    handlers, level = logging.root.handlers[:], logging.root.level
    configure_logging(Settings(log_format=log_format), "router")
    try:
        raise ValueError(URLS[0])
    except ValueError:
        logging.getLogger("any").exception("via %s at broker.raw[3]@41", URLS[1], extra={"proxy": URLS[3]})
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    written = capfd.readouterr().err
    assert SECRET not in written
    assert "https://127.0.0.1:1/apis/ccompat/v7 at broker.raw[3]@41" in written


def test_a_registry_that_cannot_be_reached() -> None:
    with pytest.raises(RegistryError, match=r"^the registry at http://127\.0\.0\.1:1 cannot be reached: "):
        decode(URLS[0])


def test_a_mirror_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object) -> Path:
        raise requests.ConnectionError(f"HTTPSConnectionPool: {URLS[0]}")

    monkeypatch.setattr(artifacts, "_fetch", fetch)
    monkeypatch.setattr(artifacts, "ATTEMPTS", 2)
    monkeypatch.setattr(artifacts, "cache_folder", lambda: tmp_path)
    progress: list[str] = []
    with pytest.raises(StackError, match="can't be fetched: HTTPSConnectionPool: http://127") as failure:
        artifacts.ensure(KAFKA, progress.append)
    assert SECRET not in said(failure.value) + "".join(progress)


def test_a_url_that_holds_user_and_password_works() -> None:
    assert split_userinfo("https://te%20am:p%40ss@host:8081/x") == ("https://host:8081/x", "te am:p@ss")
    assert split_userinfo("http://[::1]:8081/") == ("http://[::1]:8081/", None)
    assert (
        without_userinfo("topic[0]@1 http://a:b@host/x, 'http://c@d' done@3")
        == "topic[0]@1 http://host/x, 'http://d' done@3"
    )

"""The receivers of alerts: the TOML file that DELIVERY_RECEIVERS names, checked with line and key."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from broker_events.runtime.process.addresses import is_loopback
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import PREFIX, Settings
from broker_events.schemas.catalog import load_catalog
from broker_events.sinks.deliver.signature import Signer, SigningSecretError

SETTING: Final = f"{PREFIX}DELIVERY_RECEIVERS"
ALERTS: Final = "alerts"

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})\s*([smhd])")
_TABLE: Final = re.compile(r"\s*\[\[\s*receiver\s*\]\]")


def _duration(value: object) -> object:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('must be a number and a unit, such as "75h"')
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


class Receiver(BaseModel):
    """One receiver. `rules`, `severities` and `accounts` (account keys) None: all. `since` (UTC): none raised before.

    `url` and `urls` are for an Alertmanager, which may be several of one cluster. A webhook has one `url`, perhaps in a
    file, since it may be secret. `private`: it is inside this network, so http and private addresses are allowed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")
    kind: Literal["webhook", "alertmanager"]
    url: str | None = None
    url_file: Path | None = None
    urls: tuple[str, ...] = ()
    private: bool = False
    ca_file: Path | None = None
    secret_files: tuple[Path, ...] = Field((), max_length=2)
    authorization_file: Path | None = None
    rules: tuple[Annotated[str, Field(pattern=r"^[A-Z0-9]+(_[A-Z0-9]+)*$")], ...] | None = Field(None, min_length=1)
    severities: tuple[Literal["critical", "warning", "info"], ...] | None = Field(None, min_length=1)
    accounts: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(None, min_length=1)
    since: datetime | None = None
    labels: dict[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")], str] = {}
    give_up_after: Annotated[timedelta, BeforeValidator(_duration)] = timedelta(hours=75)
    max_in_flight: int = Field(16, ge=1, le=256)
    max_per_s: int = Field(1000, ge=1, le=100_000)
    timeout_s: float = Field(15, ge=0.1, le=60)
    interval_s: float = Field(60, ge=1, le=300)

    @field_validator("url_file", "ca_file", "authorization_file")
    @classmethod
    def _is_readable(cls, path: Path | None) -> Path | None:
        if path is not None:
            _text_of(path)
        return path

    @field_validator("secret_files")
    @classmethod
    def _are_secrets(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        try:
            Signer([_text_of(path) for path in paths])
        except SigningSecretError as error:
            raise ValueError(str(error)) from None
        return paths

    @field_validator("since")
    @classmethod
    def _has_an_offset(cls, since: datetime | None) -> datetime | None:
        if since is not None and since.tzinfo is None:
            raise ValueError("needs an offset from UTC, such as 2026-01-31T09:30:00Z")
        return None if since is None else since.astimezone(UTC)

    @field_validator("give_up_after")
    @classmethod
    def _ends_before_retention(cls, after: timedelta) -> timedelta:
        kept = timedelta(days=load_catalog().topics[ALERTS][1].retention_days or 0)
        if after >= kept:
            raise ValueError(f"must be below the retention of the topic {ALERTS}, {kept.days} days")
        return after

    @model_validator(mode="after")
    def _keys_belong_to_the_kind(self) -> Self:
        given = self.model_fields_set
        only_webhook = {"secret_files", "url_file", "give_up_after", "max_in_flight", "max_per_s"}
        only_alertmanager = {"urls", "labels", "interval_s"}
        foreign = given & (only_alertmanager if self.kind == "webhook" else only_webhook)
        if foreign:
            raise KeyedError(min(foreign), f"does not apply to the kind {self.kind}")
        if len({"url", "url_file", "urls"} & given) != 1:
            choices = "url or url_file" if self.kind == "webhook" else "url or urls"
            raise KeyedError("url", f"a receiver of this kind needs {choices}, and one of them only")
        if self.kind == "webhook" and not self.secret_files:
            raise KeyedError("secret_files", "is required: a webhook is signed")
        for url in self.addresses():
            if problem := _url_problem(url, private=self.private):
                raise KeyedError("url" if self.url else "url_file" if self.url_file else "urls", problem)
        return self

    def addresses(self) -> tuple[str, ...]:
        """Return every URL of the receiver; reads `url_file`."""
        if self.url_file is not None:
            return (_text_of(self.url_file),)
        return self.urls if self.url is None else (self.url,)

    def secrets(self) -> list[str]:
        """Return the signing secrets, read from their files."""
        return [_text_of(path) for path in self.secret_files]

    def authorization(self) -> str | None:
        """Return the value of the Authorization header, read from its file."""
        return None if self.authorization_file is None else _text_of(self.authorization_file)


class KeyedError(ValueError):
    """A problem of one key that only the whole receiver shows."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


def load_receivers(settings: Settings) -> tuple[Receiver, ...]:
    """Read the file that DELIVERY_RECEIVERS names.

    Raises OperatorActionRequired with file, line and key of the first problem; no URL or secret is in it.
    """
    path = settings.delivery_receivers
    if path is None:
        raise OperatorActionRequired(f"{SETTING} is not set: it names the TOML file of the receivers (docs: deliver)")
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OperatorActionRequired(f"{SETTING}: {path}: {reason}") from None
    tables = found.get("receiver")
    if unknown := sorted(found.keys() - {"receiver"}):
        raise OperatorActionRequired(f"{SETTING}: {path}: no such key: {unknown[0]!r}; there is [[receiver]] only")
    if not isinstance(tables, list) or not tables:
        raise OperatorActionRequired(f"{SETTING}: {path}: has no receiver: begin each one with [[receiver]]")
    receivers: list[Receiver] = []
    for number, table in enumerate(tables):
        problem = None
        try:
            receiver = Receiver.model_validate(table)
            if any(receiver.name == other.name for other in receivers):
                problem = ("name", f"{receiver.name!r} is the name of another receiver")
            receivers.append(receiver)
        except ValidationError as error:
            problem = _first(error)
        if problem is not None:  # here: the context of an error that is raised above would hold the values
            key, what = problem
            raise OperatorActionRequired(f"{SETTING}: {path}:{_line(text, number, key)}: {key}: {what}")
    return tuple(receivers)


def _first(error: ValidationError) -> tuple[str, str]:
    """Return key and text of the first problem, without the value."""
    problem: Any = error.errors()[0]
    cause = problem.get("ctx", {}).get("error")
    key = cause.key if isinstance(cause, KeyedError) else str(problem["loc"][0])
    return key, problem["msg"].removeprefix("Value error, ")


def _line(text: str, number: int, key: str) -> int:
    """Return the line of a key in the table of this number, or of the table's head where the key is missing."""
    lines = text.splitlines()
    heads = [index for index, line in enumerate(lines) if _TABLE.match(line)]
    if number >= len(heads):  # receiver = [{...}], on one line
        return 1
    end = heads[number + 1] if number + 1 < len(heads) else len(lines)
    given = re.compile(rf"\s*\"?{re.escape(key)}\"?\s*[.=]|\s*\[\s*receiver\s*\.\s*{re.escape(key)}\s*\]")
    return next((index for index in range(heads[number], end) if given.match(lines[index])), heads[number]) + 1


def _text_of(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise ValueError(f"{path}: {reason}") from None
    if not text:
        raise ValueError(f"{path}: is empty")
    return text


def _url_problem(url: str, *, private: bool) -> str | None:
    """Return what is wrong with a URL, without quoting it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in {"http", "https"} or not host or not url.isascii() or not url.isprintable() or " " in url:
        return "must be https://host/path"
    if parts.username is not None or parts.password is not None:
        return "must be without user and password: use authorization_file"
    if parts.fragment:
        return "must be without a fragment"
    if parts.scheme == "http" and not private and not is_loopback(url):
        return "must be https, except on this machine, or inside this network with private = true"
    return None

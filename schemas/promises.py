"""What topics promise their subscribers, and what holds each promise. Defined in `promises.toml`."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from broker_events.schemas.schema_rules import ContractError

PromiseKind = Literal["latency", "retention", "order", "deduplication"]
KINDS: Final[tuple[PromiseKind, ...]] = get_args(PromiseKind)

_Text = Annotated[str, Field(min_length=1)]


class Promise(BaseModel):
    """A promise and at least one proof: a test (`path::name`), a metric or a Prometheus alert rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: PromiseKind
    text: _Text
    test: _Text | None = None
    metric: _Text | None = None
    rule: _Text | None = None

    @model_validator(mode="after")
    def _has_a_proof(self) -> Self:
        if not self.proofs:
            raise ValueError("a promise needs a test, a metric or a rule")
        return self

    @property
    def proofs(self) -> dict[str, str]:
        """What holds the promise, by `test`, `metric` and `rule`."""
        found = {"test": self.test, "metric": self.metric, "rule": self.rule}
        return {name: value for name, value in found.items() if value is not None}


_FILE: Final = TypeAdapter(dict[str, Promise])


def load_promises(root: Path) -> Mapping[str, Promise]:
    """Read `promises.toml` of a folder of contracts. Raises `ContractError`."""
    path = root / "promises.toml"
    try:
        return MappingProxyType(_FILE.validate_python(tomllib.loads(path.read_text(encoding="utf-8"))))
    except FileNotFoundError as error:
        raise ContractError(path, "", "is missing") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ContractError(path, ".".join(map(str, first["loc"])), first["msg"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ContractError(path, "", f"is not TOML: {error}") from error


def chosen_promises(names: object, known: Mapping[str, Promise]) -> tuple[Promise, ...]:
    """Return the promises that a topic names, one of each kind. Raises `ValueError`."""
    if not isinstance(names, list):
        raise ValueError("must be a list of names from promises.toml")  # noqa: TRY004  (pydantic reports a ValueError)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{unknown[0]} is not in promises.toml; there are {', '.join(known)}")
    promises = tuple(known[name] for name in names)
    if tuple(promise.kind for promise in promises) != KINDS:
        raise ValueError(f"must name one promise of each kind, in this order: {', '.join(KINDS)}")
    return promises

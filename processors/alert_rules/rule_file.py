"""A rule as data: the contents of `rule.toml`, and where in the file each value is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from broker_events.processors.alert_rules.expression import EvaluationError, decimal_of
from broker_events.schemas.schema_rules import ContractError

FILE: Final = "rule.toml"
EXPRESSIONS: Final = ("when", "holds", "subject", "summary")
_AT: Final = re.compile(r"\(at line (\d+), column (\d+)\)")

Threshold = int | str | tuple[str, ...] | Mapping[str, int]
"""A threshold as expressions see it; decimals as ints times 10^18."""


class RuleError(ContractError):
    """A rule violates a condition. Has file, line and column, which count from 1, and the problem."""

    def __init__(self, path: Path, line: int, column: int, problem: str) -> None:
        super().__init__(path, "", problem)
        self.args = (f"{path}:{line}:{column}: {problem}",)
        self.line, self.column = line, column


class ThresholdFile(BaseModel):
    """A threshold: its type, its value and what it means. RULE_THRESHOLDS may set another value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["decimal", "decimals", "int", "string", "strings"]
    value: str | int | list[str] | dict[str, str]
    doc: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.read(self.value)
        return self

    def read(self, value: object) -> Threshold:
        """Return a value of this type. Raises ValueError."""
        match self.type, value:
            case "decimal", str():
                return _decimal(value)
            case "decimals", dict() if all(isinstance(each, str) for each in value.values()):
                return {str(name): _decimal(each) for name, each in value.items()}
            case "int", int() if not isinstance(value, bool):
                return value
            case "string", str():
                return value
            case "strings", list() if all(isinstance(each, str) for each in value):
                return tuple(value)
        wanted = {
            "decimal": 'a decimal as text, such as "10000.50"',
            "decimals": 'a table of decimals as text, such as {USD = "10000", HKD = "78000"}',
            "int": "a whole number",
            "string": "a text",
            "strings": "a list of texts",
        }[self.type]
        raise ValueError(f"must be {wanted}, not {value!r}")


class RuleFile(BaseModel):
    """Contents of a rule.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[int, Field(ge=1)]
    description: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    severity: Literal["critical", "warning"]
    kind: Literal["occurrence", "condition"]
    on: Annotated[tuple[str, ...], Field(min_length=1)]
    when: str | None = None
    holds: str | None = None
    subject: str | None = None
    summary: Annotated[str, Field(min_length=1)]
    thresholds: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ThresholdFile] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _kind_has_its_expression(self) -> Self:
        wanted, other = ("when", "holds") if self.kind == "occurrence" else ("holds", "when")
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"kind {self.kind} needs {wanted} and has no {other}")
        if self.kind == "condition" and len(self.on) != 1:
            raise ValueError("on: a condition is about one event type, since topics have no common order")
        return self


class RuleText:
    """The text of a rule.toml; finds the line and column of a value in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise RuleError(path, 1, 1, "is missing") from None
        except (OSError, UnicodeDecodeError) as error:
            raise RuleError(path, 1, 1, f"can't be read: {error}") from None

    def parse(self) -> RuleFile:
        """Return the contents. Raises RuleError."""
        try:
            values = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            at = _AT.search(str(error))
            line, column = (int(at[1]), int(at[2])) if at else (self._text.count("\n") + 1, 1)
            raise RuleError(self.path, line, column, f"is not TOML: {_AT.sub('', str(error)).strip()}") from None
        try:
            rule = RuleFile.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            keys = tuple(map(str, first["loc"]))
            problem = first["msg"].removeprefix("Value error, ")
            raise self.error(keys, f"{'.'.join(keys)}: {problem}" if keys else problem) from None
        for name in EXPRESSIONS:
            if name in values:
                self._place(name)
        return rule

    def error(self, keys: tuple[str, ...], problem: str) -> RuleError:
        """Return the error about a key, such as ("thresholds", "amount", "value")."""
        start = 0
        for number, key in enumerate(keys):
            tables = rf"^\[{re.escape('.'.join(keys[: number + 1]))}[\].]" if number + 1 < len(keys) else r"(?!)"
            found = re.compile(rf"{tables}|^[ \t]*{re.escape(key)}\s*[=.]", re.MULTILINE).search(self._text, start)
            if found is None:
                break
            start = found.start()
        return RuleError(self.path, self._text.count("\n", 0, start) + 1, 1, problem)

    def error_in(self, name: str, line: int, column: int, problem: str) -> RuleError:
        """Return the error at a place in the expression of a key; `line` and `column` count from 1."""
        start = self._place(name)
        first = self._text.count("\n", 0, start) + 1
        before = start - (self._text.rfind("\n", 0, start) + 1) if line == 1 else 0
        return RuleError(self.path, first + line - 1, before + column, f"{name}: {problem}")

    def _place(self, name: str) -> int:
        """Return where the text of an expression begins. Raises RuleError if it is not in single quotes."""
        found = re.compile(rf"^{name}\s*=\s*('''\n?|')", re.MULTILINE).search(self._text)
        if found is None:
            raise self.error((name,), f"{name}: write expressions in single quotes: {name} = '...' or '''...'''")
        return found.end()


def _decimal(text: str) -> int:
    try:
        return decimal_of(text)
    except EvaluationError as error:
        raise ValueError(str(error)) from None


def rule_name(folder: Path) -> str:
    """Return the name of a rule in alerts: transfer-rejected -> TRANSFER_REJECTED."""
    return folder.name.replace("-", "_").upper()

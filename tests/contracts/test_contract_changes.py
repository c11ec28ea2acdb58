"""`contracts diff`: each kind of change has its level, also those that Avro compatibility cannot see."""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from broker_events.cli.contracts import command
from broker_events.schemas.contract_changes import Change, ContractText, contract_changes, read_contracts, worst

ROOT = Path(__file__).parents[2] / "schemas"
NOW = read_contracts(ROOT)


def field(contract: ContractText, name: str) -> dict[str, Any]:
    assert contract.schema is not None
    found: dict[str, Any] = next(each for each in contract.schema["fields"] if each["name"] == name)
    return found


def topic(contract: ContractText) -> dict[str, Any]:
    found: dict[str, Any] = contract.metadata["topics"][0]
    return found


NEW_FIELD = {"name": "memo", "type": ["null", "string"], "default": None, "class": "personal", "doc": "New."}
CASES: dict[str, tuple[Callable[[ContractText], object], str]] = {
    "nothing": (lambda c: c.metadata, "None"),
    "a new field": (lambda c: (c.schema or {})["fields"].insert(-1, NEW_FIELD), "visible memo"),
    "a removed field": (lambda c: (c.schema or {})["fields"].remove(field(c, "fee")), "breaking fee"),
    "a decimal that became text": (lambda c: field(c, "amount").update(type="string"), "breaking amount"),
    "another scale": (lambda c: field(c, "amount")["type"].update(scale=8), "breaking amount"),
    "another source": (lambda c: field(c, "reason").update({"from": "/payload/x"}), "breaking Transfer.reason"),
    "another meaning": (lambda c: field(c, "amount").update(doc="Without the fee."), "visible Transfer.amount"),
    "another class": (lambda c: field(c, "amount").update({"class": "personal"}), "visible Transfer.amount"),
    "another key": (lambda c: topic(c).update(key="event id"), "breaking event.transfer"),
    "compaction": (lambda c: topic(c).update(cleanup="compact"), "breaking event.transfer"),
    "a shorter retention": (lambda c: topic(c).update(retention_days=7), "breaking event.transfer"),
    "a longer retention": (lambda c: topic(c).update(retention_days=60), "visible event.transfer"),
    "no promise of order": (lambda c: topic(c)["promises"].pop("order"), "breaking event.transfer"),
    "another order": (lambda c: topic(c)["promises"].update(order="None."), "breaking event.transfer"),
    "another latency": (lambda c: topic(c)["promises"].update(latency="1 s."), "visible event.transfer"),
    "another topic": (lambda c: topic(c).update(name="event.transfers"), "breaking event.transfer"),
    "retired": (lambda c: c.metadata.update(lifecycle={"status": "retired"}), "breaking lifecycle"),
    "deprecated": (lambda c: c.metadata.update(lifecycle={"status": "deprecated"}), "visible lifecycle"),
    "another channel": (lambda c: c.metadata.update(channel="#x"), "silent channel"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), CASES.values(), ids=CASES)
def test_level_of_a_change(change: Callable[[ContractText], object], expected: str) -> None:
    new = copy.deepcopy(NOW)
    change(new["transfer"])
    changes = contract_changes(NOW, new)
    if expected == "None":
        assert changes == []
        return
    level, place = expected.split(" ")
    assert worst(changes) == level
    assert (level, "transfer", place) in {each[:3] for each in changes}
    required = {"breaking": "2.0.0", "visible": "1.1.0", "silent": "1.0.1"}[level]
    assert Change(level, "transfer", "version", f"is 1.0.0, must be at least {required}") in changes
    new["transfer"].metadata["version"] = required
    assert "version" not in {each.place for each in contract_changes(NOW, new)}


def test_contracts_that_come_and_go() -> None:
    rest = {name: text for name, text in NOW.items() if name != "credit"}
    assert contract_changes(NOW, rest) == [Change("breaking", "credit", "", "the contract is gone")]
    assert contract_changes(rest, NOW) == [Change("visible", "credit", "", "new contract")]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository whose only commit has the contracts of today."""
    shutil.copytree(ROOT, tmp_path / "schemas", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    for arguments in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)  # noqa: S607
    return tmp_path / "schemas"


def diff(root: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(command, ["diff", "--root", str(root), *arguments])
    return done.exit_code, done.output


def test_the_command_ends_with_the_worst(repository: Path) -> None:
    assert diff(repository, "HEAD") == (0, "0 changes since HEAD\n")
    path = repository / "events/transfer/contract.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("retention_days = 30", "retention_days = 31"), encoding="utf-8")
    code, output = diff(repository, "HEAD")
    assert (code, output.splitlines()[0]) == (1, "visible: transfer event.transfer: retention was 30 days, is 31 days")
    path.write_text(text.replace("retention_days = 30", "retention_days = 3"), encoding="utf-8")
    code, output = diff(repository, "HEAD", "--format", "markdown")
    assert code == 2
    assert "- `transfer` `event.transfer`: retention was 30 days, is 3 days" in output


@pytest.mark.parametrize("ref", ["no-such-ref", "--output=x"])
def test_what_is_no_ref_is_refused(repository: Path, ref: str) -> None:
    code, output = diff(repository, "--", ref) if ref.startswith("-") else diff(repository, ref)
    assert code == 2
    assert ref.lstrip("-") in output

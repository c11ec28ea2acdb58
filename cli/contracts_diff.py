"""`broker-events contracts diff`."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

if TYPE_CHECKING:
    from broker_events.schemas.contract_changes import Change, Contracts

_CODES: Final = {None: 0, "silent": 0, "visible": 1, "breaking": 2}
_MEANINGS: Final = {
    "breaking": "readers fail or read other values",
    "visible": "readers may have to act",
    "silent": "readers are not affected",
}


@click.command("diff")
@click.argument("base", metavar="GIT_REF|registry")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default="schemas",
    show_default=True,
    help="Folder of the contracts to compare.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "markdown")),
    default="text",
    show_default=True,
    help="Output format.",
)
def command(base: str, root: Path, form: Literal["text", "markdown"]) -> None:
    """Compare contracts with a git ref or a registry.

    GIT_REF is a branch, tag or commit of the repository that has --root. `registry` compares with the newest schemas
    that are registered at PIPELINE_SCHEMA_REGISTRY_URL. They have fields and classes, but no topics.

    Reports each change as breaking (readers fail or read other values), visible (readers may have to act) or silent.
    This includes what Avro compatibility cannot see: keys, order, retention, meaning and classes. Also reports a
    contract whose version is too low for its changes.

    \b
    Exit codes: 0 nothing or silent changes only, 1 visible changes, 2 breaking changes or a usage error.

    \b
    Examples:
      broker-events contracts diff main
      broker-events contracts diff v1.2.0 --format markdown
      broker-events contracts diff registry
    """
    from broker_events.schemas.contract_changes import contract_changes, read_contracts, worst

    new = read_contracts(root)
    if not new:
        raise click.UsageError(f"--root {root} contains no contracts")
    changes = _registry_changes(new) if base.lower() == "registry" else contract_changes(_at_ref(root, base), new)
    for line in _markdown(changes, base) if form == "markdown" else _text(changes, base):
        click.echo(line)
    sys.exit(_CODES[worst(changes)])


def _at_ref(root: Path, ref: str) -> Contracts:
    from broker_events.schemas.contract_changes import read_contracts

    if ref.startswith("-"):
        raise click.UsageError(f"{ref!r} is not a git ref")
    command = ["git", "-C", str(root), "archive", "--format=tar", ref, "--", "."]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise click.UsageError("git is not installed; compare with `registry` instead") from None
    if done.returncode:
        problem = done.stderr.decode(errors="replace").strip().splitlines() or ["git failed"]
        raise click.UsageError(f"{ref}: {problem[-1]}. Name a branch, tag or commit that has {root}")
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
        return read_contracts(Path(folder))


def _registry_changes(new: Contracts) -> list[Change]:
    from broker_events.runtime.schema_ids import open_registry, registry_problem
    from broker_events.runtime.settings import load_settings
    from broker_events.schemas.contract_changes import LEVELS, Change, schema_changes
    from broker_events.schemas.registry import RegistryError

    settings = load_settings()
    registry = open_registry(settings)
    changes = []
    for name, contract in new.items():
        if contract.schema is None:
            continue
        for topic in contract.metadata["topics"]:
            try:
                registered = registry.latest(f"{settings.topic(topic['name'])}-value")
            except RegistryError as error:
                raise registry_problem(error) from None
            if registered is None:
                changes.append(Change("visible", name, topic["name"], "the subject has no schema yet"))
            else:
                changes += schema_changes(name, registered, contract.schema)
    return sorted(set(changes), key=lambda change: (LEVELS.index(change.level), change[1:]))


def _text(changes: list[Change], base: str) -> Iterator[str]:
    for change in changes:
        yield f"{change.level}: {' '.join(part for part in (change.contract, change.place) if part)}: {change.text}"
    yield _count(changes, base)


def _markdown(changes: list[Change], base: str) -> Iterator[str]:
    from broker_events.schemas.contract_changes import LEVELS

    yield f"### Contracts: {_count(changes, base)}"
    for level in LEVELS:
        found = [change for change in changes if change.level == level]
        if found:
            yield f"\n**{level}** ({_MEANINGS[level]})\n"
            for change in found:
                place = f" `{change.place}`" if change.place else ""
                yield f"- `{change.contract}`{place}: {change.text}"


def _count(changes: list[Change], base: str) -> str:
    from broker_events.cli.output import plural

    return f"{len(changes)} {plural('change', len(changes))} since {base}"

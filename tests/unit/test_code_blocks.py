"""The code blocks of every page: programs that compile, data that parses, commands and options that exist."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import pytest
import yaml

from broker_events.cli.main import cli

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples/README.md")
BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
IMPORT: Final = re.compile(r"^(?:from (\S+) import|import (\S+))", re.MULTILINE)


def blocks() -> Iterator[tuple[str, str, str]]:
    for page in PAGES:
        for number, (language, code) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8"))):
            yield f"{page.relative_to(ROOT)}-{number}-{language or 'none'}", language, code


BLOCKS: Final = [*blocks()]


def check_python(code: str) -> None:
    compile(code, "a page", "exec")
    for package, module in IMPORT.findall(code):
        importlib.import_module(package or module)


def check_json(code: str) -> None:
    try:
        json.loads(code)
    except json.JSONDecodeError:
        # Several documents one after another, each over lines of its own.
        decoder, rest = json.JSONDecoder(), code.strip()
        while rest:
            _, end = decoder.raw_decode(rest)
            rest = rest[end:].strip()


def check_shell(code: str) -> None:
    done = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)  # noqa: S607
    assert done.returncode == 0, done.stderr
    for line in code.replace("\\\n", " ").splitlines():
        for command in re.findall(r"(?:^|[|&;(] ?|\w+=\S+ )\s*(?:\S*/)?broker-events +([^|&;#)>\n]*)", line):
            check_command(shlex.split(command, posix=True))


def check_command(words: list[str]) -> None:
    """Find the command that the words call and all of its options."""
    found: click.Command = cli
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        inner = found.get_command(click.Context(found), words[0])
        assert inner is not None, f"there is no command {words[0]}"
        found, words = inner, words[1:]
    known = {"--help", "-h", "--version"} | {
        one for option in found.params for one in (*option.opts, *option.secondary_opts)
    }
    for word in words:
        if re.fullmatch(r"--[a-z][a-z-]*(=.*)?", word):
            assert word.partition("=")[0] in known, f"{found.name} has no option {word}"


CHECKS: Final[dict[str, Callable[[str], object]]] = {
    "python": check_python,
    "json": check_json,
    "toml": tomllib.loads,
    "yaml": lambda code: list(yaml.safe_load_all(code)),
    "sh": check_shell,
}


@pytest.mark.parametrize(("language", "code"), [block[1:] for block in BLOCKS], ids=[block[0] for block in BLOCKS])
def test_a_block_is_what_it_says(language: str, code: str) -> None:
    if language in CHECKS:
        CHECKS[language](code)


def test_every_language_has_a_check_or_is_known_to_need_none() -> None:
    assert {language for _, language, _ in BLOCKS} <= {*CHECKS, "", "sql", "text"}


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "from broker_events.schemas import nothing_here.x"),
        ("python", "import no_such_module"),
        ("json", "{'a': 1}"),
        ("sh", "broker-events tale raw"),
        ("sh", "FOO=1 broker-events tail raw --no-such-option"),
        ("sh", "if true; then"),
        ("toml", "a = "),
    ],
)
def test_a_wrong_block_is_found(language: str, code: str) -> None:
    with pytest.raises((AssertionError, ImportError, SyntaxError, ValueError)):
        CHECKS[language](code)

"""Every page of the documentation: links, anchors, and reference pages that match the program."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
CODE = (
    "audit",
    "bench",
    "cli",
    "console",
    "devstack",
    "helm",
    "ingest",
    "native",
    "processors",
    "runtime",
    "schemas",
    "sinks",
    "tests",
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


def text(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for path, anchor in LINK.findall(text(page)):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{path}#{anchor}")
    assert broken == []


def test_every_page_named_in_code_exists() -> None:
    """Paths such as docs/how-to/runbook.md in messages, annotations and comments."""
    files = [
        path
        for folder in CODE
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".toml", ".rs", ".avsc"} and not {"target", ".venv-peers"} & {*path.parts}
    ]
    assert files
    missing = [
        f"{path.relative_to(ROOT)}: {page}"
        for path in (*files, ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "docker-compose.yml")
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text(encoding="utf-8"))
        if not (ROOT / page).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_source_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(CODE)})/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_reference_pages_match_the_program() -> None:
    generate = ROOT / "docs" / "reference" / "generate.py"
    done = subprocess.run([sys.executable, generate, "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pictures_are_drawn_from_their_source() -> None:
    draw = ROOT / "docs" / "images" / "pictures.py"
    done = subprocess.run([sys.executable, draw, "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_index_lists_every_decision() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(path.name for path in folder.glob("0*.md"))

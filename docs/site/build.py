"""Build the documentation as a site, without network: `python docs/site/build.py OUT ZENSICAL`.

Copies docs/ to a folder, makes README.md the first page, and turns links to files that are no pages into links to the
repository. Then Zensical builds OUT/VERSION, and every link of the built pages is checked. OUT/versions.json lists the
versions for the selector in the header. Exits with 1 for a broken link.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import click

from broker_events.cli.contracts_export import documents

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
REPOSITORY: Final = "https://github.com/broker-events/broker-events"
_LINK: Final = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)#\s]+)([)#])")


def stage(folder: Path) -> None:
    """Write the pages to a folder."""
    ignore = shutil.ignore_patterns("*.py", "__pycache__", "site")
    shutil.copytree(DOCS, folder, ignore=ignore)
    for page in folder.rglob("*.md"):
        source = DOCS / page.relative_to(folder)
        page.write_text(_linked(source.read_text(encoding="utf-8"), source.parent, DOCS), encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (folder / "index.md").write_text(_linked(readme, ROOT, ROOT / "docs"), encoding="utf-8")
    for name, text in documents("html", "broker").items():
        path = folder / "contracts" / "html" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _linked(text: str, base: Path, docs: Path) -> str:
    """Return a page whose links work in the site; `base`: the folder that its links start from."""

    def moved(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(base / link[2]))
        if target == ROOT / "README.md":
            return f"{link[1]}{'../' * len(base.relative_to(docs).parts)}index.md{link[3]}"
        if target.is_relative_to(docs) and target.is_file() and target.suffix != ".py":
            start = docs if base == ROOT else base
            return f"{link[1]}{Path(os.path.relpath(target, start)).as_posix()}{link[3]}"
        kind = "tree" if target.is_dir() else "blob"
        return f"{link[1]}{REPOSITORY}/{kind}/main/{target.relative_to(ROOT).as_posix()}{link[3]}"

    return _LINK.sub(moved, text)


class _Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {value for value in (found.get("id"), found.get("name")) if value}
        link = found.get("href") if tag in {"a", "link"} else found.get("src")
        if link:
            self.links.append(link)


def broken_links(site: Path) -> Iterator[str]:
    """Yield links of the built pages to files or anchors that do not exist, and to other hosts but the repository's."""
    pages = {path: _Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme in {"http", "https"} or link.startswith("//"):
                continue
            target = Path(os.path.normpath(path.parent / unquote(url.path))) if url.path else path
            target = target / "index.html" if target.is_dir() else target
            missing = url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors
            if not url.scheme and (not target.exists() or (missing and not url.fragment.startswith("__"))):
                yield f"{path.relative_to(site)}: {link}"


def build(out: Path, zensical: Path) -> int:
    """Build the site of this version into `out`. Returns the exit code."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    site = out.resolve() / version
    shutil.rmtree(site, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        stage(work / "docs")
        config = (DOCS / "site" / "zensical.toml").read_text(encoding="utf-8")
        (work / "zensical.toml").write_text(config, encoding="utf-8")
        done = subprocess.run([zensical.resolve(), "build", "--clean"], cwd=work, check=False)
        if done.returncode:
            return done.returncode
        shutil.copytree(work / "site", site)
    versions = sorted(path.name for path in out.iterdir() if (path / "index.html").exists())
    listed = [{"version": name, "title": name, "aliases": []} for name in reversed(versions)]
    (out / "versions.json").write_text(json.dumps(listed), encoding="utf-8")
    broken = sorted(broken_links(site))
    for line in broken:
        click.echo(f"broken link in {line}", err=True)
    click.echo(f"{site}: {len([*site.rglob('*.html')])} pages, {len(broken)} broken links")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]), Path(sys.argv[2])))

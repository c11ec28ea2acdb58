"""Write the contracts as documents of other standards: `python docs/contracts/export.py [--check]`.

With `--check` nothing is written: the names of stale files go to stderr, and the exit code is 1.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker_events.cli.contracts_export import Format, documents

DOCS: Final = Path(__file__).resolve().parents[1]
FOLDERS: Final[Mapping[Format, Path]] = {
    "asyncapi": DOCS / "contracts",
    "odcs": DOCS / "contracts" / "odcs",
    "json-schema": DOCS / "contracts" / "json-schema",
    "markdown": DOCS / "reference" / "topics",
}
_NOTE: Final = "<!-- Written by docs/contracts/export.py. Run `make generate` to change it. -->\n\n"


def files() -> dict[Path, str]:
    """Text of each file."""
    found = {}
    for form, folder in FOLDERS.items():
        for name, text in documents(form, "broker").items():
            found[folder / name] = _NOTE + text if form == "markdown" else text
    return found


def leftovers(wanted: Mapping[Path, str]) -> list[Path]:
    """Return the files of contracts that are gone."""
    present = [
        path
        for form, folder in FOLDERS.items()
        for path in folder.glob("*.md" if form == "markdown" else "*.odcs.yaml" if form == "odcs" else "*.json")
    ]
    return [path for path in present if path not in wanted]


def main(arguments: list[str]) -> int:
    """Write the files, or compare them where the arguments say `--check`. Returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python docs/contracts/export.py [--check]\n")
        return 2
    wanted = files()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    gone = leftovers(wanted)
    if arguments:
        if stale or gone:
            sys.stderr.write(f"stale: {', '.join(path.name for path in (*stale, *gone))}; run `make generate`\n")
        return 1 if stale or gone else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    for path in gone:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

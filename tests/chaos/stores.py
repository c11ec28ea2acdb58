"""What happens to the stores of dead workers: exchanged, put back from a copy, damaged."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random


def exchange(folders: Sequence[Path]) -> None:
    """Give each worker the folder of another one."""
    first = folders[0]
    kept = first.with_name("exchanged")
    first.rename(kept)
    for to, former in pairwise(folders):
        former.rename(to)
    kept.rename(folders[-1])


def put_back(folder: Path) -> None:
    """Replace a folder by its copy from an earlier time; make the copy where there is none."""
    copy = folder.with_name(f"{folder.name}-copy")
    if copy.exists():
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
    else:
        shutil.copytree(folder, copy)


def damage(folder: Path, random: Random) -> None:
    """Flip a bit in some files, and cut others off, as a bad disk or a power cut does."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock"):
        content = bytearray(path.read_bytes())
        harm = random.randrange(4)
        if not content or harm > 1:
            continue
        if harm:
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        path.write_bytes(content if harm else content[: random.randrange(len(content))])

"""Folders that a person names for a command to write to."""

from __future__ import annotations

from pathlib import Path

import click


def made(folder: Path) -> Path:
    """Create the folder if it isn't there. Raises click.BadParameter for --folder, with the system's reason."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"{folder}: {error.strerror}", param_hint="--folder") from None
    return folder

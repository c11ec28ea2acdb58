"""Keeps tables small: expires snapshots and removes files of no snapshot."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final, NamedTuple

import pyarrow.fs as pf
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

log = logging.getLogger(__name__)

# Expiry is a commit of its own: expire several at once.
_SLACK: Final = 10


def expire(table: Table, most: int) -> int:
    """Expire the oldest snapshots if there are more than `most`; return how many. Files stay.

    Never the head of a branch or a tag. A commit of another program in between is no failure: the next call expires.
    """
    snapshots = sorted(table.metadata.snapshots, key=lambda snapshot: snapshot.timestamp_ms)
    if len(snapshots) <= most:
        return 0
    named = {reference.snapshot_id for reference in table.metadata.refs.values()}
    old = [s.snapshot_id for s in snapshots[: len(snapshots) - most + _SLACK - 1] if s.snapshot_id not in named]
    try:
        table.maintenance.expire_snapshots().by_ids(old).commit()
    except CommitFailedException:
        return 0
    return len(old)


class Orphan(NamedTuple):
    """A file of a table's folder that no snapshot has."""

    path: str
    bytes: int


def orphans(table: Table, older_than_h: float) -> list[Orphan]:
    """Return the files in the table's folder that neither metadata nor a snapshot has, older than this (hours).

    Files of a commit that is under way are younger. They belong to no snapshot yet.
    """
    before = time.time() - older_than_h * 3600
    files, root = pf.FileSystem.from_uri(_uri(table.location()))
    listed = files.get_file_info(pf.FileSelector(root, recursive=True))
    # Read after the listing: a file of a commit in between is then known.
    table.refresh()
    known = {_plain(path) for path in _used(table)}
    return [
        Orphan(file.path, file.size)
        for file in listed
        if file.is_file and file.mtime.timestamp() < before and _plain(file.path) not in known
    ]


def remove(table: Table, found: Iterable[Orphan]) -> None:
    """Delete the files."""
    files, _ = pf.FileSystem.from_uri(_uri(table.location()))
    for orphan in found:
        files.delete_file(orphan.path)


def _used(table: Table) -> Iterator[str]:
    """Yield every file that the table's metadata names, with the metadata files themselves."""
    yield table.metadata_location
    yield from (entry.metadata_file for entry in table.metadata.metadata_log)
    yield from (statistics.statistics_path for statistics in table.metadata.statistics)
    seen: set[str] = set()
    for snapshot in table.metadata.snapshots:
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path in seen:
                continue
            seen.add(manifest.manifest_path)
            yield manifest.manifest_path
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
                yield entry.data_file.file_path


def _uri(location: str) -> str:
    return location if "://" in location else f"file://{location}"


def _plain(path: str) -> str:
    """Return a path without its scheme, as file listings give it."""
    return str(PurePosixPath(path.partition("://")[2] or path))

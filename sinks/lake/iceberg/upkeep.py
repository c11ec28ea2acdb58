"""Keeps tables small: expires snapshots, replaces small files, removes files of no snapshot."""

from __future__ import annotations

import logging
from typing import Final

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

"""What a table knows of its topic: epoch, offsets, cluster and topic id. It is part of every commit of the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

_PREFIX: Final = "broker-events."
_OFFSETS: Final = f"{_PREFIX}offsets"


class LedgerDamaged(ValueError):
    """The table's ledger can't be read, or the snapshot's copy differs from the table's."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """`offsets` is the next offset to read per partition, `starts` the first one ever, `rows` the rows so far.

    `commit_id` identifies the commit that wrote this ledger.
    """

    epoch: int
    owner: str
    cluster_id: str
    topic: str
    topic_id: str
    commit_id: str
    starts: Mapping[int, int]
    offsets: Mapping[int, int]
    rows: Mapping[int, int]

    def properties(self) -> dict[str, str]:
        """Return the ledger as table properties; a snapshot's summary holds the same."""
        return {
            f"{_PREFIX}epoch": str(self.epoch),
            f"{_PREFIX}owner": self.owner,
            f"{_PREFIX}cluster-id": self.cluster_id,
            f"{_PREFIX}topic": self.topic,
            f"{_PREFIX}topic-id": self.topic_id,
            f"{_PREFIX}commit-id": self.commit_id,
            f"{_PREFIX}starts": _text(self.starts),
            _OFFSETS: _text(self.offsets),
            f"{_PREFIX}rows": _text(self.rows),
        }

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Self | None:
        """Return the ledger in table properties or a summary, None if there is none. Raises LedgerDamaged."""
        if _OFFSETS not in properties:
            return None
        try:
            return cls(
                epoch=int(properties[f"{_PREFIX}epoch"]),
                owner=properties[f"{_PREFIX}owner"],
                cluster_id=properties[f"{_PREFIX}cluster-id"],
                topic=properties[f"{_PREFIX}topic"],
                topic_id=properties[f"{_PREFIX}topic-id"],
                commit_id=properties[f"{_PREFIX}commit-id"],
                starts=_numbers(properties[f"{_PREFIX}starts"]),
                offsets=_numbers(properties[_OFFSETS]),
                rows=_numbers(properties[f"{_PREFIX}rows"]),
            )
        except (KeyError, ValueError, AttributeError) as error:
            raise LedgerDamaged(f"the properties {_PREFIX}* can't be read ({error!r})") from None

    def follows(self, other: Ledger) -> bool:
        """Whether this worker's last commit, `other`, is still the last one of any worker."""
        return (self.epoch, self.offsets, self.topic_id) == (other.epoch, other.offsets, other.topic_id)

    def advanced(self, offsets: Mapping[int, int], rows: Mapping[int, int], commit_id: str) -> Ledger:
        """Return the ledger after a commit: the new next offsets, and the number of rows added per partition."""
        total = {p: self.rows.get(p, 0) + rows.get(p, 0) for p in {*self.rows, *rows}}
        return replace(self, offsets={**self.offsets, **offsets}, rows=total, commit_id=commit_id)


def _text(numbers: Mapping[int, int]) -> str:
    return json.dumps({str(key): numbers[key] for key in sorted(numbers)}, separators=(",", ":"))


def _numbers(text: str) -> dict[int, int]:
    return {int(key): int(value) for key, value in json.loads(text).items()}

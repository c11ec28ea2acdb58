"""The small form of `make mutants`: every changed event ends as exactly one thing, whole."""

from __future__ import annotations

from pathlib import Path

from kafka_cluster import KafkaCluster
from mutants import flood
from mutator import Mutator

EVENTS = 20_000


def test_every_mutant_is_accounted_for(cluster: KafkaCluster, tmp_path: Path) -> None:
    fates = flood(cluster, tmp_path, Mutator(seed=1).mutants(EVENTS)).fates
    assert fates.wrong == []
    assert fates.raw == fates.typed + fates.quarantined + fates.duplicates == EVENTS
    assert min(fates.typed, fates.duplicates) > 0
    assert {"not_json", "not_utf8", "wrong_type", "missing_field", "too_deep", "id_conflict"} <= fates.refused.keys()
    assert "internal_error" not in fates.refused


def test_the_same_seed_gives_the_same_mutants() -> None:
    assert [*Mutator(5).mutants(500)] == [*Mutator(5).mutants(500)] != [*Mutator(6).mutants(500)]

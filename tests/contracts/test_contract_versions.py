"""A changed contract has a new version, and the changelog says what changed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from contract_versions import changelog_line, digest, recorded, unrecorded
from released_types import FOLDER

from broker_events.schemas.catalog import Catalog, load_catalog

CATALOG = load_catalog()
CHANGELOG = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
BEFORE_VERSIONS = {*json.loads((FOLDER / "0.1.0.json").read_text(encoding="utf-8")), "raw", "ingest-cursors"}


def test_every_contract_is_recorded_in_its_version() -> None:
    assert unrecorded(CATALOG, recorded()) == {}


def test_the_changelog_has_a_line_for_every_version() -> None:
    missing = [
        changelog_line(name, version)
        for name, versions in recorded().items()
        for version in versions
        if not (name in BEFORE_VERSIONS and version == "1.0.0") and changelog_line(name, version) not in CHANGELOG
    ]
    assert missing == []


def test_a_change_without_a_version_is_found() -> None:
    contract = CATALOG.contracts["transfer"]
    schema = {**(contract.schema or {}), "doc": "Another meaning."}
    changed = dataclasses.replace(contract, schema=schema)
    catalog = Catalog({"transfer": changed}, {}, {})
    assert unrecorded(catalog, recorded()).keys() == {"transfer"}
    newer = dataclasses.replace(changed, version="1.1.0")
    assert "contract_versions.py" in unrecorded(Catalog({"transfer": newer}, {}, {}), recorded())["transfer"]
    assert digest(newer) == digest(changed) != digest(contract)

"""The digest of each version of each contract, in `contract_versions.json`.

`python tests/contracts/contract_versions.py` records new versions. It refuses a contract that changed without a new
version: raise `version` in its contract.toml, as `broker-events contracts diff` says, and add a line to CHANGELOG.md.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path

from broker_events.schemas.catalog import Catalog, Contract, load_catalog

FILE = Path(__file__).with_suffix(".json")
Versions = dict[str, dict[str, str]]


def digest(contract: Contract) -> str:
    """Digest of all that subscribers rely on; formatting does not count."""
    metadata = tomllib.loads((contract.folder / "contract.toml").read_text(encoding="utf-8"))
    del metadata["version"]
    promises = [promise.model_dump() for topic in contract.topics for promise in topic.promises]
    document = json.dumps([metadata, promises, contract.schema], sort_keys=True, default=str)
    return hashlib.sha256(document.encode()).hexdigest()[:16]


def recorded() -> Versions:
    found: Versions = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def unrecorded(catalog: Catalog, versions: Versions) -> dict[str, str]:
    """What to do, by contract, about contracts that are not recorded as they are."""
    problems = {}
    for name, contract in catalog.contracts.items():
        known = versions.get(name, {}).get(contract.version)
        if known is None:
            problems[name] = "run `python tests/contracts/contract_versions.py`"
        elif known != digest(contract):
            problems[name] = f"changed since version {contract.version}: raise version in its contract.toml"
    return problems


def changelog_line(name: str, version: str) -> str:
    return f"**Contract `{name}` {version}:**"


if __name__ == "__main__":
    catalog = load_catalog()
    versions = recorded() if FILE.exists() else {}
    if changed := {name: text for name, text in unrecorded(catalog, versions).items() if text.startswith("changed")}:
        sys.exit("\n".join(f"{name}: {text}" for name, text in changed.items()))
    for name, contract in catalog.contracts.items():
        versions.setdefault(name, {})[contract.version] = digest(contract)
    FILE.write_text(json.dumps(versions, indent=1, sort_keys=True) + "\n", encoding="utf-8")

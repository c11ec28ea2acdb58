"""The types of every field of the released contracts, one file per release in `released/`.

`python tests/contracts/released_types.py VERSION` records the contracts as they are. Do so once per release, before it
is published, and never change a file that was published.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from broker_events.schemas.catalog import Catalog, load_catalog
from broker_events.schemas.field_types import field_types

FOLDER = Path(__file__).with_name("released")


def types_by_contract(catalog: Catalog) -> dict[str, dict[str, str]]:
    return {name: field_types(one.schema) for name, one in catalog.contracts.items() if one.schema is not None}


if __name__ == "__main__":
    text = json.dumps(types_by_contract(load_catalog()), indent=1, sort_keys=True)
    (FOLDER / f"{sys.argv[1]}.json").write_text(text + "\n", encoding="utf-8")

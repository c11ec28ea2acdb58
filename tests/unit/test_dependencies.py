"""What is used of a dependency is public: its next version may rename the rest."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "broker_events"
FOLDERS = ("schemas", "native", "runtime", "ingest", "processors", "sinks", "audit", "console", "cli", "devstack")


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_private(name: str) -> bool:
    first, *rest = name.split(".")
    return first != PACKAGE and any(part.startswith("_") and not part.startswith("__") for part in rest)


def test_no_private_name_of_a_dependency_is_imported() -> None:
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found = {(path.name, name) for path in paths for name in imported(ast.parse(path.read_bytes())) if is_private(name)}
    assert len(paths) > 100
    assert found == set()
    assert is_private("confluent_kafka.schema_registry.common._httpx_compat.httpx")

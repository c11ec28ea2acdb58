"""The Grafana board: a document that Grafana's own model knows whole, and queries on metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from metric_names import exposed, missing
from prometheus_tools import promtool

ROOT = Path(__file__).parents[2]
BOARD = json.loads((ROOT / "helm" / "boards" / "broker-events.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = BOARD["panels"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel.get("targets", ())]


def lost(document: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Where `kept` lacks or differs from what `document` has; what it has beyond are defaults."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from lost(value, kept.get(name) if isinstance(kept, dict) else None, f"{path}/{name}")
    elif isinstance(document, list) and isinstance(kept, list) and len(document) == len(kept):
        for number, (value, other) in enumerate(zip(document, kept, strict=True)):
            yield from lost(value, other, f"{path}/{number}")
    elif document != kept:
        yield path


def test_grafana_knows_every_member() -> None:
    plugins.register_default_plugins()
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(BOARD)))
    assert [*lost(BOARD, kept)] == []
    assert [*lost({"panels": [{"titel": "x"}]}, {"panels": [{}]})] == ["/panels/0/titel"]


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_query_reads_what_exists(title: str, query: str) -> None:
    assert not missing(query), title


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_query_asks_for_the_releases_that_are_chosen(title: str, query: str) -> None:
    for match in re.finditer(r"\b(?:broker_events[_:]|process_|ALERTS\b)[\w:]*", query):
        selector = query[match.end() :].partition("}")[0]
        assert 'namespace=~"$namespace",job=~"$release"' in selector, title
    assert not re.search(r"\b(on|ignoring) \((?!namespace, job)", query), title


def test_what_rules_record_is_recorded() -> None:
    rules = (ROOT / "helm" / "rules" / "broker-events.yaml").read_text(encoding="utf-8")
    recorded = {*re.findall(r"record: (\S+)", rules)}
    assert {*re.findall(r"broker_events:[\w:]+", json.dumps([query for _, query in QUERIES]))} <= recorded


def test_namespace_release_and_instance_are_chosen_above() -> None:
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert [*variables] == ["datasource", "namespace", "release", "instance"]
    for name, label in {"namespace": "namespace", "release": "job", "instance": "instance"}.items():
        assert variables[name]["definition"].endswith(f", {label})")
        assert not missing(variables[name]["definition"].removeprefix("label_values(").rpartition(",")[0])
    used = {*re.findall(r"\$\{?(\w+)", json.dumps(BOARD))}
    assert used == {*variables, "__rate_interval", "__all"}


def test_links_lead_to_runbook_and_logs() -> None:
    runbook, logs = BOARD["links"]
    page = runbook["url"].partition("/blob/main/")[2]
    assert (ROOT / page).exists()
    assert "${namespace:regex}" in logs["url"]


def test_titles_are_unlike_each_other() -> None:
    titles = [panel["title"] for panel in PANELS if panel["type"] != "row"]
    assert len(titles) == len({*titles})


def test_the_queries_are_valid(tmp_path: Path) -> None:
    rules = [
        {
            "record": f"q:{number}",
            "expr": re.sub(r'"\$(\w+)"', '"prod|staging"', query).replace("$__rate_interval", "1m"),
        }
        for number, (_, query) in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}), encoding="utf-8")
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stderr


def test_no_metric_is_forgotten() -> None:
    rules = (ROOT / "helm" / "rules" / "broker-events.yaml").read_text(encoding="utf-8")
    read = {*re.findall(r"broker_events_\w+", json.dumps(BOARD) + rules)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed() if name.startswith("broker_events_")}
    assert {family for family in families if not any(name.startswith(family) for name in read)} == set()


def test_panels_have_a_place_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)

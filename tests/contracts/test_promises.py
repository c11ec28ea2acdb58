"""Every promise of a contract is held by a test, a metric or an alert rule that exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from broker_events.runtime.process.metrics import Metrics
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.promises import Promise, load_promises

ROOT = Path(__file__).parents[2]
PROMISES = load_promises(ROOT / "schemas")


def names_of_tests(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
def test_what_holds_a_promise_exists(promise: Promise) -> None:
    if promise.test is not None:
        path, _, name = promise.test.partition("::")
        assert name in names_of_tests(ROOT / path)
    if promise.metric is not None:
        families = Metrics().registry.collect()
        assert promise.metric.removesuffix("_total") in {family.name for family in families}
    if promise.rule is not None:
        rules = yaml.safe_load((ROOT / "helm/rules/broker-events.yaml").read_text(encoding="utf-8"))
        assert promise.rule in {rule.get("alert") for group in rules["groups"] for rule in group["rules"]}


def test_every_promise_is_given() -> None:
    given = [promise for _, topic in load_catalog().topics.values() for promise in topic.promises]
    assert [name for name, promise in PROMISES.items() if promise not in given] == []


def test_retention_is_promised_as_the_topics_keep_it() -> None:
    for name, (_, topic) in load_catalog().topics.items():
        retention = {
            "delete": "retention-days",
            "compact": "retention-latest",
            "compact,delete": "retention-latest-days",
        }[topic.cleanup]
        assert topic.promises[1] == PROMISES[retention], name

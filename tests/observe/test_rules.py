"""The alert rules: valid, each with a test of its own, and reading only metrics and labels that exist."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from metric_names import missing
from prometheus_tools import promtool

from broker_events.runtime.process.metrics import Metrics
from broker_events.schemas.catalog import load_catalog

OURS = "broker_events_"
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RULES = ROOT / "helm" / "rules" / "broker-events.yaml"
# As text: YAML 1.1 reads promtool's `0x20` as a number.
UNIT_TESTS: dict[Path, dict[str, Any]] = {
    path: yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506 (it makes texts alone)
    for path in sorted(HERE.glob("rules*_test.yaml"))
}
CASES: list[dict[str, Any]] = [case for content in UNIT_TESTS.values() for case in content["tests"]]
PROD = 'namespace="prod",job="events"'
STAGING = 'namespace="staging",job="events"'


# Metrics that no alert rule reads, and why none has to. One that counts or shows harm doesn't belong here.
WITHOUT_A_RULE = {
    "duplicate_keys": "the broker's own documents repeat a member; one that would change the event is quarantine",
    "received_bytes": "a volume",
    "consumed_bytes": "a volume",
    "batch_records": "a size",
    "alerts": "what it is all for; alerts go to their own consumers",
    "active_alerts": "as alerts",
    "without_account_id": "legitimate: the account may not exist yet; what is not is NoAccount",
    "connected": "the broker pings an open stream: BridgeSilent",
    "reconnects": "each resumes where the last one ended; one that does not is BridgeSilent",
    "push_to_raw_seconds": "a part of push_to_alert_seconds: AlertsLate",
    "raw_to_typed_seconds": "as push_to_raw_seconds",
    "typed_to_alert_seconds": "as push_to_raw_seconds",
    "transaction_seconds": "slow ones are lag, failed ones TransactionsFailing",
    "commit_seconds": "as transaction_seconds",
    "lag_records": "lag_seconds says what it means",
    "merged_movements": "an event that comes late with another id; what it harms is alerted_twice and id_conflicts",
    "ready": "what keeps a worker from being ready: BridgeSilent, NothingAssigned, QuarantineLimit, WorkersTooFew",
    "rebalances": "a group that does not become stable is lag, or NothingAssigned",
    "delivery_retries": "one that does not help is delivery_oldest_seconds",
    "delivery_waiting": "delivery_oldest_seconds says what it means",
    "receiver_failing": "what it does to alerts is delivery_oldest_seconds",
    "alert_to_delivery_seconds": "late ones are delivery_oldest_seconds",
    "lake_rows": "a volume",
    "lake_commit_seconds": "slow ones are lake_freshness_seconds",
    "lake_epoch": "a take-over is no harm; a worker that loses a table ends with 4",
    "console_requests": "people see what fails; the pipeline does not depend on it",
    "console_request_seconds": "as console_requests",
    "console_unread_records": "console_behind_seconds says what it means",
    "console_store_bytes": "a size; a full disk stops the console, which ConsoleBehind reports",
    "restored_records": "a volume",
    "restore_seconds": "one that lasts is lag, or NothingAssigned",
    "restore_left_offsets": "as restore_seconds",
    "store_bytes": "store_free_bytes says what it means",
    "store_written_timestamp_seconds": "an old checkpoint makes the next restart longer, and harms nothing",
    "store_reads": "a volume",
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def all_expressions() -> list[str]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def test_the_rules_are_valid() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stderr


def test_the_rules_raise_and_end_alerts_as_they_should() -> None:
    done = promtool("test", "rules", *UNIT_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


Case = tuple[list[dict[str, str]], list[dict[str, Any]]]
"""Series and checks of another release."""


def series(case: dict[str, Any], release: str) -> list[dict[str, str]]:
    """The input series of a case, of a release of this name."""
    return [each | {"series": renamed(each["series"], release)} for each in case["input_series"]]


def renamed(text: str, release: str) -> str:
    """Return series or a query of the release `prod` for another one."""
    return text.replace(PROD, release).replace('namespace="prod"', release.partition(",")[0])


def checks(case: dict[str, Any], release: str) -> Iterator[dict[str, Any]]:
    """What a case expects, asked of a release of this name alone."""
    for check in copy.deepcopy(case["promql_expr_test"]):
        assert "ALERTS{" in check["expr"]
        for sample in check["exp_samples"]:
            sample["labels"] = renamed(sample["labels"], release)
            sample["value"] = float(sample["value"])
        check["expr"] = renamed(check["expr"], release).replace("ALERTS{", f"ALERTS{{{release.partition(',')[0]},")
        yield check


def healthy(case: dict[str, Any]) -> list[dict[str, str]]:
    """Every series of the case in a release that is well: as busy as a thousand of it, and without any harm."""
    busy = {
        "routed",
        "projected",
        "consumed",
        "received",
        "push_to_alert_seconds_count",
        "push_to_alert_seconds_bucket",
    }
    found = {}
    for each in series(case, STAGING):
        name = each["series"].partition("{")[0].removeprefix(OURS).removesuffix("_total")
        steady = "1x3000" if name.startswith(("worker_info", "broker_events:expected")) else "0x3000"
        if name in busy or 'result="committed"' in each["series"]:
            steady = "0+1000000x3000"
        if not name.startswith("kube_"):
            found[each["series"]] = steady
    for role in ("bridge", "router", "projector"):
        found[f'broker_events_worker_info{{role="{role}",{STAGING},instance="s:{role}"}}'] = "1x3000"
    return [{"series": name, "values": values} for name, values in found.items()]


def run_beside(folder: Path, others: Callable[[dict[str, Any]], Case]) -> None:
    """Run every case that has series beside those of another release, with what is expected of that one."""
    files = []
    for path, content in UNIT_TESTS.items():
        tests = []
        for case in filter(lambda case: case["input_series"], content["tests"]):
            more, expected = others(case)
            tests.append(
                {"interval": case["interval"], "input_series": [*series(case, PROD), *more]}
                | {"promql_expr_test": [*checks(case, PROD), *expected]}
            )
        files.append(folder / path.name)
        beside = content | {"rule_files": [str(RULES)], "tests": tests}
        files[-1].write_text(yaml.safe_dump(beside, width=10_000), encoding="utf-8")
    done = promtool("test", "rules", *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_release_that_is_well_hides_no_alert_of_another(tmp_path: Path) -> None:
    run_beside(tmp_path, lambda case: (healthy(case), []))


def test_two_releases_have_their_alerts_each(tmp_path: Path) -> None:
    run_beside(tmp_path, lambda case: (series(case, STAGING), [*checks(case, STAGING)]))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_is_complete(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert {"summary", "description", "runbook_url"} <= rule["annotations"].keys()
    assert rule["annotations"]["summary"].startswith("{{ $labels.namespace }}/{{ $labels.job }}: ")
    tested = [
        bool(check["exp_samples"])
        for case in CASES
        for check in case["promql_expr_test"]
        if f'"{rule["alert"]}"' in check["expr"]
    ]
    assert {True, False} <= {*tested}, "needs a case that raises it, and one that does not"


@pytest.mark.parametrize("expression", all_expressions())
def test_a_rule_reads_what_exists(expression: str) -> None:
    assert not missing(expression)


@pytest.mark.parametrize("expression", all_expressions())
def test_a_rule_keeps_the_release(expression: str) -> None:
    """Every aggregation and every match between series names both labels, so no release answers for another."""
    for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        assert labels.startswith(("namespace, job", "namespace, cronjob")) or labels == "", labels
    for aggregation in re.findall(r"\b(?:sum|min|max|count|group|avg)\b(?!_)(.{0,4})", expression):
        assert aggregation.startswith(" by "), expression


def test_the_account_types_are_those_of_the_catalog() -> None:
    [pages] = [rule for rule in rules() if rule["alert"] == "BrokerEventsQuarantinedAccount"]
    pattern = re.search(r'biz_type=~"([^"]+)"', pages["expr"])
    assert pattern
    events = load_catalog().events
    assert {name for name in events if re.fullmatch(pattern[1], name)} == {
        name for name, contract in events.items() if contract.event_type == "ACCOUNT"
    }


def test_every_metric_has_a_rule_or_a_reason_to_have_none() -> None:
    metrics = {
        family.name.removeprefix("broker_events_") for family in Metrics().registry.collect() if OURS in family.name
    }
    read = " ".join(all_expressions())
    suffix = "(_total|_bucket|_sum|_count|_info)?"
    without = {name for name in metrics if not re.search(rf"\b{OURS}{name}{suffix}\b", read)}
    assert without == WITHOUT_A_RULE.keys()

"""After a run through bridge, router and projector: every counter against an oracle, the board's queries, logs, traces.

The oracle is in the traffic itself: each event is written down with what it is to be counted as.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from bridge_process import BridgeProcess
from kafka_cluster import KafkaCluster
from monitoring import Monitoring
from pipeline_processes import Pipeline, Worker, credit, envelope, eventually, headers_of
from prometheus_client.parser import text_string_to_metric_families
from push_server import PushServer

from broker_events.ingest.sources.event_push_pb2 import SubscribeResponse
from broker_events.processors.rules import PROJECTIONS
from broker_events.runtime.process.metrics import Metrics
from broker_events.schemas.catalog import load_catalog

ROOT = Path(__file__).parents[2]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Counts = Counter[str]
# Counted by how the run went, not by what was pushed; each is looked at below.
OF_THE_RUN = {"transactions", "rebalances", "restored_records"}


def series(name: str, **labels: object) -> str:
    inside = ",".join(f"{label}={value}" for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}"


def one(value: bytes, event_type: str, biz_type: str, *counted: str) -> tuple[bytes, str, Counts]:
    """Return an event, the event type that it is pushed as, and what it is counted as from push to router."""
    common = [series("received", event_type=event_type, biz_type=biz_type), *counted]
    sizes = {series("received_bytes"): len(value), series("consumed_bytes", topic="raw"): len(value)}
    return value, event_type, Counter(common) + Counter({series("consumed", topic="raw"): 1} | sizes)


def typed(value: bytes, *counted: str) -> tuple[bytes, str, Counts]:
    """Return an event that reaches its typed topic and, where its type has one, the state."""
    event = json.loads(value)
    biz_type = event["payload"]["biz_type"]
    topic = TOPICS[biz_type]
    projected = (series("projected", biz_type=biz_type), series("consumed", topic=topic))
    reached = (series("routed", biz_type=biz_type), *(projected if biz_type in PROJECTIONS else ()))
    return one(value, event["event_type"], biz_type, *reached, *counted)


def refused(value: bytes, biz_type: str, reason: str) -> tuple[bytes, str, Counts]:
    return one(value, "FUNDING", biz_type, series("quarantined", stage="router", reason=reason, biz_type=biz_type))


def restrictions(event_id: str, account: str, codes: list[str], at: str, trace: str = "") -> bytes:
    payload = {"account_id": account, "account_type": "CASH", "restrictions": codes, "biz_type": "ACCOUNT_UPDATE"}
    event = json.loads(envelope(event_id, "ACCOUNT", payload | {"update_time": at}, at))
    return json.dumps(event | ({"traceparent": trace} if trace else {})).encode()


def transfer(event_id: str, status: str, at: str) -> bytes:
    event = json.loads(sample("transfer", "documented-returned"))
    event |= {"id": event_id, "timestamp": at, "payload": event["payload"] | {"status": status}}
    return json.dumps(event).encode()


def sample(contract: str, name: str) -> bytes:
    return (CATALOG.contracts[contract].folder / "samples" / "accept" / f"{name}.json").read_bytes()


CATALOG = load_catalog()
TOPICS = {biz_type: contract.topics[0].name for biz_type, contract in CATALOG.events.items()}
HK, US = "HK_STOCK_LIQUIDATE_ONLY", "US_STOCK_LIQUIDATE_ONLY"
FIRING = series("alerts", rule="LIQUIDATE_ONLY", status="FIRING")
RESOLVED = series("alerts", rule="LIQUIDATE_ONLY", status="RESOLVED")
RETURNED = series("alerts", rule="TRANSFER_RETURNED", status="FIRING")
AGAIN = credit("again")
TRAFFIC = [
    *(typed(credit(f"plain-{number}", f"ACC-{number % 7}")) for number in range(40)),
    *(
        typed(sample(contract.name, name))
        for contract in CATALOG.events.values()
        # Not ACCOUNT_UNRESTRICTED: its sample is of the same instant as its opposite's, and topics have no order.
        if contract.biz_type not in {"ACCOUNT_UPDATE", "ACCOUNT_UNRESTRICTED", "TRANSFER", "CREDIT"}
        for name in sorted(p.stem for p in contract.folder.glob("samples/accept/documented-*[a-z].json"))[:1]
    ),
    typed(AGAIN),
    *(one(AGAIN, "FUNDING", "CREDIT", series("duplicates", biz_type="CREDIT")) for _ in range(3)),
    refused(credit("again", amount="2"), "CREDIT", "id_conflict"),
    refused(credit("bad", amount="1,000"), "CREDIT", "bad_amount"),
    refused(credit("new", biz_type="NO_SUCH_TYPE"), "other", "unknown_biz_type"),
    refused(b"{no", "other", "not_json"),
    typed(credit("hidden").replace(b'"amount"', b'"note":"9","note":"8","amount"'), series("duplicate_keys")),
    typed(credit("unknown", status="ON_THE_MOON"), series("unknown_values", biz_type="CREDIT")),
    typed(credit("legal", client_request_id="R", status="REJECTED")),
    typed(credit("illegal", client_request_id="R"), series("illegal_transitions", biz_type="CREDIT")),
    typed(restrictions("r1", "A", [HK, US], "2026-01-31T09:30:00Z", TRACE), FIRING, FIRING),
    typed(restrictions("r0", "A", [], "2026-01-31T09:29:59Z"), series("stale", biz_type="ACCOUNT_UPDATE")),
    typed(restrictions("r2", "A", [US], "2026-01-31T09:31:00Z"), RESOLVED),
    typed(restrictions("r3", "B", [US], "2026-01-31T09:31:00Z"), FIRING),
    typed(transfer("t1", "COMPLETED", "2026-01-31T09:30:00Z")),
    typed(transfer("t2", "RETURNED", "2026-02-01T09:30:00Z"), RETURNED),
]
ORACLE: Counts = sum((counts for _, _, counts in TRAFFIC), Counter())
ALERTS = ORACLE[FIRING] + ORACLE[RESOLVED] + ORACLE[RETURNED]


class Run:
    """The pipeline with all of the traffic behind it, still running."""

    def __init__(self, pipeline: Pipeline, bridge: BridgeProcess, router: Worker, projector: Worker) -> None:
        self.pipeline = pipeline
        self.bridge = bridge
        self.router = router
        self.projector = projector

    def expositions(self) -> list[str]:
        return [self.bridge.get("/metrics"), self.router.get("/metrics")[1], self.projector.get("/metrics")[1]]

    def values(self, kind: str) -> Counts:
        """Every series of this kind of metric that isn't 0, topics without the prefix."""
        found: Counts = Counter()
        for text in self.expositions():
            for family in text_string_to_metric_families(text):
                for one in family.samples if family.type == kind and family.name.startswith("broker_events_") else ():
                    if one.value and not one.name.endswith(("_created", "_bucket", "_sum")):
                        labels = {k: v.removeprefix(self.pipeline.settings.topic("")) for k, v in one.labels.items()}
                        name = one.name.removeprefix("broker_events_").removesuffix("_total")
                        found[series(name, **labels)] += int(one.value)
        return found


@pytest.fixture(scope="module")
def run(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("counters")
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", folder).made()
    pushed = [
        SubscribeResponse(
            type=SubscribeResponse.Event,
            id=f"push-{number}",
            eventType=event_type,
            position=f"p{number}",
            timestamp="2026-01-31T09:30:00Z",
            payload=value.decode(),
        )
        for number, (value, event_type, _) in enumerate(TRAFFIC)
    ]
    with (
        PushServer(pushed) as server,
        pipeline.worker("router", log_level="DEBUG", log_format="json") as router,
        pipeline.worker("projector", log_level="DEBUG", log_format="json") as projector,
        BridgeProcess(pipeline.settings, folder, port=server.port, log_level="DEBUG", log_format="json") as bridge,
    ):
        run = Run(pipeline, bridge, router.wait_ready(), projector.wait_ready())
        projected = sum(count for name, count in ORACLE.items() if name.startswith("projected"))
        eventually(
            lambda: sum(n for name, n in run.values("counter").items() if name.startswith("projected")) == projected,
            lambda: f"{projected} events projected, got {run.values('counter')}",
        )
        yield run


def test_every_counter_is_what_the_oracle_says(run: Run) -> None:
    expected = ORACLE.copy()
    for topic in (TOPICS[biz_type] for biz_type in PROJECTIONS):
        size = sum(len(record.value() or b"") for record in run.pipeline.read(topic))
        if size:
            expected[series("consumed_bytes", topic=topic)] = size
    counted = Counter(
        {name: n for name, n in run.values("counter").items() if name.partition("{")[0] not in OF_THE_RUN}
    )
    assert counted == expected


def test_each_time_is_observed_as_often_as_it_passed(run: Run) -> None:
    observed = run.values("histogram")
    counters = run.values("counter")
    assert observed[series("push_to_raw_seconds_count")] == len(TRAFFIC)
    assert observed[series("push_to_alert_seconds_count")] == ALERTS
    assert observed[series("typed_to_alert_seconds_count")] == ALERTS
    committed = counters[series("transactions", result="committed")]
    assert observed[series("transaction_seconds_count")] == observed[series("commit_seconds_count")] == committed
    assert counters[series("rebalances", kind="assigned")] == 2, "one of the router, one of the projector"


def test_the_conditions_that_hold_are_counted(run: Run) -> None:
    gauges = run.values("gauge")
    holding = [record for record in last_of_each_key(run, "alerts.active") if record is not None]
    assert gauges[series("active_alerts", rule="LIQUIDATE_ONLY")] == len(holding) == 2
    assert gauges[series("connected")] == 1
    assert gauges[series("assigned_partitions")] == 2 + 2 * len(PROJECTIONS)


def last_of_each_key(run: Run, topic: str) -> list[bytes | None]:
    return [*{record.key(): record.value() for record in run.pipeline.read(topic)}.values()]


def test_one_debug_line_a_transaction_and_none_an_event(run: Run) -> None:
    logs = run.bridge.output, run.router.log, run.projector.log
    entries = [json.loads(line) for log in logs for line in log.splitlines()]
    commits = [
        entry
        for entry in entries
        if entry["logger"] == "broker_events.runtime.kafka.transaction" and entry["level"] == "DEBUG"
    ]
    assert len(commits) == run.values("counter")[series("transactions", result="committed")]
    assert all(entry["transactional_id"] and entry["records"] >= 0 for entry in commits)
    for value, _, _ in TRAFFIC:
        assert not any(value.decode() in log for log in logs)


@pytest.mark.parametrize("topic", ["raw", "event.account-update", "alerts", "alerts.active"])
def test_trace_context_is_carried_along(run: Run, topic: str) -> None:
    traced = [record for record in run.pipeline.read(topic) if headers_of(record).get("traceparent")]
    assert [headers_of(record)["traceparent"] for record in traced] == [TRACE] * (2 if "alerts" in topic else 1)
    assert all(record.key() == traced[0].key() or topic == "alerts.active" for record in traced)


def metrics_of(*roles: str) -> re.Pattern[str]:
    """Match a query of a metric that only workers of these roles serve."""
    served = Metrics()._of_role
    names = {family.name for role in roles for collector in served[role] for family in collector.collect()}
    return re.compile(rf"\b({'|'.join(sorted(names))})(_total|_bucket|_count|_sum)?\b")


def test_the_boards_queries_find_something(run: Run, tmp_path: Path) -> None:
    of_others = metrics_of("deliver", "lake", "console")  # which do not run here
    board = json.loads((ROOT / "helm" / "boards" / "broker-events.json").read_text(encoding="utf-8"))
    everywhere = re.compile(r"\$(namespace|release|instance)")
    queries = [everywhere.sub(".*", target["expr"]) for panel in board["panels"] for target in panel.get("targets", ())]
    targets = {
        "bridge": f"127.0.0.1:{run.bridge.port}",
        "router": f"127.0.0.1:{run.router.port}",
        "projector": f"127.0.0.1:{run.projector.port}",
    }
    with Monitoring(tmp_path, targets) as monitoring:
        eventually(lambda: len(monitoring.query("count_over_time(up[1m]) > 3")) == 3, lambda: "some scrapes")
        empty = [
            query
            for query in queries
            if not monitoring.query(query.replace("$__rate_interval", "5s"))
            and not query.endswith(("> 0", "> 0)"))
            and not re.match(r"ALERTS|.*broker_events:", query)
            and not of_others.search(query)
        ]
    assert empty == []

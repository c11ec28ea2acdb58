"""Runs a rule on its samples: events as pushed, in order, with the alerts that they must raise.

A sample is `samples/<case>.json` beside rule.toml: `{"events": [...], "alerts": [...]}`. An alert has `event`, the
number of its event from 1, and the members of the alert to compare, such as status, subject and summary.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from broker_events.processors.alert_rules.judge import apply_rules
from broker_events.processors.alert_rules.rule import DataRule
from broker_events.processors.alert_rules.rule_file import FILE, RuleError
from broker_events.processors.rules import INDEX_KEYS, PROJECTIONS, RecordOrigin
from broker_events.runtime.events.account_key import account_key as account_key_of
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.runtime.state.partition_state import PartitionState
from broker_events.schemas.catalog import Catalog, Contract
from broker_events.schemas.codec import Codec
from broker_events.schemas.invalid_event import InvalidEvent
from broker_events.schemas.storage_types import Alert

FOLDER: Final = "samples"
_SCHEMA_ID: Final = 1
_SIZE_LIMIT: Final = 1 << 25
_MAX_SKEW_US: Final = 60_000_000


class SampleResult(NamedTuple):
    """A sample and what is wrong with it; "" if nothing is."""

    path: Path
    events: int
    alerts: int
    problem: str


class Bench:
    """Types pushed events and folds them with one rule, in memory."""

    def __init__(self, catalog: Catalog, rule: DataRule) -> None:
        self._catalog, self._rule = catalog, rule
        self._tables = {
            name: PartitionState[Any](Codec(catalog.topics[name][0], _SCHEMA_ID), INDEX_KEYS.get(name))
            for name in ("state.accounts", "state.movements")
        }
        self._offsets: dict[str, int] = {}

    def push(self, event: Mapping[str, Any]) -> list[Alert]:
        """Return the rule's alerts on a pushed event. Raises InvalidEvent or EvaluationError."""
        value = json.dumps(event).encode()
        biz_type = str(event["payload"]["biz_type"]) if "payload" in event else ""
        contract = self._catalog.events.get(biz_type)
        if contract is None:
            raise ValueError(f"no event type {biz_type}")
        return self.typed(typed_event(contract, value), account_key_of(event["payload"]) or "")

    def typed(self, event: Any, account_key: str) -> list[Alert]:  # noqa: ANN401 (any event)
        """Return the rule's alerts on a typed event, received when it was created. Raises EvaluationError."""
        biz_type = event["biz_type"]
        topic = self._catalog.events[biz_type].topics[0].name
        offset = self._offsets.get(topic, 0)
        self._offsets[topic] = offset + 1
        source = RecordOrigin(topic, 0, offset, event["event_time"] // 1000 * 1000, _MAX_SKEW_US)
        projection = PROJECTIONS[biz_type]
        states = self._tables[projection.topic]
        key, state, outcome, link = projection.apply(states, event, account_key, source)
        if biz_type in self._rule.by_type:
            outcome = apply_rules((self._rule,), outcome, event, account_key, source)
        changed = [(key, outcome.state)] if outcome.state is not state else []
        for changed_key, record in [*changed, *(link.others if link else ())]:
            states.put(changed_key, record, [], growth=_SIZE_LIMIT, limit=_SIZE_LIMIT)
        if link is not None:
            states.lead(link.index_keys, key)
        return [alert for alert in outcome.alerts if alert["rule"] == self._rule.rule.name]


def typed_event(contract: Contract, value: bytes) -> Any:  # noqa: ANN401 (an event in storage form)
    """Return the typed event of a pushed one. Raises InvalidEvent."""
    return Codec[Any](contract, _SCHEMA_ID).decode(Transcoder(contract, _SCHEMA_ID).encode(value))


def run_samples(catalog: Catalog, rule: DataRule) -> Iterator[SampleResult]:
    """Yield the result of each sample, by name. Raises RuleError if there is none, or none that fires."""
    paths = sorted((rule.folder / FOLDER).glob("*.json"))
    if not paths:
        raise RuleError(rule.folder / FILE, 1, 1, f"has no sample: add {FOLDER}/<case>.json")
    fired = 0
    for path in paths:
        result = _run(catalog, rule, path)
        fired += result.alerts
        yield result
    if not fired:
        raise RuleError(rule.folder / FILE, 1, 1, "no sample expects an alert: add one that does")


def _run(catalog: Catalog, rule: DataRule, path: Path) -> SampleResult:
    try:
        sample = json.loads(path.read_text(encoding="utf-8"))
        events, wanted = sample["events"], sample["alerts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return SampleResult(path, 0, 0, f'must be {{"events": [...], "alerts": [...]}}: {error!r}')
    bench, raised = Bench(catalog, rule), list[dict[str, Any]]()
    for number, event in enumerate(events, 1):
        try:
            alerts = bench.push(event)
        except (InvalidEvent, ValueError, KeyError, TypeError) as error:
            return SampleResult(path, len(events), len(wanted), f"event {number}: {error}")
        raised += [{"event": number, **alert} for alert in alerts]
    return SampleResult(path, len(events), len(wanted), _difference(wanted, raised))


def _difference(wanted: Sequence[Mapping[str, Any]], raised: Sequence[Mapping[str, Any]]) -> str:
    for number, (want, got) in enumerate(zip(wanted, raised, strict=False), 1):
        for name, value in want.items():
            if got.get(name) != value:
                return f"alert {number}: {name} is {got.get(name)!r}, expected {value!r}"
        if missing := {"event", "status", "subject", "summary"} - want.keys():
            return f"alert {number}: {', '.join(sorted(missing))} missing in the sample"
    if len(wanted) != len(raised):
        return f"{len(raised)} alerts raised, expected {len(wanted)}"
    return ""

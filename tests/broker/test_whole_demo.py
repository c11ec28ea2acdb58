"""A whole demo from outside: it balances, it listens on this machine alone, and its logs tell nothing about anybody."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer
from demo_process import PARTS, Started, descendants, gone, part, started
from pipeline_processes import eventually
from sockets import LOOPBACK, listening_addresses

from broker_events.runtime.consume.record import KafkaRecord
from broker_events.runtime.kafka.clients import producer_config
from broker_events.runtime.kafka.topic_reader import read_to_end, topic_partitions
from broker_events.runtime.settings import Settings, load_settings
from broker_events.schemas.catalog import load_catalog

# Only a run with a Kafka of its own has a receiver to deliver alerts to.
ON_A_CLUSTER = [name for name in PARTS if name != "deliver"]
RUNS = 2
# The app secret is made up by each run; these are in everybody's settings and do nothing here.
SECRETS = {
    "PIPELINE_KAFKA_SASL_PASSWORD": "the-sasl-password-of-the-test",
    "PIPELINE_KAFKA_SSL_KEY_PASSWORD": "the-key-password-of-the-test",
    "PIPELINE_SCHEMA_REGISTRY_BASIC_AUTH": "the-user-of-the-test:the-registry-password-of-the-test",
}
FAULTS = ("malformed=0.02", "duplicate=0.01", "disconnect=@200")
CONSENT = ("--cluster", "--yes-write-simulated-events-to", "broker")
WITHOUT_A_RIGHT = (
    ("run", "--cluster"),
    ("run", "--cluster", "--yes-write-simulated-events-to", "brokers"),
    ("ingest", "--yes-write-simulated-events-to", "brokers"),
)
# Members of events that name somebody, or what somebody has done, or say why.
PERSONAL = re.compile(
    rb'"(?:(?:contra_)?account(?:_id|_number)?|[a-z_]*(?:request|relationship|transfer|funding)_id|reason|[a-z_]*information)"'
    rb': ?"([^"]{5,})"'
)


@dataclass
class Seen:
    """What could be seen of a stack and the runs on it."""

    outputs: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    survivors: dict[int, list[str]] = field(default_factory=dict)
    command_lines: list[list[str]] = field(default_factory=list)
    listening: list[set[str]] = field(default_factory=list)  # addresses, by process that listens at all
    secrets: set[str] = field(default_factory=set)
    events: list[bytes] = field(default_factory=list)
    records: list[KafkaRecord] = field(default_factory=list)
    refusals: list[tuple[int, str]] = field(default_factory=list)
    ignored: tuple[int, str] = (-1, "")
    added: Counter[str] = field(default_factory=Counter)  # records after those of the runs, by topic
    logs: dict[str, str] = field(default_factory=dict)  # content by file name

    def look(self, running: Started) -> None:
        for pid, line in descendants(running.process.pid).items():
            self.command_lines.append(line)
            addresses = listening_addresses(pid)
            if addresses:
                self.listening.append(addresses)

    def finish(self, running: Started) -> None:
        self.exit_codes.append(running.wait())
        self.outputs.append(running.output)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Run two demos, one after the other, on a stack of their own; what `stack` prints they take as it is."""
    seen, folder = Seen(), tmp_path_factory.mktemp("demo")
    faults = [word for fault in FAULTS for word in ("--fault", fault)]
    with started(folder, "stack", "--folder", str(folder / "data"), **SECRETS) as stack:
        stack.wait_for("ready; Ctrl-C ends it")
        cluster = dict(re.findall(r"^export (PIPELINE_\w+)=(\S+)$", stack.output, re.MULTILINE))
        for number in range(RUNS):
            of_run = folder / str(number)
            of_run.mkdir()
            arguments = ("run", "--seconds", "3", "--folder", str(of_run), *CONSENT, *faults)
            with started(of_run, *arguments, **cluster, **SECRETS) as run:
                run.wait_for("running: raw [1-9]")
                pids = [part(run, name) for name in ON_A_CLUSTER]
                eventually(partial(all_listen, pids))
                seen.look(run)
                seen.secrets.add(variable(part(run, "ingest"), "PIPELINE_APP_SECRET"))
                seen.finish(run)
            time.sleep(1)  # the next seed
        seen.records = all_records(cluster)
        seen.events = [record.value() or b"" for record in seen.records if record.topic() == "broker.raw"]
        for number, arguments in enumerate(WITHOUT_A_RIGHT):
            seen.refusals.append(refusal(folder / f"refused-{number}", arguments, cluster))
        seen.ignored = refusal(folder / "embedded", ("run", "--seconds", "1"), cluster)
        produce_real_event(cluster)
        seen.refusals.append(refusal(folder / "real", ("run", *CONSENT), cluster))
        seen.added = of_topics(all_records(cluster)) - of_topics(seen.records)
        seen.look(stack)
        processes = descendants(stack.process.pid)
        stack.process.send_signal(signal.SIGINT)
        seen.finish(stack)
    seen.survivors = gone(processes, 1.0)
    for file in (*folder.rglob("*.log"), *folder.rglob("output")):
        if not file.stem.isdecimal():  # a topic's segment
            seen.logs[str(file.relative_to(folder))] = file.read_text(encoding="utf-8", errors="replace")
    return seen


def variable(pid: int, name: str) -> str:
    """Value of a process's environment variable."""
    content = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8")
    return dict(each.split("=", 1) for each in content.split("\0") if each)[name]


def settings_of(cluster: dict[str, str]) -> Settings:
    return load_settings(**{name.removeprefix("PIPELINE_").lower(): value for name, value in cluster.items()})


def all_records(cluster: dict[str, str]) -> list[KafkaRecord]:
    settings = settings_of(cluster)
    names = [name for name in load_catalog().topics if name not in {"ingest.cursors", "quarantine.recoveries"}]
    starts = {tp: 0 for name in names for tp in topic_partitions(settings, settings.topic(name))}
    return [record for batch in read_to_end(settings, starts) for record in batch]


def of_topics(records: list[KafkaRecord]) -> Counter[str]:
    return Counter(record.topic() for record in records)


def produce_real_event(cluster: dict[str, str]) -> None:
    producer = Producer(producer_config(settings_of(cluster)))
    producer.produce("broker.raw", b"{}", b"ACC-1", headers=[("source", b"grpc")])
    assert producer.flush(30) == 0


def refusal(folder: Path, arguments: tuple[str, ...], cluster: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of a run."""
    folder.mkdir()
    with started(folder, *arguments, **cluster) as run:
        return run.wait(), run.output


def all_listen(pids: list[int]) -> bool:
    return all(map(listening_addresses, pids))


def in_logs(seen: Seen, words: set[str]) -> set[tuple[str, str]]:
    """Which of these words are in which log."""
    return {(name, word) for name, content in seen.logs.items() for word in words if word in content}


def test_two_runs_on_one_stack_balance_and_leave_nothing(seen: Seen) -> None:
    assert seen.exit_codes == [0] * (RUNS + 1), seen.outputs
    assert seen.survivors == {}
    assert not any("Traceback" in content for content in seen.logs.values())


def test_every_record_says_that_it_is_simulated(seen: Seen) -> None:
    topics = of_topics([record for record in seen.records if ("simulated", b"true") in (record.headers() or ())])
    assert topics == of_topics(seen.records)
    assert topics.keys() > {"broker.raw", "broker.quarantine", "broker.alerts", "broker.alerts.active"}
    assert topics.keys() > {"broker.state.accounts", "broker.state.movements", "broker.event.transfer"}


def test_no_simulated_event_goes_to_a_named_cluster_without_consent_or_among_real_ones(seen: Seen) -> None:
    no_terminal, other_prefix, other_prefix_of_bridge, real = seen.refusals
    assert [code for code, _ in seen.refusals] == [2] * 4
    assert "there is no terminal to ask on; add --yes-write-simulated-events-to broker" in no_terminal[1]
    assert re.search(r"writes simulated events to Kafka at 127\.0\.0\.1:\d+, topics broker\.\*", no_terminal[1])
    for _, output in (other_prefix, other_prefix_of_bridge):
        assert "--yes-write-simulated-events-to brokers: PIPELINE_TOPIC_PREFIX is broker" in output
    assert re.search(r"holds records that no simulator wrote, such as broker\.raw\[\d\]@\d+: ", real[1])
    assert seen.added == {"broker.raw": 1}


def test_a_run_leaves_the_cluster_of_the_environment_alone(seen: Seen) -> None:
    code, output = seen.ignored
    assert code == 0, output
    assert "PIPELINE_KAFKA_BOOTSTRAP_SERVERS and PIPELINE_SCHEMA_REGISTRY_URL: ignored" in output
    assert "Apache Kafka" in output


def test_nothing_listens_but_on_this_machine(seen: Seen) -> None:
    assert seen.listening == [{LOOPBACK}] * (RUNS * len(ON_A_CLUSTER) + len(["Kafka", "registry"]))


def test_no_secret_is_on_a_command_line_or_in_a_log(seen: Seen) -> None:
    words = seen.secrets | {part for secret in SECRETS.values() for part in secret.split(":")}
    assert len(words) == RUNS + 4
    assert in_logs(seen, words) == set()
    assert not any(word in argument for line in seen.command_lines for argument in line for word in words)


def test_no_account_and_no_reason_is_in_a_log(seen: Seen) -> None:
    words = {word.decode("latin-1") for event in seen.events for word in PERSONAL.findall(event)}
    assert len(words) > 1000
    assert {"Unusual trading activity detected.", "R01 Insufficient funds."} & words
    logs = {f"{number}/{name}.log" for number in range(RUNS) for name in ("bridge", "router", "projector", "run")}
    assert logs | {"data/kafka-1/kafka-1.log", "data/registry/registry.log", "output"} < seen.logs.keys()
    assert in_logs(seen, words) == set()

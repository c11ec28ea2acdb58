"""The commands as a person meets them: help, exit codes, tail and quarantine on real topics."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import click
import pytest
from confluent_kafka import Producer
from kafka_cluster import KafkaCluster
from pipeline_processes import COMMAND, PATIENCE_S, Pipeline, credit, environment

from broker_events.cli.main import COMMANDS, cli
from broker_events.ingest.cursors import Cursor
from broker_events.runtime.kafka.clients import producer_config
from broker_events.schemas.catalog import load_catalog

GOOD = credit("good", "ACC-123456", amount="0.00")
BAD = credit("bad", "ACC-123456", amount="1e20").replace(b'"USD"', b'"USD", "rate": 8.010000000000000001')
BROKEN = b"\x00\xff\xfe broken"


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that there is, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        try:
            found = group.get_command(context, name)
        except ModuleNotFoundError:
            continue
        assert found is not None
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from all_commands(found, (*path, name))


@pytest.mark.parametrize(
    ("path", "found"), list(all_commands(cli)), ids=lambda x: " ".join(x) if type(x) is tuple else ""
)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], found: click.Command) -> None:
    help_text = found.get_help(click.Context(found, info_name=f"broker-events {' '.join(path)}"))
    assert re.search("Example", help_text)
    assert f"broker-events {' '.join(path)}" in help_text.split("Example")[1]
    for parameter in found.params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            assert parameter.help, parameter.name


def test_every_command_is_listed(pipeline: Pipeline) -> None:
    done = pipeline.command("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE), name


def test_version(pipeline: Pipeline) -> None:
    done = pipeline.command("--version")
    assert (done.returncode, done.stdout) == (0, "broker-events, version 0.1.0\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("router", "--nothing"),
        ("topics", "nothing"),
        ("tail",),
        ("tail", "nothing"),
        ("quarantine", "show", "x"),
        ("quarantine", "show"),
        ("quarantine", "list", "--offsets", "3"),
        ("quarantine", "list", "--reason", "nonsense"),
        ("quarantine", "replay", "--reason", "nonsense"),
        ("quarantine", "replay", "--yes"),
        ("quarantine", "list", "--partition", "7"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(pipeline: Pipeline, arguments: tuple[str, ...]) -> None:
    done = pipeline.command(*arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("tail", "raw", "--from"), ("ledger", "--from"), ("ledger", "--to"), ("quarantine", "list", "--since")],
    ids=" ".join,
)
def test_a_refused_time_is_told_what_is_taken(pipeline: Pipeline, arguments: tuple[str, ...]) -> None:
    done = pipeline.command(*arguments, "yesterday")
    assert done.returncode == 2
    assert "'yesterday' is no" in done.stderr
    assert "a time (2026-01-31T09:30:00Z) or how long ago (10m, 1h ago, 2d)" in done.stderr


@pytest.fixture(scope="module")
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Return a pipeline that has processed a good, a bad and a broken event, and holds some foreign values."""
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", tmp_path_factory.mktemp("cli"), partitions=1).made()
    pipeline.produce("raw", GOOD, "ACC-123456", headers=[("source", b"test"), ("bytes", b"\xff")])
    pipeline.produce("raw", BAD, "ACC-123456", headers=[("source", b"test")])
    pipeline.produce("raw", BROKEN, None)
    with pipeline.worker("router") as router:
        pipeline.wait_for("event.credit", 1)
        pipeline.wait_for("quarantine", 2)
        assert router.stop() == 0
    pipeline.produce("event.credit", b"foreign", "ACC-9")
    pipeline.produce("event.credit", b"\x00\x7f\xff\xff\xffforeign", "ACC-9")
    pipeline.produce("alerts.active", None, "LIQUIDATE_ONLY/ACC-1/HK")
    pipeline.produce("ingest.cursors", Cursor("p1", "e1", 0).encode(), "grpc/ACCOUNT")
    return pipeline


def tail(pipeline: Pipeline, *arguments: str) -> list[dict[str, Any]]:
    done = pipeline.command("tail", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_tail_decodes_values(pipeline: Pipeline) -> None:
    record, *_ = tail(pipeline, "event.credit")
    assert record["topic"] == pipeline.settings.topic("event.credit")
    assert (record["partition"], record["offset"], record["key"]) == (0, 0, "ACC-123456")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["timestamp"])
    assert record["headers"] == {"raw_offset": "0"}
    assert record["value"]["amount"] == "0.000000000000000000"
    assert record["value"]["event_time"] == "2026-01-31T09:30:00.000000Z"
    assert "error" not in record


def test_tail_shows_what_it_cannot_decode(pipeline: Pipeline) -> None:
    _, text, unknown = tail(pipeline, "event.credit")
    assert text["value"] == {"base64": "Zm9yZWlnbg=="}
    assert "wire format" in text["error"]
    assert "2147483647" in unknown["error"]


def test_tail_of_topics_without_a_schema(pipeline: Pipeline) -> None:
    good, _, broken = tail(pipeline, "raw")
    assert good["value"] == GOOD.decode()
    assert good["headers"] == {"source": "test", "bytes": {"base64": "/w=="}}
    assert (broken["key"], broken["value"]) == (None, {"base64": "AP/+IGJyb2tlbg=="})
    (cursor,) = tail(pipeline, "ingest.cursors")
    assert cursor["value"] == {"position": "p1", "event_id": "e1", "received_at": "1970-01-01T00:00:00.000000Z"}
    (tombstone,) = tail(pipeline, "alerts.active")
    assert tombstone["value"] is None


def test_masked_tail_has_no_account(pipeline: Pipeline) -> None:
    good, text, _ = tail(pipeline, "event.credit", "--masked")
    assert (good["key"], good["value"]["account_id"], good["value"]["extra"]) == ("…3456", "…3456", {})
    assert good["value"]["amount"] == "0.000000000000000000"
    assert (text["key"], text["value"]) == ("…", "…")
    for topic in ("raw", "event.credit", "quarantine", "alerts.active", "ingest.cursors"):
        lines = json.dumps(tail(pipeline, topic, "--masked"))
        assert "ACC-1" not in lines
        assert "broken" not in lines
    (cursor,) = tail(pipeline, "ingest.cursors", "--masked")
    assert (cursor["key"], cursor["value"]["position"]) == ("grpc/ACCOUNT", "p1")


def test_tail_of_bytes_within_a_record(pipeline: Pipeline) -> None:
    bad, broken = tail(pipeline, "quarantine")
    assert bad["value"]["value"] == BAD.decode()
    assert broken["value"]["value"] == {"base64": "AP/+IGJyb2tlbg=="}


def test_tail_takes_full_names(pipeline: Pipeline) -> None:
    assert tail(pipeline, pipeline.settings.topic("raw")) == tail(pipeline, "raw")


def test_tail_of_an_unknown_topic_names_the_known(pipeline: Pipeline) -> None:
    done = pipeline.command("tail", "event.credits")
    for topic in load_catalog().topics:
        assert topic in done.stderr


@pytest.mark.parametrize(
    ("where", "offsets"),
    [
        ("beginning", [0, 1, 2]),
        ("1", [1, 2]),
        ("7", []),
        ("end", []),
        ("1h ago", [0, 1, 2]),
        ("10m", [0, 1, 2]),
        ("2020-01-01T00:00:00Z", [0, 1, 2]),
        ("2200-01-01T00:00:00+08:00", []),
    ],
)
def test_tail_from(pipeline: Pipeline, where: str, offsets: list[int]) -> None:
    assert [record["offset"] for record in tail(pipeline, "raw", "--from", where)] == offsets


def test_tail_from_a_time_between_two_records(pipeline: Pipeline) -> None:
    first, second, *_ = tail(pipeline, "raw")
    assert first["timestamp"] < second["timestamp"]
    assert [record["offset"] for record in tail(pipeline, "raw", "--from", second["timestamp"])] == [1, 2]


def test_tail_of_a_key_and_a_number(pipeline: Pipeline) -> None:
    assert [record["offset"] for record in tail(pipeline, "raw", "--key", "ACC-123456")] == [0, 1]
    assert [record["offset"] for record in tail(pipeline, "raw", "--key", "ACC-123456", "--limit", "1")] == [0]
    assert tail(pipeline, "raw", "--key", "ACC") == []


def follow(pipeline: Pipeline, *arguments: str) -> subprocess.Popen[str]:
    arguments = (*COMMAND, "tail", "event.transfer", "--follow", *arguments)
    variables = environment(pipeline.settings)
    return subprocess.Popen(arguments, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_tail_follows_what_is_committed_until_interrupted(pipeline: Pipeline) -> None:
    producer = Producer(producer_config(pipeline.settings, transactional_id=f"{pipeline.settings.topic_prefix}.test"))
    topic = pipeline.settings.topic("event.transfer")
    producer.init_transactions()
    with follow(pipeline, "--from", "beginning") as process:
        assert process.stdout is not None
        for key, ends in (("aborted", producer.abort_transaction), ("seen", producer.commit_transaction)):
            producer.begin_transaction()
            producer.produce(topic, b"x", key)
            producer.flush(PATIENCE_S)
            ends()
        assert json.loads(process.stdout.readline())["key"] == "seen"
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=10)
    assert (process.returncode, out, error.strip()) == (130, "", "")


def test_tail_follows_from_the_end_and_stops_at_its_limit(pipeline: Pipeline) -> None:
    pipeline.produce("event.transfer", b"x", "before")
    with follow(pipeline, "--limit", "1") as process:
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            pipeline.produce("event.transfer", b"x", "after")
            time.sleep(0.2)
        assert process.stdout is not None
        (line,) = process.stdout.read().splitlines()
    assert process.returncode == 0
    assert json.loads(line)["key"] == "after"


def test_a_closed_pipe_is_no_error(pipeline: Pipeline) -> None:
    pipeline.produce_all("event.exchange", [("k", b"x" * 1000)] * 5000)
    variables = environment(pipeline.settings)
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | head -n 1', "bash", *COMMAND, "tail", "event.exchange"],  # noqa: S607
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_quarantine_list(pipeline: Pipeline) -> None:
    done = pipeline.command("quarantine", "list")
    assert done.returncode == 0, done.stderr
    header, bad, broken, summary = done.stdout.splitlines()
    columns = ("place", "time", "reason", "stage", "biz_type", "source", "account", "replayed", "pointer", "detail")
    assert tuple(header.split()) == columns
    assert "0:0" in bad
    assert "bad_amount" in bad
    assert "CREDIT" in bad
    assert f"{pipeline.settings.topic('raw')}[0]@1" in bad
    assert "…3456" in bad
    assert "ACC-1" not in bad
    assert "/payload/amount" in bad
    assert "not_utf8" in broken
    assert summary == "2 records: 1 bad_amount, 1 not_utf8"


def test_quarantine_list_chooses(pipeline: Pipeline) -> None:
    def places(*arguments: str) -> list[str]:
        done = pipeline.command("quarantine", "list", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["place"] for line in done.stdout.splitlines()]

    every = places()
    assert len(every) == 2
    assert places("--reason", "bad_amount") == every[:1]
    assert places("--biz-type", "CREDIT") == every[:1]
    assert places("--limit", "1") == every[1:], "newest last"
    assert places("--reason", "too_deep") == []
    assert places("--account", "ACC-123456") == every[:1]
    assert places("--event-id", "nobody's") == []
    assert (places("--since", "1h ago"), places("--until", "1h ago")) == (every, [])
    assert (places("--offsets", "1:"), places("--offsets", ":0"), places("--offsets", "2:9")) == (
        every[1:],
        every[:1],
        [],
    )
    assert places("--partition", "0") == every


def test_quarantine_list_as_json(pipeline: Pipeline) -> None:
    done = pipeline.command("quarantine", "list", "--json", "--reason", "bad_amount")
    row = json.loads(done.stdout)
    assert row["source"] == f"{pipeline.settings.topic('raw')}[0]@1"
    assert (row["stage"], row["account"], row["pointer"]) == ("router", "…3456", "/payload/amount")
    assert done.stderr == "1 record: 1 bad_amount\n"


def test_a_replay_that_would_mend_nothing_says_so(pipeline: Pipeline) -> None:
    done = pipeline.command("quarantine", "replay", "--dry-run", "--reason", "bad_amount")
    assert done.returncode == 1, done.stderr
    left_out = "1 record would be rejected again, left out: 1 bad_amount (--include-rejected)"
    assert done.stdout.endswith(f"{left_out}\n0 records would be replayed\n")
    before = len(pipeline.read("raw")), len(pipeline.read("quarantine"))
    done = pipeline.command("quarantine", "replay", "--yes", "--reason", "bad_amount")
    assert (done.returncode, left_out in done.stdout) == (1, True), done.stdout + done.stderr
    assert (len(pipeline.read("raw")), len(pipeline.read("quarantine"))) == before
    done = pipeline.command("quarantine", "replay", "--dry-run", "--include-rejected", "--reason", "bad_amount")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("none of them would be typed\n1 record would be replayed\n")


def test_quarantine_show(pipeline: Pipeline) -> None:
    done = pipeline.command("quarantine", "show", "0:0")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^reason +bad_amount$", done.stdout, re.MULTILINE)
    assert re.search(r"^key +ACC-123456$", done.stdout, re.MULTILINE)
    assert "  source: test\n" in done.stdout
    value = done.stdout.partition(" bytes\n")[2]
    assert json.loads(value) == json.loads(BAD)
    assert '"rate": 8.010000000000000001' in value, "no digit is lost"
    assert value.count("\n") > 8


def test_quarantine_show_gives_the_value_as_received(pipeline: Pipeline) -> None:
    done = pipeline.command("quarantine", "show", "0:0", "--value")
    assert (done.returncode, done.stdout) == (0, BAD.decode() + "\n")
    done = pipeline.command("quarantine", "show", "0:1", "--value")
    assert (done.returncode, done.stdout) == (2, "")
    assert "0:1 is not text" in done.stderr


def test_quarantine_show_chooses(pipeline: Pipeline) -> None:
    done = pipeline.command("quarantine", "show", "--reason", "not_utf8")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^reason +(.+)$", done.stdout, re.MULTILINE) == ["not_utf8"]


def test_quarantine_show_of_what_is_no_text(pipeline: Pipeline) -> None:
    done = pipeline.command("quarantine", "show", "0:1")
    assert "00000000  00 ff fe 20 62 72 6f 6b 65 6e" in done.stdout
    assert "|... broken|" in done.stdout


@pytest.mark.parametrize("place", ["0:99999", "7:0", "0:-1", "1", "a:b"])
def test_quarantine_show_of_what_is_not_there(pipeline: Pipeline, place: str) -> None:
    done = pipeline.command("quarantine", "show", "--", place)
    assert done.returncode == 2
    assert "Error: " in done.stderr


WAITED_FOR = (
    "tail raw",
    "account ACC-1",
    "movement T-1",
    "alerts active",
    "alerts list",
    "explain e",
    "ledger",
    "quarantine list",
    "quarantine show 0:0",
    "quarantine replay --dry-run",
    "rebuild",
    "topics diff",
    "offsets accept router --reason test --dry-run",
)


def test_a_person_waits_5_s_for_kafka(pipeline: Pipeline) -> None:
    def ended(command: str) -> tuple[int, str, str]:
        done = pipeline.command(*command.split(), kafka_bootstrap_servers="127.0.0.1:1", start_timeout_s="")
        return done.returncode, done.stdout, done.stderr.splitlines()[-1]

    with ThreadPoolExecutor(4) as threads:
        for command, (code, output, line) in zip(WAITED_FOR, threads.map(ended, WAITED_FOR), strict=True):
            assert (code, output) == (70, ""), command
            assert "Kafka at 127.0.0.1:1 did not answer within 5 s: " in line, command
            assert line.endswith("Is it running? PIPELINE_KAFKA_BOOTSTRAP_SERVERS names it"), command


@pytest.mark.parametrize(
    ("words", "guess"), [("taill raw", "tail"), ("topics aply", "apply"), ("alerts actve", "active")]
)
def test_a_misspelt_command_is_guessed(pipeline: Pipeline, words: str, guess: str) -> None:
    done = pipeline.command(*words.split())
    assert done.returncode == 2
    assert f". Did you mean {guess}?" in done.stderr


def test_a_misspelt_topic_is_guessed(pipeline: Pipeline) -> None:
    done = pipeline.command("tail", "state.account")
    assert done.returncode == 2
    assert "No topic 'state.account'. Did you mean state.accounts?" in done.stderr


def test_a_registry_that_is_away_is_waited_for_and_its_setting_named(pipeline: Pipeline) -> None:
    done = pipeline.command("schemas", "check", schema_registry_url="http://127.0.0.1:1", start_timeout_s=2)
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (70, "")
    assert "; next try in " in lines[0]
    assert lines[-1].startswith("broker-events: the registry at http://127.0.0.1:1 cannot be reached: ")
    assert lines[-1].endswith("Is it running? PIPELINE_SCHEMA_REGISTRY_URL names it")


def test_a_time_is_read_before_kafka_is_asked(pipeline: Pipeline) -> None:
    done = pipeline.command("tail", "raw", "--from", "yesterday", kafka_bootstrap_servers="127.0.0.1:1")
    assert done.returncode == 2
    assert "'yesterday' is none of" in done.stderr


def test_an_http_server_is_not_taken_for_kafka(pipeline: Pipeline) -> None:
    address = pipeline.settings.schema_registry_url.split("/")[2]
    done = pipeline.command("tail", "raw", kafka_bootstrap_servers=address)
    assert done.returncode == 2
    assert "an HTTP server answers, not Kafka; check PIPELINE_KAFKA_BOOTSTRAP_SERVERS" in done.stderr


def test_a_registry_url_without_its_path_says_which(pipeline: Pipeline) -> None:
    url = "/".join(pipeline.settings.schema_registry_url.split("/")[:3])
    done = pipeline.command("tail", "alerts", schema_registry_url=url)
    assert done.returncode in (0, 2)  # no record, no schema
    done = pipeline.command("schemas", "check", schema_registry_url=url)
    assert done.returncode == 2
    assert "PIPELINE_SCHEMA_REGISTRY_URL: " in done.stderr
    assert "Apicurio: /apis/ccompat/v7" in done.stderr


def test_without_kafka_a_command_ends_with_one_line(pipeline: Pipeline) -> None:
    done = pipeline.command("tail", "raw", kafka_bootstrap_servers="127.0.0.1:1", start_timeout_s=2)
    assert done.returncode == 70
    assert "did not answer within 2 s" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr

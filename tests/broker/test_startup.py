"""Starting without what is needed, and going on when the cluster goes away for a while."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, gethostbyname, gethostname, socket
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from confluent_kafka.admin import NewTopic
from kafka_cluster import KafkaCluster, chosen_broker
from pipeline_processes import COMMAND, Pipeline, Worker, credit, environment, eventually

from broker_events.devstack.java import free_ports
from broker_events.devstack.stack import Stack
from broker_events.runtime.kafka.clients import admin_client
from broker_events.schemas.models import Credit

SOON_S = 15.0
WORKERS = ("router", "projector")


@pytest.fixture(scope="module")
def pipeline(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(cluster, f"test-{uuid4().hex[:12]}", tmp_path_factory.mktemp("startup")).made()


@pytest.fixture
def bare(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Pipeline:
    """Return a pipeline without topics and schemas."""
    return Pipeline(cluster, topic_prefix, tmp_path, partitions=1)


def refused(worker: Worker, code: int) -> str:
    """Wait for the exit code; return the log, which has no traceback."""
    started = time.monotonic()
    with worker:
        assert worker.wait() == code, worker.log
    assert time.monotonic() - started < SOON_S
    assert "Traceback" not in worker.log
    return worker.log


def nobody() -> int:
    """Return a port that nobody listens on."""
    return free_ports(1)[0]


@pytest.mark.parametrize("app", WORKERS)
def test_kafka_that_is_not_there(pipeline: Pipeline, app: str) -> None:
    address = f"127.0.0.1:{nobody()}"
    log = refused(pipeline.worker(app, kafka_bootstrap_servers=address, start_timeout_s=3), 70)
    assert f"Kafka at {address} does not answer" in log
    assert "next try in" in log
    assert f"Kafka at {address} did not answer within 3 s" in log.splitlines()[-1]


@pytest.mark.parametrize("app", WORKERS)
def test_registry_that_is_not_there(pipeline: Pipeline, app: str) -> None:
    url = f"http://127.0.0.1:{nobody()}"
    log = refused(pipeline.worker(app, schema_registry_url=url, start_timeout_s=3), 70)
    assert f"schema registry at {url} does not answer" in log
    assert f"schema registry at {url} did not answer within 3 s" in log.splitlines()[-1]


def test_pauses_between_tries_grow(pipeline: Pipeline) -> None:
    worker = pipeline.worker("router", kafka_bootstrap_servers=f"127.0.0.1:{nobody()}", start_timeout_s=6)
    lines = [line for line in refused(worker, 70).splitlines() if "next try in " in line]
    pauses = [float(line.split("next try in ")[1].split()[0]) for line in lines]
    assert pauses[:2] == [0.5, 1.0]


def test_a_wait_for_kafka_ends_when_asked(pipeline: Pipeline) -> None:
    with pipeline.worker("router", kafka_bootstrap_servers=f"127.0.0.1:{nobody()}", start_timeout_s=60) as router:
        router.wait_for("does not answer")
        assert router.get("/live")[0] == 200
        assert router.get("/ready")[0] == 503
        started = time.monotonic()
        assert router.stop() == 0
        assert time.monotonic() - started < 10


def test_a_registry_that_comes_late_is_waited_for(pipeline: Pipeline) -> None:
    port = nobody()
    real = urlsplit(pipeline.settings.schema_registry_url)
    late = real._replace(netloc=f"127.0.0.1:{port}").geturl()
    with pipeline.worker("router", schema_registry_url=late) as router:
        router.wait_for("does not answer")
        with relay(port, str(real.hostname), real.port or 80):
            router.wait_ready()
            assert router.stop() == 0


@contextmanager
def relay(port: int, host: str, its_port: int) -> Iterator[None]:
    """Pass connections to a port of this machine on to another one."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(65536):
            writer.write(content)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        its_reader, its_writer = await asyncio.open_connection(host, its_port)
        await asyncio.gather(pump(reader, its_writer), pump(its_reader, writer), return_exceptions=True)

    async def serve() -> None:
        async with await asyncio.start_server(connected, "127.0.0.1", port):
            await asyncio.to_thread(over.wait)

    over = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_missing_topics_are_named_with_advice(bare: Pipeline) -> None:
    log = refused(bare.worker("router"), 2)
    assert " topics are missing: " in log
    assert f"{bare.settings.topic('raw')} (create them with: " in log
    assert "PIPELINE_TOPIC_PREFIX" in log
    assert "broker-events topics apply" in log


def test_missing_schemas_are_named_with_advice(bare: Pipeline) -> None:
    assert bare.command("topics", "apply").returncode == 0
    log = refused(bare.worker("router"), 2)
    assert f"{bare.settings.topic_prefix}.event." in log
    assert "broker-events schemas register" in log


def test_another_partition_count_is_refused(pipeline: Pipeline) -> None:
    log = refused(pipeline.worker("router", partitions=5), 2)
    assert "topics have 2 partitions, PIPELINE_PARTITIONS says 5" in log


def test_another_cleanup_policy_is_refused(bare: Pipeline) -> None:
    name = bare.settings.topic("state.accounts")
    admin = admin_client(bare.settings)
    admin.create_topics([NewTopic(name, 1, 1, config={"cleanup.policy": "delete"})])[name].result()
    log = refused(bare.worker("router"), 2)
    assert f"{name}: cleanup.policy is delete, must be compact" in log


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("PARTITIONS", "many", "PIPELINE_PARTITIONS: "),
        ("COMMIT_INTERVAL_MS", "1", "PIPELINE_COMMIT_INTERVAL_MS: "),
        ("KAFKA_EXTRA", "{not json", "PIPELINE_KAFKA_EXTRA: "),
        ("KAFKA_SSL_CA_LOCATION", "/no/such/file", "PIPELINE_KAFKA_SSL_CA_LOCATION: "),
        ("PARTITION", "8", "PIPELINE_PARTITION: no such setting"),
        ("CONFIG", "/no/such/file", "PIPELINE_CONFIG: "),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(pipeline: Pipeline, variable: str, value: str, says: str) -> None:
    secrets = {"APP_SECRET": "very-secret", "KAFKA_SASL_PASSWORD": "very-secret"}
    done = pipeline.command("router", **{variable: value}, **secrets)
    assert done.returncode == 2
    assert done.stderr.startswith(f"broker-events: {says}")
    assert len(done.stderr.splitlines()) == 1
    assert "very-secret" not in done.stderr


def test_a_bad_client_setting_is_one_line(pipeline: Pipeline) -> None:
    log = refused(pipeline.worker("router", kafka_extra='{"no.such.setting": 1}'), 2)
    assert "no.such.setting" in log


def test_a_port_that_is_taken_is_named(pipeline: Pipeline) -> None:
    with socket(AF_INET, SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        arguments = [*COMMAND, "router", "--http-port", port]
        worker = Worker(arguments, environment(pipeline.settings), pipeline.folder / "taken.log")
        assert f"PIPELINE_HTTP_PORT: can't listen on 127.0.0.1:{port}" in refused(worker, 2)


def test_health_and_metrics_answer_on_this_machine_only(pipeline: Pipeline) -> None:
    with pipeline.worker("router") as router:
        router.wait_ready()
        assert router.get("/live") == (200, '{"ok": true, "problem": null}\n')
        assert router.get("/ready")[0] == 200
        assert router.get("/nothing")[0] == 404
        assert "broker_events_assigned_partitions 2.0" in router.get("/metrics")[1]
        for address in other_addresses():
            with closing(socket(AF_INET, SOCK_STREAM)) as client:
                client.settimeout(2)
                assert client.connect_ex((address, router.port)) != 0, address
        router.stop()


def other_addresses() -> list[str]:
    """Addresses of this machine that aren't 127.0.0.1; 127.0.0.2 is always one on Linux."""
    found = {"127.0.0.2", gethostbyname(gethostname())}
    return [address for address in found if address != "127.0.0.1" and ipaddress.ip_address(address)]


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[tuple[Stack, Pipeline]]:
    """Yield a broker and registry that a test may kill."""
    if chosen_broker() != "embedded":
        pytest.skip("kills its broker")
    with Stack(tmp_path / "stack") as stack:
        cluster = KafkaCluster(stack.bootstrap_servers, stack.registry_url)
        yield stack, Pipeline(cluster, "outage", tmp_path, partitions=2).made()


def send(pipeline: Pipeline, first: int, count: int) -> None:
    numbers = range(first, first + count)
    pipeline.produce_all("raw", [(f"ACC-{n % 7}", credit(f"event-{n}", f"ACC-{n % 7}")) for n in numbers])


def check_nothing_is_lost_or_doubled(pipeline: Pipeline, count: int) -> None:
    events = [event for event in pipeline.decoded("event.credit") if isinstance(event, Credit)]
    assert sorted(event.event_id for event in events) == sorted(f"event-{number}" for number in range(count))
    for account in {event.account_id for event in events}:
        numbers = [int(event.event_id.split("-")[1]) for event in events if event.account_id == account]
        assert numbers == sorted(numbers)


def goes_on(pipeline: Pipeline, router: Worker, count: int) -> bool:
    """Wait until the worker has done everything, or has ended; return which."""
    eventually(lambda: not router.is_running or len(pipeline.read("event.credit")) >= count, lambda: router.log)
    return router.is_running


def test_a_broker_that_is_away_for_longer_than_the_session_ends_the_worker(
    own_stack: tuple[Stack, Pipeline],
) -> None:
    stack, pipeline = own_stack
    with pipeline.worker("router") as router:
        send(pipeline, 0, 500)
        pipeline.wait_for("event.credit", 500)
        time.sleep(1)
        stack.kafka.kill()
        assert router.wait() == 70
        assert "silent for longer than its session timeout" in router.log
        stack.kafka.restart()
    send(pipeline, 500, 500)
    with pipeline.worker("router") as fresh:
        pipeline.wait_for("event.credit", 1000)
        assert fresh.stop() == 0
    check_nothing_is_lost_or_doubled(pipeline, 1000)


def test_a_broker_that_crashes_while_nothing_happens_is_waited_for(own_stack: tuple[Stack, Pipeline]) -> None:
    """Without an open transaction: a lone Kafka node that is killed within one may leave it hanging."""
    stack, pipeline = own_stack
    with pipeline.worker("router", session_timeout_ms=30_000) as router:
        send(pipeline, 0, 500)
        pipeline.wait_for("event.credit", 500)
        time.sleep(1)
        stack.kafka.kill()
        time.sleep(3)
        assert router.get("/live")[0] == 200
        stack.kafka.restart()
        send(pipeline, 500, 500)
        assert goes_on(pipeline, router, 1000), router.log
        assert router.stop() == 0
    check_nothing_is_lost_or_doubled(pipeline, 1000)


def test_a_broker_that_restarts_under_load_costs_nothing(own_stack: tuple[Stack, Pipeline]) -> None:
    """The worker waits and goes on, or ends with 70 and a fresh one goes on."""
    stack, pipeline = own_stack
    with pipeline.worker("router", transaction_timeout_ms=30_000, session_timeout_ms=30_000) as router:
        send(pipeline, 0, 500)
        pipeline.wait_for("event.credit", 500)
        send(pipeline, 500, 20_000)
        stack.kafka.restart()
        send(pipeline, 20_500, 500)
        if goes_on(pipeline, router, 21_000):
            assert router.stop() == 0
        else:
            assert router.wait() == 70, router.log
            with pipeline.worker("router", transaction_timeout_ms=30_000, session_timeout_ms=30_000) as fresh:
                pipeline.wait_for("event.credit", 21_000)
                assert fresh.stop() == 0
    check_nothing_is_lost_or_doubled(pipeline, 21_000)


def test_a_registry_that_goes_away_does_not_matter_to_a_running_router(own_stack: tuple[Stack, Pipeline]) -> None:
    stack, pipeline = own_stack
    with pipeline.worker("router") as router:
        router.wait_ready()
        stack.registry.kill()
        pipeline.produce("raw", credit("one"), "ACC-1")
        pipeline.wait_for("event.credit", 1)
        assert router.stop() == 0

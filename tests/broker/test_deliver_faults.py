"""Receivers that fail in every way: nothing is dropped, doubled only with the same id, and no one else waits."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import time
from collections import defaultdict
from pathlib import Path

import pytest
from aiohttp import web
from alert_receiver import AlertReceiver, accept, answer, receivers_file, webhook
from certificates import Authority
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, eventually
from raised_alerts import AlertTopics, alert

from broker_events.schemas.models import Delivery
from broker_events.schemas.storage_types import Alert


@pytest.fixture
def pipeline(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Pipeline:
    return Pipeline(cluster, topic_prefix, tmp_path, partitions=2).made()


def deliveries(pipeline: Pipeline, receiver: str) -> list[Delivery]:
    found = pipeline.decoded("alerts.deliveries")
    return [each for each in found if isinstance(each, Delivery) and each.receiver == receiver]


async def fails_once(_request: web.Request, _body: bytes, before: int) -> web.StreamResponse:
    return web.Response(status=204 if before else 500, text="" if before else "x" * 10_000)


async def hangs_once(_request: web.Request, _body: bytes, before: int) -> web.StreamResponse:
    if not before:
        await asyncio.sleep(30)
    return web.Response(status=204)


async def drips_once(request: web.Request, _body: bytes, before: int) -> web.StreamResponse:
    if before:
        return web.Response(status=204)
    response = web.StreamResponse(status=200)
    await response.prepare(request)
    for _ in range(100):
        await response.write(b".")
        await asyncio.sleep(0.2)
    return response


async def closes_once(request: web.Request, _body: bytes, before: int) -> web.StreamResponse:
    if not before:
        assert request.transport is not None
        request.transport.close()
    return web.Response(status=204)


async def busy_once(_request: web.Request, _body: bytes, before: int) -> web.StreamResponse:
    return web.Response(status=204) if before else web.Response(status=429, headers={"Retry-After": "3"})


async def rejects_one(_request: web.Request, body: bytes, _before: int) -> web.StreamResponse:
    return web.Response(status=422 if json.loads(body)["account_key"] == "ACC-0" else 204, text="no such account")


def test_each_kind_of_failure(pipeline: Pipeline, tmp_path: Path) -> None:
    alerts = [alert(f"ACC-{number % 5}", market=f"M{number}") for number in range(15)]
    kinds = {
        "fails": fails_once,
        "busy": busy_once,
        "hangs": hangs_once,
        "drips": drips_once,
        "closes": closes_once,
        "rejects": rejects_one,
        "gone": answer(410),
        "moved": answer(302, Location="http://127.0.0.1:1/elsewhere"),
    }
    authority = Authority(tmp_path, "stranger")
    its = authority.issue("receiver")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(its.certificate, its.key)
    receivers = {name: AlertReceiver(behave) for name, behave in kinds.items()} | {"tls": AlertReceiver(tls=tls)}
    for receiver in receivers.values():
        receiver.__enter__()
    tables = [webhook(receiver.url, name, timeout_s="1") for name, receiver in receivers.items()]
    topics = AlertTopics(pipeline)
    with pipeline.worker("deliver", delivery_receivers=receivers_file(tmp_path, *tables)) as worker:
        worker.wait_ready()
        topics.write(alerts)
        eventually(lambda: len(receivers["gone"].requests) >= 2 and len(receivers["moved"].requests) >= 2)
        assert not deliveries(pipeline, "gone") + deliveries(pipeline, "moved")
        receivers["gone"].behave = receivers["moved"].behave = accept
        complete = [name for name in receivers if name != "tls"]
        eventually(
            lambda: all(len(deliveries(pipeline, name)) == len(alerts) for name in complete),
            lambda: f"{[(name, len(deliveries(pipeline, name))) for name in complete]}\n{worker.log}",
        )
        assert worker.stop() == 0, worker.log
    assert not receivers["tls"].requests
    assert not deliveries(pipeline, "tls")
    assert "receiver tls fails: TLS: " in worker.log
    for name in complete:
        assert_in_order(receivers[name], alerts)
        rejected = {each["alert_id"] for each in alerts if each["account_key"] == "ACC-0" and name == "rejects"}
        found = {each.alert_id: each for each in deliveries(pipeline, name)}
        assert found.keys() == {each["alert_id"] for each in alerts}
        assert {each.alert_id for each in found.values() if each.outcome == "GIVEN_UP"} == rejected
        assert {found[each].attempts for each in rejected} <= {5}
        assert {found[each].last_answer for each in rejected} <= {"no such account"}
    first = receivers["busy"].requests[0].at_s
    assert min(request.at_s for request in receivers["busy"].accepted) - first > 2.9
    for receiver in receivers.values():
        receiver.__exit__(None, None, None)


def assert_in_order(receiver: AlertReceiver, alerts: list[Alert]) -> None:
    """The first acceptance of each alert of an account is in the order of the topic."""
    sent = [each["alert_id"] for each in alerts]
    got: defaultdict[str, list[int]] = defaultdict(list)
    for request in receiver.accepted:
        place = sent.index(request.alert_id)
        account = json.loads(request.body)["account_key"]
        if place not in got[account]:
            got[account].append(place)
    assert all(places == sorted(places) for places in got.values()), got


def test_killed_between_acceptance_and_commit(pipeline: Pipeline, tmp_path: Path) -> None:
    alerts = [alert(f"ACC-{number % 7}", market=f"M{number}") for number in range(200)]
    with AlertReceiver() as receiver:
        file = receivers_file(tmp_path, webhook(receiver.url))
        AlertTopics(pipeline).write(alerts)
        for _ in range(3):
            with pipeline.worker("deliver", delivery_receivers=file, commit_interval_ms=100) as worker:
                limit = len(receiver.requests) + 30

                async def kills(_request: web.Request, _body: bytes, _before: int) -> web.StreamResponse:
                    if len(receiver.requests) >= limit:  # noqa: B023
                        asyncio.get_running_loop().call_later(0.002, os.kill, worker.pid, signal.SIGKILL)
                    return web.Response(status=204)

                receiver.behave = kills
                worker.wait()
        receiver.behave = accept
        with pipeline.worker("deliver", delivery_receivers=file) as worker:
            eventually(lambda: len({each.alert_id for each in deliveries(pipeline, "desk")}) == len(alerts))
            assert worker.stop() == 0, worker.log
    found = deliveries(pipeline, "desk")
    assert len(found) == len(alerts), "one record for each alert"
    repeated = len(receiver.requests) - len(alerts)
    assert repeated > 0, "a kill after an acceptance repeats the request"
    assert_in_order(receiver, alerts)


def test_a_suspended_worker_sends_nothing_after_another_took_over(pipeline: Pipeline, tmp_path: Path) -> None:
    slow = 0.05

    async def slowly(_request: web.Request, _body: bytes, _before: int) -> web.StreamResponse:
        await asyncio.sleep(slow)
        return web.Response(status=204)

    alerts = [alert(f"ACC-{number % 3}", market=f"M{number}") for number in range(400)]
    with AlertReceiver(slowly) as receiver:
        file = receivers_file(tmp_path, webhook(receiver.url, max_in_flight="4"))
        with pipeline.worker("deliver", "a", delivery_receivers=file) as zombie:
            zombie.wait_ready()
            AlertTopics(pipeline).write(alerts)
            eventually(lambda: len(receiver.requests) > 20)
            os.kill(zombie.pid, signal.SIGSTOP)
            with pipeline.worker("deliver", "b", delivery_receivers=file) as heir:
                eventually(lambda: len({each.alert_id for each in deliveries(pipeline, "desk")}) == len(alerts))
                time.sleep(0.5)
                before = len(receiver.requests)
                os.kill(zombie.pid, signal.SIGCONT)
                assert zombie.wait() in {4, 70}, zombie.log
                assert len(receiver.requests) == before
                assert heir.stop() == 0, heir.log
    assert len(deliveries(pipeline, "desk")) == len(alerts)
    assert_in_order(receiver, alerts)

"""The Subscribe call: rejects or accepts a subscription, then pushes the log, with pings and faults."""

import asyncio
import math
import time
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError

from broker_events.devstack.simulator.access import Access, Refused
from broker_events.devstack.simulator.event import EVENT_TYPES
from broker_events.devstack.simulator.event_log import EventLog
from broker_events.devstack.simulator.faults import Fault, FaultKind, FaultPlan
from broker_events.devstack.simulator.positions import UnknownPosition
from broker_events.ingest.sources.event_push_pb2 import SubscribeRequest, SubscribeResponse
from broker_events.ingest.sources.push_stream import SIMULATOR

BATCH = 512  # events per look at faults, pings and the end
GROW_AT_ONCE = 256  # events; the streams run in between
DRAIN_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class StreamRules:
    """Behaviour that the brokerage's documents leave open, or that a test changes."""

    from_newest: bool  # where a subscription without a position starts; otherwise at the oldest event
    ping_every_s: float
    lifetime_s: float  # then SubscribeExpired; inf: never
    max_connections: int
    end_when_complete: bool  # a clean end once everything was pushed; otherwise only pings


@dataclass(slots=True)
class Counters:
    subscribers: int = 0  # now
    subscriptions: int = 0  # accepted so far
    auth_errors: int = 0
    connections_exceeded: int = 0
    pings: int = 0
    event_messages: int = 0  # all, with repeats
    pushed_events: int = 0  # events of the log, from its start, that have been pushed to a subscriber
    duplicates: int = 0  # event messages that repeated one on the same stream


Call = grpc.aio.ServicerContext[bytes, bytes]


class EventService:
    """Pushes the log to its subscribers. `caught_up`: events that the log grew by because a position asked for them."""

    def __init__(self, log: EventLog, access: Access, rules: StreamRules, plan: FaultPlan) -> None:
        self._log = log
        self._access = access
        self._rules = rules
        self._plan = plan
        self.counters = Counters()
        self.caught_up = 0
        self.first_subscription = asyncio.Event()
        self._draining = asyncio.Event()
        self._unfinished = False  # the last stream ended before the log did
        self.started_at = 0.0  # monotonic time of the first subscription

    async def drain(self, subscribers_s: float, absent_s: float) -> None:
        """Return when every subscriber has received the whole log, which has ended. Faults no longer strike.

        Subscribers have at least `subscribers_s` for it. A disconnected one has `absent_s` to reconnect.
        """
        self._draining.set()
        begun = time.monotonic()
        while self.counters.subscribers or self._unfinished:
            limit_s = absent_s if not self.counters.subscribers else max(subscribers_s, absent_s)
            if time.monotonic() - begun >= limit_s:
                return
            await asyncio.sleep(DRAIN_POLL_S)

    @property
    def handler(self) -> grpc.GenericRpcHandler:
        """What a `grpc.aio` server calls; requests and responses are serialised messages."""
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(self._subscribe)
        return grpc.method_handlers_generic_handler("grpc.event.EventService", {"Subscribe": method})

    async def _subscribe(self, request: bytes, call: Call) -> None:
        """Serve one call to its end."""
        await call.send_initial_metadata(((SIMULATOR, "true"),))
        try:
            metadata = {name: str(value) for name, value in call.invocation_metadata() or ()}
            self._access.check(metadata, request, time.time())
        except Refused as refused:
            self.counters.auth_errors += 1
            await call.write(_message(SubscribeResponse.AuthError, str(refused)))
            return  # with status OK, assumed: the message says enough
        try:
            after = await self._start_points(SubscribeRequest.FromString(request))
        except (ValueError, DecodeError) as error:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))  # assumed: no document says what happens
        if self.counters.subscribers >= self._rules.max_connections:
            self.counters.connections_exceeded += 1
            await call.write(_message(SubscribeResponse.NumOfConnExceed))
            return  # with status OK, assumed
        self.counters.subscribers += 1
        self.counters.subscriptions += 1
        self._unfinished = True
        if not self.first_subscription.is_set():
            self.started_at = time.monotonic()
            self.first_subscription.set()
        try:
            await call.write(_message(SubscribeResponse.SubscribeSuccess))
            await self._push(call, after)
        finally:
            self.counters.subscribers -= 1

    async def _start_points(self, request: SubscribeRequest) -> dict[str, int]:
        """Return for each event type the sequence number after which the subscriber wants events."""
        if not request.events:
            raise ValueError("no event type")
        newest = len(self._log) - 1 if self._rules.from_newest else -1
        after: dict[str, int] = {}
        for event in request.events:
            if event.eventType not in EVENT_TYPES:
                raise ValueError(f"unknown event type {event.eventType}")
            if not event.position:
                after[event.eventType] = newest
                continue
            try:
                after[event.eventType] = self._log.sequence(event.eventType, event.position)
            except UnknownPosition as error:
                raise ValueError(f"unknown position {event.position} of {event.eventType}") from error
        length = max(after.values()) + 1  # a position from before a restart with the same seed stays valid
        while len(self._log) < length and not self._log.complete:
            before = len(self._log)
            self._log.grow(min(length - before, GROW_AT_ONCE))
            self.caught_up += len(self._log) - before
            await asyncio.sleep(0)
        return after

    async def _push(self, call: Call, after: dict[str, int]) -> None:
        rules, log, counters = self._rules, self._log, self.counters
        cursor = min(after.values()) + 1
        opened = last_ping = time.monotonic()
        while True:
            grown = log.grown
            now = time.monotonic()
            draining = self._draining.is_set()
            for fault in self._plan.due(cursor, now - self.started_at) if not draining else ():
                if await self._strike(call, fault, cursor, after):
                    return
            if now - opened >= rules.lifetime_s:
                await call.write(_message(SubscribeResponse.SubscribeExpired))
                return  # with status OK, assumed
            if now - last_ping >= rules.ping_every_s:
                last_ping = now
                counters.pings += 1
                await call.write(_message(SubscribeResponse.Ping))
            end = int(min(len(log), cursor + BATCH, math.inf if draining else self._plan.next_events()))
            if cursor < end:
                await self._write(call, cursor, end, after)
                cursor = end
                counters.pushed_events = max(counters.pushed_events, cursor)
                continue
            if log.complete and (rules.end_when_complete or draining):
                self._unfinished = False
                return
            until = min(
                last_ping + rules.ping_every_s,
                opened + rules.lifetime_s,
                self.started_at + self._plan.next_seconds(),
            )
            await _wait(grown, until - time.monotonic())

    async def _strike(self, call: Call, fault: Fault, cursor: int, after: dict[str, int]) -> bool:
        """Return whether the stream has ended."""
        match fault.kind:
            case FaultKind.DISCONNECT:
                await call.abort(grpc.StatusCode.UNAVAILABLE, "as asked for by --fault")
            case FaultKind.EXHAUSTED:
                await call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "as asked for by --fault")
            case FaultKind.END:
                return True
            case FaultKind.EXPIRED:
                await call.write(_message(SubscribeResponse.SubscribeExpired))
                return True
            case FaultKind.SILENCE:
                await _wait(self._draining, fault.amount)
            case FaultKind.DUPLICATE:
                for _ in range(int(fault.amount)):
                    await self._repeat(call, 1, cursor, after)
            case _:
                await self._repeat(call, int(fault.amount), cursor, after)
        return False

    async def _repeat(self, call: Call, events: int, cursor: int, after: dict[str, int]) -> None:
        first = min(after.values()) + 1  # what this stream has pushed: nothing before
        self.counters.duplicates += await self._write(call, max(first, cursor - events), cursor, after)

    async def _write(self, call: Call, start: int, end: int, after: dict[str, int]) -> int:
        """Push the wanted events of start..end (exclusive) and return their number."""
        messages = self._log.messages(start, end, after)
        for message in messages:
            await call.write(message)
        self.counters.event_messages += len(messages)
        return len(messages)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), max(seconds, 0))
    except TimeoutError:
        return


def _message(kind: SubscribeResponse.Type, payload: str = "") -> bytes:
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return SubscribeResponse(type=kind, timestamp=timestamp, payload=payload).SerializeToString()

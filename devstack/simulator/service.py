"""The Subscribe call: refuse or accept, then push the log, with pings, faults and an end if asked for."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

from google.protobuf.message import DecodeError

from broker_events.devstack.simulator.access import Access, Refused
from broker_events.devstack.simulator.event import EVENT_TYPES
from broker_events.devstack.simulator.event_log import EventLog
from broker_events.devstack.simulator.faults import Fault, FaultKind, FaultPlan
from broker_events.devstack.simulator.http2 import Call, Status, frame
from broker_events.devstack.simulator.positions import UnknownPosition
from broker_events.ingest.sources.event_push_pb2 import SubscribeRequest, SubscribeResponse

METHOD = "/grpc.event.EventService/Subscribe"
BATCH = 512  # events per write
DRAIN_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class StreamRules:
    """What the broker's documents leave open, or a test wants otherwise."""

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


class _End(Enum):
    STREAM = auto()  # the stream was ended
    NOT_YET = auto()


class EventService:
    """`grown` wakes streams: it is called for an event that is set when the log grows next."""

    def __init__(
        self,
        log: EventLog,
        access: Access,
        rules: StreamRules,
        plan: FaultPlan,
        *,
        grown: Callable[[], asyncio.Event],
        catch_up: Callable[[int], Awaitable[None]],
    ) -> None:
        self._log = log
        self._access = access
        self._rules = rules
        self._plan = plan
        self._grown = grown
        self._catch_up = catch_up
        self.counters = Counters()
        self.first_subscription = asyncio.Event()
        self._draining = asyncio.Event()
        self._unfinished = False  # the last stream ended before the log did
        self.started_at = 0.0  # monotonic time of the first subscription

    async def drain(self, subscribers_s: float, absent_s: float) -> None:
        """Return when every subscriber has got the whole log, which has ended; faults strike no more.

        Subscribers get at least `subscribers_s` for it; one that is away has `absent_s` to come back.
        """
        self._draining.set()
        begun = time.monotonic()
        while self.counters.subscribers or self._unfinished:
            limit_s = absent_s if not self.counters.subscribers else max(subscribers_s, absent_s)
            if time.monotonic() - begun >= limit_s:
                return
            await asyncio.sleep(DRAIN_POLL_S)

    async def subscribe(self, call: Call) -> None:
        """Serve one call to its end."""
        if call.path != METHOD:
            call.finish(Status.UNIMPLEMENTED, f"no method {call.path}")
            return
        try:
            self._access.check(call.metadata, call.request, time.time())
        except Refused as refused:
            self.counters.auth_errors += 1
            await call.write(_message(SubscribeResponse.AuthError, str(refused)))
            call.finish(Status.OK)  # assumed: the message says enough
            return
        try:
            after = await self._start_points(SubscribeRequest.FromString(call.request))
        except (ValueError, DecodeError) as error:
            call.finish(Status.INVALID_ARGUMENT, str(error))  # assumed: no document says what happens
            return
        if self.counters.subscribers >= self._rules.max_connections:
            self.counters.connections_exceeded += 1
            await call.write(_message(SubscribeResponse.NumOfConnExceed))
            call.finish(Status.OK)  # assumed
            return
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
        await self._catch_up(max(after.values()) + 1)
        return after

    async def _push(self, call: Call, after: dict[str, int]) -> None:
        rules, log, counters = self._rules, self._log, self.counters
        cursor = min(after.values()) + 1
        opened = last_ping = time.monotonic()
        while True:
            grown = self._grown()
            now = time.monotonic()
            draining = self._draining.is_set()
            for fault in self._plan.due(cursor, now - self.started_at) if not draining else ():
                if await self._strike(call, fault, cursor, after) is _End.STREAM:
                    return
            if now - opened >= rules.lifetime_s:
                await _expire(call)
                return
            if now - last_ping >= rules.ping_every_s:
                last_ping = now
                counters.pings += 1
                await call.write(_message(SubscribeResponse.Ping))
            end = int(min(len(log), cursor + BATCH, math.inf if draining else self._plan.next_events()))
            if cursor < end:
                messages, number = log.messages(cursor, end, after)
                await call.write(messages)
                cursor = end
                counters.event_messages += number
                counters.pushed_events = max(counters.pushed_events, cursor)
                await asyncio.sleep(0)  # an open window lets a write pass without a pause for the others
                continue
            if log.complete and (rules.end_when_complete or draining):
                self._unfinished = False
                call.finish(Status.OK)
                return
            until = min(
                last_ping + rules.ping_every_s,
                opened + rules.lifetime_s,
                self.started_at + self._plan.next_seconds(),
            )
            await _wait(grown, until - time.monotonic())

    async def _strike(self, call: Call, fault: Fault, cursor: int, after: dict[str, int]) -> _End:
        match fault.kind:
            case FaultKind.DISCONNECT:
                call.drop()
            case FaultKind.END:
                call.finish(Status.OK)
            case FaultKind.EXPIRED:
                await _expire(call)
            case FaultKind.EXHAUSTED:
                call.finish(Status.RESOURCE_EXHAUSTED, "as asked for by --fault")
            case FaultKind.SILENCE:
                await _wait(self._draining, fault.amount)
                return _End.NOT_YET
            case FaultKind.DUPLICATE:
                for _ in range(int(fault.amount)):
                    await self._repeat(call, 1, cursor, after)
                return _End.NOT_YET
            case _:
                await self._repeat(call, int(fault.amount), cursor, after)
                return _End.NOT_YET
        return _End.STREAM

    async def _repeat(self, call: Call, events: int, cursor: int, after: dict[str, int]) -> None:
        first = min(after.values()) + 1  # what this stream has pushed: nothing before
        messages, number = self._log.messages(max(first, cursor - events), cursor, after)
        await call.write(messages)
        self.counters.event_messages += number
        self.counters.duplicates += number


async def _expire(call: Call) -> None:
    await call.write(_message(SubscribeResponse.SubscribeExpired))
    call.finish(Status.OK)  # assumed


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), max(seconds, 0))
    except TimeoutError:
        return


def _message(kind: SubscribeResponse.Type, payload: str = "") -> bytes:
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return frame(SubscribeResponse(type=kind, timestamp=timestamp, payload=payload).SerializeToString())

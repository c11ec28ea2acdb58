"""The simulated push with its whole log drawn beforehand: what is measured is the bridge, not the drawing.

`python -m bench.push_server COUNT ACCOUNTS APP_KEY APP_SECRET`: prints the port and serves until SIGTERM.
"""

from __future__ import annotations

import asyncio
import math
import signal
import sys

from bench.corpus import SEED
from broker_events.devstack.simulator.access import Access
from broker_events.devstack.simulator.event_log import EventLog
from broker_events.devstack.simulator.faults import FaultPlan
from broker_events.devstack.simulator.http2 import Http2Server
from broker_events.devstack.simulator.service import EventService, StreamRules
from broker_events.devstack.simulator.simulator import BASE_TIME_NS, STEP_NS
from broker_events.devstack.simulator.traffic import Traffic


async def serve(count: int, accounts: int, app_key: str, app_secret: str) -> None:
    """Draw `count` events, then push them to whoever subscribes, as fast as they are taken."""
    log = EventLog(
        Traffic(SEED, accounts),
        seed=SEED,
        clock=lambda sequence: BASE_TIME_NS + sequence * STEP_NS,
        count=count,
        payload_form="inner",
        without_position=False,
        journal=None,
    )
    log.grow(count)
    rules = StreamRules(
        from_newest=False, ping_every_s=30, lifetime_s=math.inf, max_connections=5, end_when_complete=False
    )
    grown = asyncio.Event()

    async def nothing_to_catch_up(_events: int) -> None:
        return

    service = EventService(
        log,
        Access(app_key, app_secret, 300.0),
        rules,
        FaultPlan((), SEED),
        grown=lambda: grown,
        catch_up=nothing_to_catch_up,
    )
    server = Http2Server(service.subscribe)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    port = await server.start("127.0.0.1", 0, None)
    sys.stdout.write(f"listening on 127.0.0.1:{port}\n")
    sys.stdout.flush()
    await stop.wait()
    await server.stop()
    log.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))

"""`python -m broker_events.cli` is `broker-events`."""

from broker_events.cli.entry_point import main

main()

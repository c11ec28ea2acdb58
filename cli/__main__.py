"""`python -m cli` is `broker-events`."""

from cli.main import main

main()

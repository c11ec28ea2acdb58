"""The `broker-events` command, one module a subcommand."""

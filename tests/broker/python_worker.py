"""A worker as it is where native code could not be compiled: `python python_worker.py router --instance-id ID`."""

from broker_events.native import extension

extension.native = None  # type: ignore[assignment]

from broker_events.cli.main import main  # noqa: E402 (only now)

main()

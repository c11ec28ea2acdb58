"""A worker as it is where native code could not be compiled: `python plain_worker.py router --instance-id ID`."""

from schemas import native_code

native_code.native = None  # type: ignore[assignment]

from cli.main import main  # noqa: E402 (only now)

main()

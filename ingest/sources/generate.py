"""Generate the message classes of `event_push.proto`: `python -m broker_events.ingest.sources.generate [--check]`.

--check writes nothing; it ends with exit code 1 and names the files that differ from the generated ones.
"""

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
PROTO = Path("ingest/sources/event_push.proto")
OUTPUTS = tuple(PROTO.with_name(f"event_push{end}") for end in ("_pb2.py", "_pb2.pyi"))


def generate(target: Path) -> None:
    """Write the generated modules below `target`, at their paths in the project."""
    well_known = files("grpc_tools") / "_proto"
    outputs = [f"--{kind}_out={target}" for kind in ("python", "pyi")]
    status: int = protoc.main(["protoc", f"-I{ROOT}", f"-I{well_known}", *outputs, str(ROOT / PROTO)])
    if status:
        raise RuntimeError(f"protoc ended with {status}")
    stub = target / PROTO.with_name("event_push_pb2.pyi")  # protoc leaves out a type argument there
    stub.write_text(f'# mypy: disable-error-code="type-arg"\n{stub.read_text()}')


def drift() -> list[Path]:
    """Return the committed modules that differ from the generated ones."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        return [path for path in OUTPUTS if _content(ROOT / path) != _content(fresh / path)]


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        stale = drift()
        for path in stale:
            sys.stderr.write(
                f"{path}: out of date with {PROTO.name}; run python -m broker_events.ingest.sources.generate\n"
            )
        return 1 if stale else 0
    if arguments:
        sys.stderr.write("usage: python -m broker_events.ingest.sources.generate [--check]\n")
        return 2
    generate(ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Generate the message classes of `event_push.proto`: `python -m broker_events.ingest.sources.generate`."""

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


if __name__ == "__main__":
    generate(ROOT)

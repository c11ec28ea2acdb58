from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

_L = TypeVar("_L")

def parse_json(value: bytes, number: Callable[[str], object]) -> tuple[Any, int] | None: ...

class EventReader(Generic[_L]):
    def __init__(self, routes: Sequence[tuple[str, str, _L, bytes, Any]]) -> None: ...
    def read(self, value: bytes | None) -> tuple[_L, str, bytes, int, bool] | int: ...

class RecordCodec:
    def __init__(self, schema: Any, frame: bytes) -> None: ...  # noqa: ANN401  (any JSON)
    def encode(self, record: object) -> bytes: ...
    def decode(self, value: bytes) -> Any | None: ...  # noqa: ANN401  (any record)

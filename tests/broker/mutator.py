"""Events as nobody should send them: the contracts' samples, changed at random; the same ones for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from broker_events.schemas.catalog import load_catalog

ACCOUNTS: Final = 5000
# Of so many events: one repeats an id, one has no key, one is changed in a way that takes long to read.
REPEATED, KEYLESS, HEAVY = 50, 50, 1000
_RECENT: Final = 500

T = TypeVar("T")

Node = dict[str, Any] | list[Any]
Place = tuple[Node, str | int]

_TEXTS: Final = (
    "",
    " ",
    "\x00",
    "\u202e\u200b\ufeff",
    "e\u0301" * 20,
    "\U0001f4b8" * 5,
    "\ud800",
    "a\udfffb",
    "'; drop table",
    "null",
    "NaN",
    "1e5",
    "0x10",
    "\u0661\u0662",
    "-0",
    "9" * 50,
    "0." + "1" * 19,
    "2026-02-30T09:30:00Z",
    "2026-01-31T24:00:00Z",
    "0000-00-00",
    "x" * 3000,
)
_VALUES: Final = (
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    str(2**63),
    "[]",
    "{}",
    "[[]]",
    "[null]",
    '{"":{}}',
    '["x",1,null]',
)
# Numbers that nobody should write, or that are none.
_NUMBERS: Final = (
    *("1e400", "-1E-400", "-0", "9" * 400, "1" + "0" * 5000, "0." + "3" * 500, str(-(2**200))),
    *("01", "+1", "1.", "NaN", "-Infinity"),
)


def samples(names: str = "*") -> list[bytes]:
    """Sample events that the contracts accept, every one or those of such names."""
    folders = [contract.folder / "samples" / "accept" for contract in load_catalog().events.values()]
    paths = (path for folder in folders for path in sorted(folder.glob(f"{names}.json")))
    return [path.read_bytes() for path in paths if not path.name.endswith(".record.json")]


def texts_of(events: Iterable[bytes]) -> list[str]:
    """JSON texts with a mark in place of the id."""
    return [json.dumps(json.loads(event) | {"id": "@id@"}, ensure_ascii=False) for event in events]


class Mutator:
    """Makes events one after the other; each has an id of its own, but for some that repeat a recent one."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 (repeatable is what it has to be)
        self._texts = texts_of(samples())
        self._usual = texts_of(samples("documented-*"))
        self._recent: list[tuple[bytes | None, bytes]] = []
        self._count = 0

    def good(self, count: int) -> Iterator[tuple[bytes | None, bytes]]:
        """Account key and value of so many events as the broker documents them."""
        for _ in range(count):
            yield self._key(), self._choose(self._usual).replace("@id@", self._new_id()).encode()

    def mutants(self, count: int) -> Iterator[tuple[bytes | None, bytes]]:
        """Account key, or None, and value of so many changed events."""
        for _ in range(count):
            if self._recent and self._one_of(REPEATED):
                yield self._repeated()
                continue
            key = None if self._one_of(KEYLESS) else self._key()
            mutant = key, self._mutant()
            self._recent.append(mutant)
            if len(self._recent) > _RECENT:
                del self._recent[: _RECENT // 2]
            yield mutant

    def _repeated(self) -> tuple[bytes | None, bytes]:
        """The same event again, as it was or with another blank, or another one with its id."""
        key, value = self._choose(self._recent)
        change = self._choose((b'"payload": {', b'"payload" :{', b'"payload": {"other":1,'))
        return key, value.replace(b'"payload": {', change, 1)

    def _mutant(self) -> bytes:
        if self._one_of(HEAVY):
            return self._heavy()
        if self._one_of(3):
            value = bytearray(self._choose(self._texts).replace("@id@", self._new_id()).encode())
            for _ in range(self._random.choice((1, 1, 1, 2, 8))):
                self._choose(_BYTE_CHANGES)(self._random, value)
            return bytes(value)
        event = json.loads(self._choose(self._texts).replace("@id@", self._new_id()))
        literals: list[str] = []
        for _ in range(self._random.choice((1, 1, 1, 2, 5))):
            self._choose(_TREE_CHANGES)(self._random, event, literals)
        text = json.dumps(event, ensure_ascii=self._one_of(2))
        for index, literal in enumerate(literals):
            text = text.replace(f'"@{index}@"', literal)
        return text.encode("utf-8", "surrogatepass")

    def _heavy(self) -> bytes:
        depth = self._random.choice((500, 5000, 50_000))
        deep = self._choose(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth))
        wide = "{" + ",".join(f'"{number}":{number}' for number in range(5000)) + "}"
        inside = self._choose((deep, wide, '"' + "\\u00e9" * 50_000 + '"', "7" * 200_000, '"' + "x" * 1_000_000 + '"'))
        text = self._choose(self._texts).replace("@id@", self._new_id())
        return text.replace('"payload": {', f'"payload": {{"more": {inside}, ', 1).encode()

    def _new_id(self) -> str:
        self._count += 1
        return f"mutant-{self._count}"

    def _key(self) -> bytes:
        return b"ACC-%d" % self._random.randrange(ACCOUNTS)

    def _one_of(self, many: int) -> bool:
        return self._random.random() * many < 1

    def _choose(self, values: Sequence[T]) -> T:
        return values[int(self._random.random() * len(values))]


# -- changes of an event's text, as bytes


def _flip(source: random.Random, value: bytearray) -> None:
    if value:
        value[source.randrange(len(value))] ^= 1 << source.randrange(8)


def _overwrite(source: random.Random, value: bytearray) -> None:
    if value:
        value[source.randrange(len(value))] = source.randrange(256)


def _cut_off(source: random.Random, value: bytearray) -> None:
    del value[source.randrange(len(value) + 1) :]


def _leave_out(source: random.Random, value: bytearray) -> None:
    start = source.randrange(len(value) + 1)
    del value[start : start + source.randrange(1, 30)]


def _insert(source: random.Random, value: bytearray) -> None:
    at = source.randrange(len(value) + 1)
    value[at:at] = source.choice(
        (source.randbytes(4), b'"', b"\\", b"{", b"}]", b",", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf")
    )


def _repeat(source: random.Random, value: bytearray) -> None:
    start = source.randrange(len(value) + 1)
    value[start:start] = value[start : start + source.randrange(1, 60)]


_BYTE_CHANGES: Final[tuple[Callable[[random.Random, bytearray], None], ...]] = (
    _flip,
    _flip,
    _overwrite,
    _cut_off,
    _leave_out,
    _insert,
    _repeat,
)


# -- changes of an event's members


def _places(node: Node) -> Iterator[Place]:
    for name, member in node.items() if isinstance(node, dict) else enumerate(node):
        yield node, name
        if isinstance(member, dict | list):
            yield from _places(member)


def _place(source: random.Random, event: Node) -> tuple[Any, Any]:
    """Where something of the event is; seldom in the envelope, as its members are few."""
    return source.choice([*_places(event)] or [(event, "id")])


def _drop(source: random.Random, event: Node, _: list[str]) -> None:
    node, name = _place(source, event)
    if isinstance(node, list) or name in node:
        del node[name]


def _set(source: random.Random, event: Node, literals: list[str]) -> None:
    _put(_place(source, event), source.choice(_VALUES), literals)


def _number(source: random.Random, event: Node, literals: list[str]) -> None:
    _put(_place(source, event), source.choice(_NUMBERS), literals)


def _twice(source: random.Random, event: Node, literals: list[str]) -> None:
    """Give a member a second value under the same name."""
    node, name = _place(source, event)
    _put((node, name), f'1,"{name}":{source.choice(_VALUES)}', literals)


def _put(place: Place, literal: str, literals: list[str]) -> None:
    """Leave a mark where this JSON text is to be."""
    node, name = place
    node[name] = f"@{len(literals)}@"  # type: ignore[index]
    literals.append(literal)


def _text(source: random.Random, event: Node, _: list[str]) -> None:
    node, name = _place(source, event)
    node[name] = source.choice(_TEXTS)


def _nest(source: random.Random, event: Node, _: list[str]) -> None:
    node, name = _place(source, event)
    inside: Any = node[name] if isinstance(node, list) or name in node else None
    for _level in range(source.randrange(1, 60)):
        inside = [inside] if source.random() < 0.5 else {"a": inside}
    node[name] = inside


def _add(source: random.Random, event: Node, literals: list[str]) -> None:
    node, _ = _place(source, event)
    if isinstance(node, dict):
        _put((node, source.choice(_TEXTS)), source.choice(_VALUES), literals)


def _rename(source: random.Random, event: Node, _: list[str]) -> None:
    node, name = _place(source, event)
    if isinstance(node, dict) and name in node:
        node[source.choice((name.upper(), name + "_", "payload", "id", "amount"))] = node.pop(name)


def _type(source: random.Random, event: Any, _: list[str]) -> None:
    if isinstance(event.get("payload"), dict):
        event["payload"]["biz_type"] = source.choice(
            ("NO_SUCH_TYPE", "credit", "TRANSFER", "ACCOUNT_UPDATE", "", "CREDIT\x00")
        )
    event["event_type"] = source.choice(("FUNDING", "ACCOUNT", "TRADE", "account", ""))


_TREE_CHANGES: Final[tuple[Callable[[random.Random, Any, list[str]], None], ...]] = (
    _drop,
    _drop,
    _set,
    _set,
    _text,
    _number,
    _twice,
    _nest,
    _add,
    _rename,
    _type,
)

"""Python source of one function that turns the envelopes of one event type into Avro bytes.

Straight code instead of an interpreter of schemas: each field is a dict lookup, an encode and two pieces of one join.
The function raises for all that is not plain sailing: a wrong type, an alternative that says something else, an unknown
member in an array's item.
"""

from schemas.event_plan import FieldPlan, Holder, Kind, RecordPlan

_HOLDERS = {Holder.ENVELOPE: "event", Holder.PAYLOAD: "payload"}
_PIECE = {
    Kind.BOOLEAN: "boolean({})",
    Kind.INT: "integer({}, 31)",
    Kind.LONG: "integer({}, 63)",
    Kind.TIME: "time({})",
    Kind.AMOUNT: "AMOUNTS[{}]",
    Kind.STRINGS: "strings({})",
}


def encoder_source(plan: RecordPlan) -> str:
    """Source of `encode(event: dict, value: bytes) -> bytes`, which returns header and body.

    It expects the names of `schemas.avro_pieces` around it, `HEADER`, the bytes to begin with, and
    `recount(value, members)`, called if the text may have more members than `members`, those that the parser found. A
    text without repeated keys has a colon for each member, two for each time, and maybe more in other strings.
    """
    writer = _Writer()
    pieces = writer.record(plan, item=None)
    writer.constant("ENVELOPE", plan.known[Holder.ENVELOPE])
    writer.constant("PAYLOAD", plan.known[Holder.PAYLOAD])
    writer.line("if ENVELOPE.issuperset(event) and PAYLOAD.issuperset(payload):")
    writer.line("    rest = NULL")
    writer.line("else:")
    writer.line('    unknown = [("", name, member) for name, member in event.items() if name not in ENVELOPE]')
    writer.line(
        '    unknown += [("/payload", name, member) for name, member in payload.items() if name not in PAYLOAD]'
    )
    writer.line("    rest = extra(unknown, value)")
    writer.line(f"record = b''.join((HEADER, {', '.join(pieces)}, rest))")
    writer.line(f"if value.count({ord(':')}) != members + time_colons:")
    writer.line("    recount(value, members)")
    writer.line("return record")
    head = [
        "def encode(event, value):",
        '    payload = event["payload"]',
        "    members = len(event) + len(payload)",
        "    time_colons = 0",
    ]
    return "\n".join([*writer.constants, *head, *writer.lines, ""])


class _Writer:
    """Collects lines; `record` and `field` return the expressions of the pieces that their lines compute."""

    def __init__(self) -> None:
        self.constants: list[str] = []
        self.lines: list[str] = []
        self._indent = 1
        self._names = 0

    def line(self, text: str) -> None:
        self.lines.append("    " * self._indent + text)

    def constant(self, name: str, members: frozenset[str]) -> None:
        self.constants.append(f"{name} = frozenset({sorted(members)!r})")

    def record(self, plan: RecordPlan, item: str | None) -> list[str]:
        """`item`: the variable that holds the array's item, None for the event."""
        read: dict[tuple[str, ...], str] = {}
        pieces = []
        for field in plan.fields:
            pointers = tuple(source.pointer for source in field.sources)
            if pointers not in read:
                read[pointers] = self._read(field, item)
            pieces += self._field(field, read[pointers])
        return pieces

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"

    def _read(self, field: FieldPlan, item: str | None) -> str:
        name = self._name("json")
        first, *others = (f"{item or _HOLDERS[source.holder]}.get({source.member!r})" for source in field.sources)
        if not others and not field.nullable:
            source = field.sources[0]
            first = f"{item or _HOLDERS[source.holder]}[{source.member!r}]"
        self.line(f"{name} = {first}")
        for get in others:
            other = self._name("json")
            self.line(f"{other} = {get}")
            self.line(f"if {name} is None:")
            self.line(f"    {name} = {other}")
            differs = f" and {other} != {name}" if field.kind is Kind.STRING else ""
            self.line(f"elif {other} is not None{differs}:")
            self.line("    raise ValueError")
        return name

    def _field(self, field: FieldPlan, json: str) -> list[str]:
        if not field.nullable:
            return self._value(field, json, some=False)
        tag, body = self._name("tag"), self._name("body")
        self.line(f"if {json} is None:")
        self.line(f"    {tag}, {body} = NULL, b''")
        self.line("else:")
        self._indent += 1
        self.line(f"{tag}, {body} = {', '.join(self._value(field, json, some=True))}")
        self._indent -= 1
        return [tag, body]

    def _value(self, field: FieldPlan, json: str, *, some: bool) -> list[str]:
        if field.kind is Kind.STRING:
            text = self._name("text")
            self.line(f"{text} = {json}.encode()")
            if field.is_event_id:
                self.line(f"if not {text}:")
                self.line("    raise ValueError")
            return [f"{'SOME_LENGTH' if some else 'LENGTH'}[len({text})]", text]
        if field.kind is Kind.TIME:
            self.line("time_colons += 2")
        piece = self._records(field, json) if field.kind is Kind.RECORDS else _PIECE[field.kind].format(json)
        return ["SOME", piece] if some else [piece]

    def _records(self, field: FieldPlan, json: str) -> str:
        if field.items is None:
            raise ValueError(f"{field.name} has no items")
        item, known, collected = self._name("item"), self._name("KNOWN"), self._name("pieces")
        self.constant(known, field.items.known[Holder.ITEM])
        self.line(f"if type({json}) is not list:")
        self.line("    raise TypeError")
        self.line(f"{collected} = [LENGTH[len({json})]]")
        self.line(f"for {item} in {json}:")
        self._indent += 1
        self.line(f"if not {known}.issuperset({item}):")
        self.line("    raise LookupError")
        self.line(f"members += len({item})")
        pieces = self.record(field.items, item)
        self.line(f"{collected} += ({', '.join(pieces)},)")
        self._indent -= 1
        return f"b''.join({collected}) + NULL if {json} else NULL"

"""From an event as pushed (JSON) to a record of its contract (Avro, Confluent wire format).

Two ways to the same bytes. The fast one is a function generated from the schema; it gives up on anything unusual. The
plain one reads the bytes anew with exact numbers and either finds a record after all or says what is wrong, and where.
"""

import io
import struct
from collections.abc import Callable
from typing import Any

import fastavro

from schemas import avro_pieces, exact_json
from schemas.catalog import Contract
from schemas.encoder_source import encoder_source
from schemas.envelope import check_envelope
from schemas.event_plan import plan_event
from schemas.plain import read_record
from schemas.storage_schema import storage_schema


class Transcoder:
    """Encodes the events of one contract.

    `duplicate_keys`: how many members of events were hidden so far by a later one of the same name.
    """

    def __init__(self, contract: Contract, schema_id: int) -> None:
        """Compile the contract's encoder. `schema_id`: the registry's, 32 bits, unsigned.

        Raises `ContractError` for a schema that events cannot have.
        """
        self.duplicate_keys = 0
        self._plan = plan_event(contract)
        self._schema = fastavro.parse_schema(storage_schema(contract.schema))
        self._header = struct.pack(">bI", 0, schema_id)
        self._encode = self._compile(f"<encoder of {contract.name}>")

    def encode(self, event: dict[str, Any], value: bytes) -> bytes:
        """Return the record's bytes: a zero, the schema id, the Avro body.

        `event`: what `parse_event` made of `value`; `value`: the envelope's JSON text.
        Raises `InvalidEvent` if the event does not fit the contract.
        """
        try:
            return self._encode(event, value)
        except Exception:  # noqa: BLE001  (whatever it is, the plain way finds out)
            return self._encode_plainly(value)

    def _encode_plainly(self, value: bytes) -> bytes:
        document = exact_json.parse(value)
        self.duplicate_keys += document.duplicate_keys
        record = read_record(self._plan, check_envelope(document.root))
        body = io.BytesIO()
        body.write(self._header)
        fastavro.schemaless_writer(body, self._schema, record)
        return body.getvalue()

    def _recount(self, value: bytes, members: int) -> None:
        """Count repeated keys, if the text still looks like other than the `members` that the parser found."""
        if value.count(b'":') != members:
            self.duplicate_keys += exact_json.parse(value).duplicate_keys

    def _compile(self, name: str) -> Callable[[dict[str, Any], bytes], bytes]:
        namespace: dict[str, Any] = {
            **vars(avro_pieces),
            "HEADER": self._header,
            "recount": self._recount,
        }
        code = compile(encoder_source(self._plan), name, "exec")
        exec(code, namespace)  # noqa: S102  (the source comes from a checked schema; names in it are quoted by repr)
        encode: Callable[[dict[str, Any], bytes], bytes] = namespace["encode"]
        return encode

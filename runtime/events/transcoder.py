"""Python path from a pushed event (JSON) to a record of its contract (Avro, Confluent wire format).

It reads numbers exactly and returns a record or raises an error that names the problem and its place.
`runtime.events.event_reader` returns the same bytes faster and declines unusual events, which come here.
"""

import io

import fastavro

from broker_events.runtime.events.event_plan import plan_event
from broker_events.runtime.events.field_reader import read_record
from broker_events.runtime.events.lossless_json import Document
from broker_events.runtime.events.pushed_event import parse_event
from broker_events.schemas.catalog import Contract
from broker_events.schemas.frame import frame
from broker_events.schemas.storage_schema import storage_schema


class Transcoder:
    """Encodes the events of one contract.

    `duplicate_keys`: number of repeated members that a later member of the same name has overwritten so far.
    """

    def __init__(self, contract: Contract, schema_id: int) -> None:
        """`schema_id`: id in the registry, 32 bits, unsigned.

        Raises `ContractError` for a schema that events do not support.
        """
        self.duplicate_keys = 0
        self._plan = plan_event(contract)
        self._schema = fastavro.parse_schema(storage_schema(contract.schema))
        self._frame = frame(schema_id)

    def encode(self, value: bytes) -> bytes:
        """Return the framed record (`schemas.frame`). `value`: the envelope's JSON text.

        Raises `InvalidEvent` if the event violates the contract.
        """
        return self.encode_event(parse_event(value))

    def encode_event(self, event: Document, right: int = 0) -> bytes:
        """Encode an event that `parse_event` has parsed; `right` as in `field_reader.read_record`."""
        self.duplicate_keys += event.duplicate_keys
        record = read_record(self._plan, event.root, right)
        body = io.BytesIO()
        body.write(self._frame)
        fastavro.schemaless_writer(body, self._schema, record)
        return body.getvalue()

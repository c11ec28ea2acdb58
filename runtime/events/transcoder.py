"""From an event as pushed (JSON) to a record of its contract (Avro, Confluent wire format): the plain way.

It reads the text with exact numbers and either finds a record or says what is wrong, and where.
`runtime.events.event_reader` makes the same bytes faster, and leaves to this whatever is unusual.
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

    `duplicate_keys`: how many members of events were hidden so far by a later one of the same name.
    """

    def __init__(self, contract: Contract, schema_id: int) -> None:
        """Plan the contract's events. `schema_id`: the registry's, 32 bits, unsigned.

        Raises `ContractError` for a schema that events cannot have.
        """
        self.duplicate_keys = 0
        self._plan = plan_event(contract)
        self._schema = fastavro.parse_schema(storage_schema(contract.schema))
        self._frame = frame(schema_id)

    def encode(self, value: bytes) -> bytes:
        """Return the record's bytes: a zero, the schema id, the Avro body. `value`: the envelope's JSON text.

        Raises `InvalidEvent` if the event does not fit the contract.
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

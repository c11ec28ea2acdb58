"""Check an installed wheel: `python -I tests/wheel.py native|python`, run by the interpreter it is installed for.

Encodes and decodes a record of every schema. Fails if the wheel lacks the native code that its tag promises.
"""

import sys
from typing import Any

import fastavro
from fastavro.utils import generate_one

from broker_events.native.extension import native
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.codec import Codec, EventDecoder
from broker_events.schemas.storage_schema import storage_schema

if (native is not None) != (sys.argv[1] == "native"):
    sys.exit(f"expected a wheel with {sys.argv[1]} code, found native code: {native}")
schemas = [contract for contract, _ in load_catalog().topics.values() if contract.schema is not None]
for contract in schemas:
    codec: Codec[Any] = Codec(contract, 1)
    record = generate_one(fastavro.parse_schema(storage_schema(contract.schema)))
    if codec.decode(codec.encode(record)) != record:
        sys.exit(f"{contract.name}: a record differs after encoding and decoding")
sys.stdout.write(f"{EventDecoder.__name__} and {len(schemas)} schemas, {sys.argv[1]} code\n")

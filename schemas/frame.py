"""The Confluent wire format: byte 0, the schema id (4 bytes, big-endian), the Avro body."""

FRAME_BYTES = 5


def frame(schema_id: int) -> bytes:
    """Return the five bytes before the body of a record."""
    return b"\x00" + schema_id.to_bytes(4, "big")

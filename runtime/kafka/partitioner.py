"""The partitioner of Kafka's Java clients (murmur2), as `runtime.kafka.clients` configures it. Pure."""

from __future__ import annotations


def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition number of a key, for a topic with this partition count."""
    return murmur2(key) % partitions


def murmur2(key: bytes) -> int:
    """Return Kafka's hash of a key, with the sign bit cleared."""
    length = len(key)
    value = 0x9747B28C ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        word = int.from_bytes(key[start : start + 4], "little") * 0x5BD1E995 & 0xFFFFFFFF
        word = (word ^ word >> 24) * 0x5BD1E995 & 0xFFFFFFFF
        value = value * 0x5BD1E995 & 0xFFFFFFFF ^ word
    if whole < length:
        value = (value ^ int.from_bytes(key[whole:], "little")) * 0x5BD1E995 & 0xFFFFFFFF
    value = (value ^ value >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return (value ^ value >> 15) & 0x7FFFFFFF

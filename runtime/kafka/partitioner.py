"""Where a key's records are: the partitioner of Kafka's own clients (murmur2), as `runtime.kafka` sets it. Pure."""

from __future__ import annotations


def partition_for(key: bytes, partitions: int) -> int:
    """Number of the partition, of so many, that records of this key go to."""
    return murmur2(key) % partitions


def murmur2(key: bytes) -> int:
    """Hash of a key as Kafka's clients partition by, its sign bit cleared."""
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

"""The partitioner against the vectors of Kafka's own test of it."""

from __future__ import annotations

import pytest

from broker_events.runtime.kafka.partitioner import murmur2, partition_for

# org.apache.kafka.common.utils.UtilsTest, testMurmur2
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "expected"), VECTORS.items())
def test_vectors(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0x7FFFFFFF


def test_a_partition_is_the_positive_hash_modulo_the_count() -> None:
    assert partition_for(b"21", 8) == (-973932308 & 0x7FFFFFFF) % 8

"""The fast way between JSON, Python and Avro, where it was compiled (docs/adr/0007-native-reading.md)."""

try:
    from broker_events.native import _native as native
except ImportError:  # installed without a compiler: everything goes the plain way
    native = None  # type: ignore[assignment]

__all__ = ["native"]

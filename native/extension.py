"""The only import of the native extension; `native` is None without it (docs/adr/0020-native-and-python-twins.md)."""

try:
    from broker_events.native import _native as native
except ImportError:  # installed without a Rust compiler: the Python twins do all the work
    native = None  # type: ignore[assignment]

__all__ = ["native"]

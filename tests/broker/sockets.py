"""Where a process listens, as the kernel says."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LISTEN = "0A"
_WORD = 8  # hexadecimal digits of 32 bits, which the kernel writes in the machine's (little-endian) order


def listening_addresses(pid: int) -> set[str]:
    """Return the local addresses of a process's listening TCP sockets; IPv6-mapped ones as IPv4.

    None of a process that has just ended.
    """
    try:
        return set(_listening(pid))
    except FileNotFoundError:
        return set()


def _listening(pid: int) -> Iterator[str]:
    sockets = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in sockets:
                yield _readable(fields[1].split(":")[0])


def _readable(kernels: str) -> str:
    words = (bytes.fromhex(kernels[at : at + _WORD])[::-1] for at in range(0, len(kernels), _WORD))
    address = ipaddress.ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)

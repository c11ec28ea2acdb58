"""Parses and formats network addresses."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Final
from urllib.parse import urlsplit

# Schemes before an address in a gRPC target (gRPC Name Resolution).
_RESOLVER: Final = re.compile(r"^(?:dns:(?://[^/]*/)?|ipv4:|ipv6:)")

# An address of librdkafka's bootstrap.servers: it accepts a protocol in front, and takes 9092 for the port.
_SERVER: Final = re.compile(
    r"(?:(?:PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)://)?"
    r"(?:[^\s:/,\[\]]+|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_MAX_PORT: Final = 65_535


def are_bootstrap_servers(text: str) -> bool:
    """Return whether librdkafka can read every address of this comma-separated list, and there is one."""
    servers = [_SERVER.fullmatch(part.strip()) for part in text.split(",") if part.strip()]
    return bool(servers) and all(found is not None and int(found["port"] or 1) <= _MAX_PORT for found in servers)


def host_port(host: str, port: int) -> str:
    """Return `host:port`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: str) -> bool:
    """Return whether a URL or gRPC target names this machine: localhost, 127.0.0.0/8 or ::1."""
    address = _RESOLVER.sub("", address)
    host = ""
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def listening_socket(host: str, port: int, backlog: int) -> socket.socket:
    """Listen on the address of a host name, IPv4 if it has one. `::` includes IPv4 if the system allows it."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    is_dual = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(address, family=family, backlog=backlog, dualstack_ipv6=is_dual)

"""Network addresses as people write them."""

from __future__ import annotations


def host_port(host: str, port: int) -> str:
    """`host:port`; an IPv6 address is put in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

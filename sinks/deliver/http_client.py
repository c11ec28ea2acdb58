"""Requests to receivers: bounded in time and size, to allowed addresses only, without redirects and proxies."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from broker_events.runtime.process.addresses import is_loopback
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.sinks.deliver.receivers import Receiver
from broker_events.sinks.deliver.retry_rule import Answer

ANSWER_BYTES: Final = 4096
_LINE_BYTES: Final = 8190

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(OSError):
    """The receiver's name resolves to an address that no receiver may have."""


class ReceiverClient:
    """Posts to one receiver, over at most `max_in_flight` connections. Use it in one event loop.

    The address is checked where the connection is made, after the name is resolved: a name that resolves to another
    address later (DNS rebinding) is refused then. Keeps no cookies, follows no redirect, reads no proxy variable.
    """

    def __init__(self, receiver: Receiver) -> None:
        """Raises OperatorActionRequired if `ca_file` holds no certificates."""
        try:
            tls = ssl.create_default_context(cafile=receiver.ca_file)
        except ssl.SSLError:
            raise OperatorActionRequired(f"receiver {receiver.name}: ca_file: holds no PEM certificates") from None
        is_own = all(map(is_loopback, receiver.addresses()))
        self._headers = {"User-Agent": f"broker-events/{version('broker-events')}"}
        if (authorization := receiver.authorization()) is not None:
            self._headers["Authorization"] = authorization
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=receiver.max_in_flight,
                ssl=tls,
                use_dns_cache=False,
                resolver=aiohttp.ThreadedResolver(),
                socket_factory=lambda found: _socket(found, is_own=is_own, private=receiver.private),
            ),
            timeout=aiohttp.ClientTimeout(total=receiver.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=_LINE_BYTES,
            max_field_size=_LINE_BYTES,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send one request. Every failure is an Answer; no text in it has the URL."""
        try:
            async with self._session.post(
                URL(url, encoded=True), data=body, headers={**self._headers, **headers}, allow_redirects=False
            ) as response:
                content = await _beginning(response)
                return Answer(response.status, content, _retry_after_s(response.headers.get("Retry-After")))
        except AddressRefused as error:
            return Answer(problem=str(error), connected=False)
        except TimeoutError:
            return Answer(problem="no complete answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(problem=_reason(error), connected=not isinstance(error, aiohttp.ClientConnectorError))


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """Return at most 4 KB of the body. The connection of a longer one is closed, not read."""
    content = b""
    while len(content) < ANSWER_BYTES:
        part = await response.content.read(ANSWER_BYTES - len(content))
        if not part:
            break
        content += part
    if not response.content.at_eof():
        response.close()
    return content.decode("utf-8", "replace")


def _socket(found: aiohttp.AddrInfoType, *, is_own: bool, private: bool) -> socket.socket:
    family, kind, protocol, _, address = found
    problem = refused_address(str(address[0]), is_own=is_own, private=private)
    if problem is not None:
        raise AddressRefused(problem)
    return socket.socket(family, kind, protocol)


def refused_address(text: str, *, is_own: bool, private: bool) -> str | None:
    """Return why a receiver may not have this IP address, or None.

    `is_own`: its URL names this machine. `private`: it may be inside this network.
    """
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if embedded is not None:
            address = embedded
        elif address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if is_own:
        return None if address.is_loopback else "the name of this machine resolves to another one"
    if address.is_loopback or address.is_unspecified:
        return "the address is of this machine"
    if address.is_link_local or address.is_multicast:
        return "the address is link-local or multicast"
    if not address.is_global and not private:
        return "the address is private: set private = true if the receiver is inside this network"
    return None


_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def _retry_after_s(text: str | None) -> float | None:
    """Return seconds of a Retry-After header: a number, or a date (RFC 9110); None if there is none."""
    if text is None:
        return None
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
        return max((at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0)
    except (ValueError, TypeError, OverflowError):  # OverflowError: a time zone or year out of range
        return None


def _reason(error: Exception) -> str:
    """Return a short reason without the URL, which the texts of most errors have."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    match cause:
        case ssl.SSLCertVerificationError():
            return f"TLS: {cause.verify_message}"
        case ssl.SSLError():
            return f"TLS: {cause.reason or 'handshake failed'}"
        case AddressRefused():
            return str(cause)
        case OSError() if cause.strerror:
            return str(cause.strerror)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed without an answer"
    return type(error).__name__

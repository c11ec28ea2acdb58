"""Who may see what: roles, tokens from a file, and the headers of an OIDC proxy."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from broker_events.runtime.process.addresses import is_loopback
from broker_events.runtime.process.errors import OperatorActionRequired
from broker_events.runtime.settings import PREFIX, Settings

log = logging.getLogger(__name__)

Role = Literal["viewer", "investigator", "operator"]
ROLES: Final[tuple[Role, ...]] = ("viewer", "investigator", "operator")
"""From the least to the most rights. A viewer reads masked records, an investigator whole ones, an operator acts."""

SESSION_S: Final = 12 * 3600
_SESSIONS: Final = 10_000
_LINE: Final = re.compile(r"([A-Za-z0-9@._-]{1,100}) (viewer|investigator|operator) sha256:([0-9a-f]{64})")
_MARK: Final = "bec_"  # so that scanners for leaked secrets know it
_TOKEN_BYTES: Final = 32


class User(NamedTuple):
    """A person or program. `session`: what a CSRF token is bound to."""

    name: str
    role: Role
    session: str = ""

    @property
    def sees_personal(self) -> bool:
        return self.role != "viewer"


class Token(NamedTuple):
    """A line of the tokens file."""

    name: str
    role: Role
    digest: str


def new_token(name: str, role: Role) -> tuple[str, str]:
    """Return a new random token, and its line for the tokens file, which has only the hash."""
    token = _MARK + secrets.token_urlsafe(_TOKEN_BYTES)
    return token, f"{name} {role} sha256:{_digest(token)}"


class Tokens:
    """The tokens file: `NAME ROLE sha256:HEX` per line, # begins a comment. A change counts at the next request."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises OperatorActionRequired with the number of the first invalid line."""
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._tokens: dict[str, Token] = {}
        self._load()

    def find(self, token: str) -> Token | None:
        """Return the line of a token."""
        return self.of_digest(_digest(token))

    def of_digest(self, digest: str) -> Token | None:
        """Return the line with this hash, None if it was removed."""
        try:
            self._load()
        except OperatorActionRequired as error:
            log.warning("%s; the tokens that were read before still count", error)
        return self._tokens.get(digest)

    def _load(self) -> None:
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_size) == self._read_at:
                return
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorActionRequired(f"{PREFIX}CONSOLE_TOKENS: {self._path}: {error}") from None
        found: dict[str, Token] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise OperatorActionRequired(
                    f"{PREFIX}CONSOLE_TOKENS: {self._path}, line {number}: is not `NAME ROLE sha256:HEX`; "
                    "`broker-events console token` prints such a line"
                )
            role: Role = match[2]  # type: ignore[assignment]  # one of the three, by the pattern
            found[match[3]] = Token(match[1], role, match[3])
        self._tokens, self._read_at = found, (stat.st_mtime_ns, stat.st_size)


class Access:
    """Finds the user of a request. Sessions are in memory: a restart of the console ends them."""

    def __init__(self, settings: Settings) -> None:
        """Raises OperatorActionRequired where another machine could look without a token."""
        self._settings = settings
        self.tokens = None if settings.console_tokens is None else Tokens(settings.console_tokens)
        self._proxies = [_network(text) for text in settings.console_proxy_addresses]
        self.is_open = self.tokens is None and not self._proxies
        """Whether everybody who reaches the address may look: on loopback only."""
        if self.is_open and not is_loopback(settings.console_host):
            raise OperatorActionRequired(
                f"{PREFIX}CONSOLE_HOST: {settings.console_host} is reachable from other machines. Set "
                f"{PREFIX}CONSOLE_TOKENS or {PREFIX}CONSOLE_PROXY_ADDRESSES first, or use 127.0.0.1"
            )
        self._sessions: dict[str, tuple[str, float]] = {}  # id -> hash of its token, and its end
        self._secret = secrets.token_bytes(32)

    def user(self, address: str, headers: Mapping[str, str], session: str | None) -> User | None:
        """Return the user of a request from this address; None if it must log in.

        `headers`: by any case. `session`: the value of its cookie.
        """
        if self.is_open:
            return User("local", "operator", "local")
        if (scheme := headers.get("authorization", "").partition(" "))[0].lower() == "bearer":
            token = None if self.tokens is None else self.tokens.find(scheme[2].strip())
            return None if token is None else User(token.name, token.role)
        if session is not None and (user := self._of_session(session)) is not None:
            return user
        return self._of_proxy(address, headers)

    def log_in(self, token: str) -> str | None:
        """Return the id of a new session for a valid token."""
        found = None if self.tokens is None else self.tokens.find(token.strip())
        if found is None:
            return None
        now = time.monotonic()
        self._sessions = {name: held for name, held in self._sessions.items() if held[1] > now}
        while len(self._sessions) >= _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = secrets.token_urlsafe(_TOKEN_BYTES)
        self._sessions[session] = (found.digest, now + SESSION_S)
        return session

    def log_out(self, session: str) -> None:
        self._sessions.pop(session, None)

    def csrf(self, user: User) -> str:
        """Return what a form of this user must send back."""
        return hmac.digest(self._secret, f"{user.name}\n{user.session}".encode(), hashlib.sha256).hex()

    def is_own_form(self, user: User, sent: str) -> bool:
        return hmac.compare_digest(self.csrf(user), sent)

    def _of_session(self, session: str) -> User | None:
        digest, ends = self._sessions.get(session, ("", 0.0))
        token = None if self.tokens is None or ends <= time.monotonic() else self.tokens.of_digest(digest)
        return None if token is None else User(token.name, token.role, session)

    def _of_proxy(self, address: str, headers: Mapping[str, str]) -> User | None:
        try:
            client = ipaddress.ip_address(address)
        except ValueError:
            return None
        name = headers.get(self._settings.console_proxy_user_header.lower(), "")
        if not name or not any(client in network for network in self._proxies):
            return None
        groups = headers.get(self._settings.console_proxy_groups_header.lower(), "").split(",")
        roles = self._settings.console_proxy_roles
        held = [roles[group.strip()] for group in groups if group.strip() in roles]
        return User(name, max(held, key=ROLES.index), f"proxy {name}") if held else None


def is_allowed_host(settings: Settings, host: str, *, is_open: bool) -> bool:
    """Say whether a request's Host header names this console.

    Without it, a page of another site could have its own name resolve to this address (DNS rebinding) and read answers.
    """
    name = host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    if name.lower() in {each.lower() for each in settings.console_names}:
        return True
    return is_loopback(name) if is_open or not settings.console_names else False


def _digest(token: str) -> str:
    """Hash a token. It has 256 random bits, so a fast hash can't be reversed by guessing."""
    return hashlib.sha256(token.encode()).hexdigest()


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise OperatorActionRequired(f"{PREFIX}CONSOLE_PROXY_ADDRESSES: {error}") from None

"""Removes user and password from URLs, so that no message shows them."""

import re
from urllib.parse import unquote, urlsplit

# Match up to the last @ before a space or quote: an unescaped password may contain any other character.
_USERINFO = re.compile(r"""//[^\s"'<>]*@""")


def without_userinfo(text: str) -> str:
    """Return `text` with user and password removed from every URL in it."""
    return _USERINFO.sub("//", text) if "@" in text else text


def split_userinfo(url: str) -> tuple[str, str | None]:
    """Split `http://user:password@host/path` into `http://host/path` and `user:password` (None if absent).

    Raises `ValueError`, which never quotes the URL, unless it is a valid http or https URL.
    """
    try:
        parts = urlsplit(url)
        userinfo, at, host = parts.netloc.rpartition("@")
        rest = parts._replace(netloc=host).geturl()
        valid = parts.scheme in ("http", "https") and bool(parts.hostname and parts.port != 0) and "@" not in rest
    except ValueError:  # it may quote the password, so it must not become the context of another error
        valid = False
    if not valid:
        raise ValueError("must be http://host:port or https://host:port; percent-encode / ? # @ in a password")
    return rest, unquote(userinfo) if at else None

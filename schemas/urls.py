"""URLs and the user and password that they may carry, which no message shows."""

import re
from urllib.parse import unquote, urlsplit

# Up to the last @ before a blank or a quote: a password that was pasted in may hold any other character.
_USERINFO = re.compile(r"""//[^\s"'<>]*@""")


def without_userinfo(text: str) -> str:
    """Return `text` without user and password of every URL in it."""
    return _USERINFO.sub("//", text) if "@" in text else text


def split_userinfo(url: str) -> tuple[str, str | None]:
    """Split `http://user:password@host/path` into `http://host/path` and `user:password`, None without one.

    Raises `ValueError`, which quotes nothing of it, for what is no http or https URL.
    """
    try:
        parts = urlsplit(url)
        userinfo, at, host = parts.netloc.rpartition("@")
        rest = parts._replace(netloc=host).geturl()
        valid = parts.scheme in ("http", "https") and bool(parts.hostname and parts.port != 0) and "@" not in rest
    except ValueError:  # its text may quote the password, so it must not become the context of another error
        valid = False
    if not valid:
        raise ValueError("must be http://host:port or https://host:port; percent-encode / ? # @ in a password")
    return rest, unquote(userinfo) if at else None

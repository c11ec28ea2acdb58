"""Who runs a command, for what it writes about it."""

from __future__ import annotations

import os
import pwd
import socket


def operator() -> str:
    """OS user and host, as `user@host`; the user's number where the machine has no name for it."""
    number = os.getuid()
    try:
        user = pwd.getpwuid(number).pw_name
    except KeyError:
        user = str(number)
    return f"{user}@{socket.gethostname()}"

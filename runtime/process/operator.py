"""The user that runs a command, for audit records."""

from __future__ import annotations

import os
import pwd
import socket


def operator() -> str:
    """OS user and host, as `user@host`; the numeric user id if it has no name."""
    number = os.getuid()
    try:
        user = pwd.getpwuid(number).pw_name
    except KeyError:
        user = str(number)
    return f"{user}@{socket.gethostname()}"

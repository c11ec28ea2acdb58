"""HTTP to this machine's own processes, whatever proxies the environment names."""

from typing import Final
from urllib.request import ProxyHandler, build_opener

open_local: Final = build_opener(ProxyHandler({})).open

"""Take the screenshots of the console's pages: `make screenshots`.

It reads a console that runs, by default that of `make demo`: `python docs/images/record_console.py [ADDRESS]`.
"""

from __future__ import annotations

import json
import shutil
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import sync_playwright

IMAGES: Final = Path(__file__).parent
ADDRESS: Final = "http://127.0.0.1:8420"
SIZE: Final = {"width": 1280, "height": 860}


def paths(address: str) -> dict[str, str]:
    """Return the pages by name; they are those of a transfer that was returned."""
    with urllib.request.urlopen(f"{address}/api/v1/alerts?rule=TRANSFER_RETURNED&limit=1") as answer:  # noqa: S310
        newest: list[dict[str, Any]] = json.load(answer)["alerts"]
    if not newest:
        sys.exit("no transfer was returned yet: wait some seconds")
    alert = newest[0]
    return {
        "overview": "/",
        "event": f"/events/{alert['alert']['event_id']}",
        "account": f"/accounts/{alert['account_ref']}",
    }


def main(address: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium: not found. Install it, on Debian with: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(viewport=SIZE, color_scheme="light").new_page()  # type: ignore[arg-type]
        for name, path in paths(address).items():
            page.goto(address + path, wait_until="load")
            page.screenshot(path=IMAGES / f"console-{name}.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ADDRESS)

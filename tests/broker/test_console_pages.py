"""The console's pages in a real Chromium: accessibility, both themes, two widths, keyboard, no script and no error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import chromium
from console_process import Client, ConsoleProcess
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, envelope, eventually
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, sync_playwright

ACCOUNT = "ACC-1234567"
WIDTHS = (360, 2560)
THEMES = ("light", "dark")
SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def restricted(event_id: str, account: str, *codes: str) -> bytes:
    payload = {"account_id": account, "account_number": "N1", "biz_type": "ACCOUNT_UPDATE", "restrictions": codes}
    return envelope(event_id, "ACCOUNT", payload)


def transfer(event_id: str, status: str) -> bytes:
    members = {"account_id": ACCOUNT, "biz_type": "TRANSFER", "client_request_id": "req-1", "transfer_id": "T-1"}
    members |= {"amount": "51844.86", "currency": "USD", "direction": "DEPOSIT", "status": status, "reason": SCRIPT}
    return envelope(event_id, "FUNDING", members)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def console(
    cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> Iterator[ConsoleProcess]:
    assert browser.is_connected()  # before a pipeline is made for nothing
    folder = tmp_path_factory.mktemp("console-pages")
    pipeline = Pipeline(cluster, f"test-{uuid4().hex[:12]}", folder, partitions=2).made()
    with pipeline.worker("router"), pipeline.worker("projector"):
        pipeline.produce("raw", restricted("r1", ACCOUNT, "HK_STOCK_LIQUIDATE_ONLY"), ACCOUNT)
        pipeline.produce("raw", transfer("t1", "COMPLETED"), ACCOUNT)
        pipeline.produce("raw", transfer("t2", "RETURNED"), ACCOUNT)
        pipeline.produce("raw", b'{"broken": ' + SCRIPT.encode(), ACCOUNT)
        pipeline.wait_for("alerts", 2)
        pipeline.wait_for("quarantine", 1)
        with ConsoleProcess(pipeline, folder, console_actions="true") as running:
            yield running.wait_current()


@pytest.fixture(scope="module")
def client(console: ConsoleProcess) -> Client:
    return Client(console.address)


@pytest.fixture(scope="module")
def pages(client: Client) -> dict[str, str]:
    """Return the path of each kind of page."""
    returned = next(a for a in client.api("/alerts")["alerts"] if a["alert"]["rule"] == "TRANSFER_RETURNED")
    rejected = client.api("/quarantine")["records"][0]["id"]
    return {
        "overview": "/",
        "account": f"/accounts/{ACCOUNT}",
        "movement": "/movements/req-1",
        "event": "/events/t2",
        "alerts": "/alerts",
        "active": "/alerts?show=active",
        "alert": f"/alerts/{returned['alert']['alert_id']}",
        "quarantine": "/quarantine",
        "quarantined": f"/quarantine/{rejected}",
        "contracts": "/contracts",
        "contract": "/contracts/event.transfer",
        "search": "/search?q=nothing-has-this",
        "missing": "/accounts/nobody",
    }


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_accessible_and_fits(
    browser: Browser, console: ConsoleProcess, pages: dict[str, str], theme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url.split("/")[2]))
    axe = Axe()
    found: dict[str, object] = {}
    for name, path in pages.items():
        page.goto(console.address + path)
        results = axe.run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
        if results.response["violations"]:
            found[name] = [(v["id"], v["nodes"][0]["target"]) for v in results.response["violations"]]
        overflow = page.evaluate("document.documentElement.scrollWidth") - width
        if overflow > 0:
            found[f"{name}, width"] = overflow
    context.close()
    assert json.dumps(found, indent=2) == "{}"
    assert asked == {console.address.split("/")[2]}


def test_no_page_runs_what_an_event_holds(browser: Browser, console: ConsoleProcess, pages: dict[str, str]) -> None:
    page = browser.new_context().new_page()
    errors: list[str] = []
    dialogs: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and "404" not in message.text:
            errors.append(message.text)

    def asked(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("console", said)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", asked)
    for path in pages.values():
        page.goto(console.address + path)
        assert page.locator("main img").count() == 0
    assert (errors, dialogs) == ([], [])


def test_pages_work_without_javascript(browser: Browser, console: ConsoleProcess) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(console.address)
    page.fill("#q", ACCOUNT)
    page.click("button:text-is('Search')")
    assert page.locator("h1").inner_text().strip().startswith(ACCOUNT)
    assert page.locator("button.copy:visible").count() == 0
    page.click("a:text-is('TRANSFER')")
    assert "51,844.86 USD" in page.locator("h1").inner_text()


def test_the_keyboard_reaches_the_search_and_the_menu(browser: Browser, console: ConsoleProcess) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{console.address}/alerts")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("t2")
    page.keyboard.press("Enter")
    page.wait_for_url("**/events/t2")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def test_the_overview_is_live(browser: Browser, console: ConsoleProcess, client: Client, cluster: KafkaCluster) -> None:
    page: Page = browser.new_context().new_page()
    page.goto(console.address)
    typed = page.locator("ol.flow li").nth(1)
    before = typed.inner_text()
    prefix = client.api("/search?q=t1")["query"]  # the console answers
    assert prefix == "t1"
    name = page.locator("footer code").inner_text().removesuffix(".*")
    pipeline = Pipeline(cluster, name, console._log.parent, partitions=2)
    pipeline.produce("raw", restricted("r2", "ACC-7654321"), "ACC-7654321")
    eventually(lambda: typed.inner_text() != before, lambda: f"another text than {before}", 30)


def test_a_record_is_replayed_by_its_page(browser: Browser, console: ConsoleProcess, pages: dict[str, str]) -> None:
    page = browser.new_context().new_page()
    page.goto(console.address + pages["quarantined"])
    page.fill("input[name=note]", "by the browser")
    page.check("input[name=confirm]")
    page.click("button:text-is('Replay')")
    assert "Replayed. Recovery id" in page.locator(".banner").inner_text()

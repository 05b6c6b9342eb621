"""The page that shows the OpenAPI document: how its files are served, and what a browser makes of it."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fairlead.http import docs
from fairlead.http.openapi.document import document
from gateway import KEY, Gateway, gateway, raw, request, split

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


async def get(running: Gateway, path: str, **options: str) -> tuple[int, dict[str, str], bytes]:
    return split(await raw(running.port, request(path, method="GET", key=None, **options)))


async def files(running: Gateway) -> list[str]:
    """The addresses of what the page loads."""
    page = (await get(running, "/docs"))[2].decode()
    return ["/" + path for path in re.findall(r'(?:src|href)="(docs/[^"]+)"', page)]


# ---- as it is served


async def test_the_page_may_load_its_own_files_only_and_is_asked_for_again(running: Gateway) -> None:
    status, headers, body = await get(running, "/docs")
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "text/html; charset=utf-8", "no-cache")
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    page = body.decode()
    assert "<title>Fairlead</title>" in page
    assert not re.search(r"<script>|<style|\son\w+=|style=|https?:", page)  # nothing inline, nothing from elsewhere
    assert not re.search(r'(?:src|href)="/', page)  # it may stand behind a proxy's path


async def test_its_files_may_be_kept_for_ever(running: Gateway) -> None:
    found = await files(running)
    assert {path.rpartition("/")[2] for path in found} == set(docs.FILES)
    for path in found:
        status, headers, body = await get(running, path)
        assert (status, headers["content-type"]) == (200, docs.FILES[path.rpartition("/")[2]])
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        assert len(body) == int(headers["content-length"]) > 100
        status, again, body = await get(running, path, headers=f"if-none-match: {headers['etag']}\r\n")
        assert (status, again["etag"], body) == (304, headers["etag"], b"")


async def test_there_are_no_other_files(running: Gateway) -> None:
    folder = (await files(running))[0].rpartition("/")[0]
    for path in (
        "/docs/", "/docs/docs.js", "/docs/0123456789ab/docs.js", folder, folder + "/", folder + "/docs.html",
        folder + "/swagger-ui/LICENSE", folder + "/LICENSE", folder + "/../docs.py", folder + "/%2e%2e/docs.py",
        folder + "/..%2f..%2fdocs.py", folder + "/docs.js/", "/static/docs.js",
    ):  # fmt: skip
        assert (await get(running, path))[0] == 404, path


async def test_of_a_file_that_is_not_read_only_a_piece_waits(running: Gateway) -> None:
    path = next(path for path in await files(running) if path.endswith("bundle.js"))
    _, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1)
    writer.write(20 * request(path, method="GET", close=False))  # more than sockets hold

    def stuck() -> bool:
        return any(edge.flow.write_paused for edge in running.server._connections())

    for _ in range(2000):
        if stuck():
            break
        await asyncio.sleep(0.005)
    assert stuck()
    assert [
        edge.transport.get_write_buffer_size() < 4 * docs._PIECE_BYTES for edge in running.server._connections()
    ] == [True]
    writer.transport.abort()


def test_what_swagger_ui_asks_of_its_distributors_is_there() -> None:
    folder = docs._FOLDER / "swagger-ui"
    assert re.fullmatch(r"swagger-ui-dist \d+\.\d+\.\d+\n", (folder / "VERSION").read_text(encoding="utf-8"))
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert "SmartBear" in (folder / "NOTICE").read_text(encoding="utf-8")
    named = re.search(
        r"please see (\S+\.LICENSE\.txt)", docs._place("swagger-ui-bundle.js").read_text(encoding="utf-8")
    )
    assert named is not None
    assert (folder / named[1]).exists()


# ---- as it is seen


@asynccontextmanager
async def chromium() -> AsyncIterator["Browser"]:
    """Chromium: $CHROMIUM, what this machine has, or what `playwright install chromium` brought."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        here = [os.environ.get("CHROMIUM"), *map(shutil.which, NAMES), playwright.chromium.executable_path]
        found = next(filter(os.path.exists, filter(None, here)), None)
        if found is None:
            pytest.skip("not on this machine: chromium")
        browser = await playwright.chromium.launch(executable_path=found, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


class Watched:
    """A page, and what became of it."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.asked: list[str] = []
        self.told: list[str] = []
        page.set_default_timeout(60_000)
        page.context.on("request", lambda request: self.asked.append(request.url))
        page.on("requestfailed", lambda request: self.told.append(f"failed: {request.url}"))
        page.on("console", lambda message: self.told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.told.append(f"error: {error}"))

    async def open(self, running: Gateway) -> None:
        await self.page.goto(f"{running.url}/docs")
        await self.page.locator("html[data-drawn]").wait_for()

    def elsewhere(self, running: Gateway) -> list[str]:
        """What was asked of anybody but the gateway; data in an address is asked of nobody."""
        return [url for url in self.asked if not url.startswith((running.url + "/", "data:"))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_shows_every_operation_and_asks_nobody_else(running: Gateway, scheme: str) -> None:
    async with chromium() as browser:
        seen = Watched(await browser.new_page(color_scheme=scheme))  # type: ignore[arg-type]
        await seen.open(running)
        assert await seen.page.title() == "Fairlead"
        shown = await seen.page.locator(".opblock-summary-path").all()
        assert all([await path.is_visible() for path in shown])
        paths = [re.sub(r"[\s\u200b]", "", await path.inner_text()) for path in shown]
        assert sorted(paths) == sorted(document()["paths"])
        assert seen.told == []
        assert seen.elsewhere(running) == []
        assert {url.removeprefix(running.url) for url in seen.asked if not url.startswith("data:")} == {
            "/docs",
            "/openapi.json",
            *(await files(running)),
        }
        background = await seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        bright = sum(map(int, re.findall(r"\d+", background)[:3])) > 3 * 128
        assert bright == (scheme == "light")


@pytest.mark.slow
async def test_a_call_can_be_tried_and_its_key_is_not_kept(running: Gateway) -> None:
    async with chromium() as browser:
        seen = Watched(await browser.new_page())
        await seen.open(running)
        page = seen.page
        await page.locator(".btn.authorize").click()
        await page.locator(".auth-container input").first.fill(KEY)
        await page.locator(".auth-btn-wrapper .authorize").first.click()
        await page.locator(".btn-done").first.click()
        call = page.locator("#operations-Calls-createChatCompletion")
        await call.locator(".opblock-summary-control").click()
        await call.locator(".try-out__btn").click()
        asked = '{"model": "sim/echo", "messages": [{"role": "user", "content": "good morning"}]}'
        await call.locator("textarea.body-param__text").fill(asked)
        await call.locator(".execute").click()
        answer = call.locator(".live-responses-table .response").first
        await answer.wait_for()
        assert (await answer.locator(".response-col_status").inner_text()).strip() == "200"
        assert '"good morning"' in await answer.inner_text()
        assert seen.told == []
        assert seen.elsewhere(running) == []
        kept = "[Object.keys(localStorage).length, Object.keys(sessionStorage).length, document.cookie]"
        assert await page.evaluate(kept) == [0, 0, ""]
        [call_made] = await running.rows("calls")
        assert call_made["outcome"] == "ok"


async def test_a_page_elsewhere_cannot_show_it_in_a_frame(running: Gateway, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with gateway(tmp_path / "other") as other, chromium() as browser:
        page = await browser.new_page()
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))
        await page.goto(f"{other.url}/livez")
        await page.set_content(f'<iframe src="{running.url}/docs"></iframe>')
        async with asyncio.timeout(10):
            while not refused:
                await page.wait_for_timeout(20)
        assert "frame" in refused[0]

"""The page at `/`, opened in a real browser."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.examples import World, text
from tests.house import House

pytestmark = pytest.mark.browser

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SOON = 15_000
"""Milliseconds; how soon a change shows is measured elsewhere, that it shows without reload is tested here."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    found = shutil.which("chromium")
    assert found, "The page tests need Debian's chromium: apt-get install -y chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, house: House) -> AsyncIterator[Page]:
    """A page that fails its test on a console error, or when it asks anything of another origin."""
    page = await browser.new_page(viewport={"width": 1300, "height": 900}, locale="nl-NL")
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(house.url("reporting")) else wrong.append(asked.url))
    yield page
    await page.close()
    assert wrong == []


async def test_it_shows_domains_and_partners_in_dutch_and_in_english(page: Page, house: House) -> None:
    world = World(house)
    domain = await world.term(name=text("Bewustwording", "Awareness"))
    partner = await world.partner(name=text("Voorbeeldpartner", "Example partner"))
    await world.recommendation(domains=[domain["code"]], addressees=[partner["id"]])
    await house.settled()
    await page.goto(house.url("reporting"))
    await expect(page.locator("html")).to_have_attribute("lang", "nl")
    await expect(page.locator(f'tr[data-line="{domain["code"]}"] th')).to_have_text("Bewustwording")
    await expect(page.locator(f'tr[data-line="{partner["id"]}"] th')).to_have_text("Voorbeeldpartner")
    await expect(page.get_by_text("Geen gegevens is niet nul")).to_be_visible()
    await page.get_by_role("link", name="English").click()
    await expect(page.locator("html")).to_have_attribute("lang", "en")
    await expect(page.locator(f'tr[data-line="{domain["code"]}"] th')).to_have_text("Awareness")


async def test_a_change_appears_without_reload(page: Page, house: House) -> None:
    await page.goto(house.url("reporting"))
    await page.evaluate("window.notReloaded = true")
    told = await World(house).term(name=text("Zojuist verteld", "Told just now"))
    await expect(page.locator(f'tr[data-line="{told["code"]}"] th')).to_have_text("Zojuist verteld", timeout=SOON)
    assert await page.evaluate("window.notReloaded") is True


async def test_it_works_without_javascript(browser: Browser, house: House) -> None:
    told = await World(house).term()
    await house.settled()
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(house.url("reporting"))
    await expect(page.locator(f'tr[data-line="{told["code"]}"]')).to_be_visible()
    await context.close()


async def test_a_hostile_name_shows_as_text(page: Page, house: House) -> None:
    hostile = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>\"' & {{ 7 * 7 }}"
    told = await World(house).term(name=text(hostile, hostile))
    await house.settled()
    await page.goto(house.url("reporting"))
    await expect(page.locator(f'tr[data-line="{told["code"]}"] th')).to_have_text(hostile)
    assert await page.evaluate("window.hurt") is None


async def test_every_figure_leads_to_the_list_behind_it(page: Page, house: House) -> None:
    world = World(house)
    domain = await world.term()
    for _ in range(3):
        await world.recommendation(domains=[domain["code"]])
    await house.settled()
    await page.goto(house.url("reporting"))
    link = page.locator(f'tr[data-line="{domain["code"]}"] td a').first
    await expect(link).to_have_text("3")
    answer = await page.request.get(f"{house.url('reporting')}{await link.get_attribute('href')}")
    assert len((await answer.json())["recommendations"]) == 3


@pytest.mark.parametrize("width", [1300, 390])
async def test_the_page_itself_never_scrolls_sideways(page: Page, house: House, tmp_path: Path, width: int) -> None:
    world = World(house)
    domain = await world.term(name=text("Zorg- en hulpverlening", "Care and assistance"))
    partner = await world.partner(name=text(f"Ministerie van Langenaam {uuid4().hex[:4]}", "Ministry"))
    await world.recommendation(domains=[domain["code"]], addressees=[partner["id"]])
    await house.settled()
    await page.set_viewport_size({"width": width, "height": 900})
    await page.goto(house.url("reporting"))
    await expect(page.locator(f'tr[data-line="{domain["code"]}"] td').first).to_be_in_viewport()
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    await page.screenshot(path=tmp_path / f"overview-{width}.png", full_page=True)

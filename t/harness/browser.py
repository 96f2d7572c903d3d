"""A real browser: Debian's Chromium, headless, driven by Playwright.

Whether a browser shows what nginx sends to it is for the browser to say: its
rules about other origins are nowhere written down as exactly as in itself.

A plugin of pytest: `pytest_plugins = ["harness.browser"]` in a test file gives
the fixtures `visit` and `film`.  The functions that run in the page are in
pages.js.

Environment:
    GCS_BROWSER     0: no test needs a browser, and build.sh installs none
"""

from __future__ import annotations

import base64
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator

import pytest

from . import pages_media
from .nginx import SLOWNESS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Frame

PAGES = Path(__file__).with_name("pages.js")
PATIENCE = 20 * SLOWNESS               # seconds, for anything in a page

ARGUMENTS = [
    # nobody clicks here
    "--autoplay-policy=no-user-gesture-required",
    # nothing leaves this machine, and no proxy comes between
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, "
    "EXCLUDE 127.0.0.1",
    "--no-proxy-server",
]

CALL = """async ([name, values, seconds]) => {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error("nothing happens")),
                           1000 * seconds);
    });
    try {
        return {value: await Promise.race([pages[name](...values), late])};
    } catch (error) {
        return {error: `${error.name}: ${error.message}`};
    } finally {
        clearTimeout(timer);
    }
}"""


def no_browser(reason: str) -> None:
    """Says plainly that no browser has looked."""
    reason = f"nothing is shown to a browser: {reason}"
    if os.environ.get("CI") and os.environ.get("GCS_BROWSER") != "0":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@dataclass
class Outcome:
    """What a function of pages.js gave, or how it failed."""
    value: Any
    error: str | None
    console: list[str]                 # what the browser said about it


class Tab:
    """A page in a profile of its own: no cookie and no cache is shared."""

    def __init__(self, context: "BrowserContext", url: str):
        self.context = context
        self.page = context.new_page()
        self.console: list[str] = []
        self.page.on("console", lambda said: self.console.append(said.text))
        self.page.goto(url)

    def run(self, name: str, *values: Any, frame: "Frame | None" = None) \
            -> Outcome:
        """Call a function of pages.js, in a frame of the page or in it."""
        seen = len(self.console)
        done = (frame or self.page).evaluate(
            CALL, [name, list(values), PATIENCE])
        return Outcome(done.get("value"), done.get("error"),
                       self.console[seen:])

    def get(self, name: str, *values: Any) -> Any:
        """The same, where a failure is one of the test."""
        outcome = self.run(name, *values)
        assert outcome.error is None, outcome
        return outcome.value

    def colour(self, selector: str) -> list[int]:
        """What is in the middle of an element on the screen.

        An application may put another one in its place while it is drawn.
        """
        from playwright.sync_api import Error

        for left in range(4, -1, -1):
            try:
                picture = self.page.locator(selector).screenshot()
                break
            except Error as error:
                if not left or "not attached" not in str(error):
                    raise
        return self.get("pixels", "data:image/png;base64,"
                        + base64.b64encode(picture).decode())

    def blocked(self, name: str, *values: Any,
                frame: "Frame | None" = None) -> str:
        """The browser's words when it keeps an answer from the page.

        That something fails is not enough: it may fail for any reason.
        """
        seen = len(self.console)
        outcome = self.run(name, *values, frame=frame)
        assert outcome.error is not None, f"not blocked: {outcome.value}"

        for _ in range(100):           # some are told after the event
            for text in self.console[seen:]:
                if "blocked by CORS policy" in text:
                    return text
            self.page.wait_for_timeout(20)
        raise AssertionError(f"not blocked by CORS, but {outcome.error}: "
                             f"{self.console[seen:]}")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One for all tests of a file.

    Not for all files: Playwright keeps an event loop running in this thread,
    in which no other test could run its own, and an idle browser would
    disturb those who measure.
    """
    if os.environ.get("GCS_BROWSER") == "0":
        no_browser("GCS_BROWSER is 0")
    program = shutil.which("chromium")
    if program is None:
        no_browser("chromium is missing: install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as exc:
        no_browser(f"no Playwright for this machine: {exc}")

    with sync_playwright() as playwright:
        # one that is there and does not start is a failure
        instance = playwright.chromium.launch(executable_path=program,
                                              args=ARGUMENTS)
        yield instance
        instance.close()


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video; see pages_media."""
    if shutil.which("ffmpeg") is None:
        no_browser("ffmpeg is missing: install ffmpeg")
    return pages_media.webm(tmp_path_factory.mktemp("film"))


@pytest.fixture
def visit(browser: "Browser", nginx: object) -> Iterator[Callable[..., Tab]]:
    """Opens a page.  It is closed before nginx is told to end."""
    contexts = []

    def open_(url: str, cookies: dict[str, str] | None = None) -> Tab:
        context = browser.new_context()
        contexts.append(context)
        context.set_default_timeout(1000 * PATIENCE)
        context.add_init_script(path=PAGES)
        if cookies:
            context.add_cookies([{"name": name, "value": value, "url": url}
                                 for name, value in cookies.items()])
        return Tab(context, url)

    yield open_

    for context in contexts:
        context.close()

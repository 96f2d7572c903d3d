"""The page of gcs_autoindex as a person with a browser has it.

Names in a bucket are whatever somebody has uploaded: here they are meant to
run something, to lead elsewhere or to break the page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable

import pytest

if TYPE_CHECKING:
    from harness.browser import Tab

pytest_plugins = ["harness.browser"]

CONF = """
    gcs_credentials reader { file %%KEY%%; }
    gcs_endpoint %%EMULATOR%%;
    gcs_auth reader;
    gcs_autoindex html;
    server {
        listen 127.0.0.1:%%PORT%%;
        merge_slashes off;
        location /files/ { gcs_pass gs://test-bucket/base/; }
    }
"""

# each is an object, whose content is its name
ODD = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a'b\"c",
    "'\"><svg onload=alert(1)>", "&lt;b&gt;", "&amp;", "a&b=c",
    "100%", "%41%2F", "per%cent%00", "q?x=1&y=2", "hash#fragment",
    "javascript:alert(1)", "//evil.example", "https:", "mailto:a@b",
    "  two  spaces  ", "tab\tname", "trailing ", " leading", "+plus+",
    "naïve é", "日本語.jpg", "emoji 🎉👩‍👩‍👧.png", "עברית.txt", "\u202egpj.exe",
    "back\\slash", "semi;colon", "comma,", "{{template}}", "${var}", "`tick`",
    "a:b", "a@b", "~tilde", "*", "|pipe|", "^", "[x]", "...", "..x", "x..",
    "--><!--", "]]>", "</title>", "</style>", "</table>", "w" * 300,
    "zero\u200bwidth", "\u0301combining", "\ufeffbom",
]
# no URL leads to these: they are shown, and are not links
UNREACHABLE = ["../../etc/passwd", "./dot", "a/../b", "a/./b"]


@pytest.fixture
def server(nginx, emulator, key_file, bucket):
    for name in ("a.txt", "b.jpg", "photos/2026/x.jpg", "photos/one.jpg",
                 "photos/two.jpg", "zoo/z"):
        emulator.put_object(bucket, "base/" + name, name.encode() * 700,
                            content_type="image/jpeg")
    return nginx(CONF)


@pytest.fixture
def opened(visit, server) -> Callable[..., "Tab"]:
    """Opens a path, and notes all that the browser asks anybody for."""
    def open_(path: str = "/files/", **options) -> "Tab":
        tab = visit("about:blank")
        tab.asked = []
        tab.dialogs = []
        tab.page.on("request", lambda asked: tab.asked.append(asked.url))
        tab.page.on("dialog", lambda dialog: (
            tab.dialogs.append(dialog.message), dialog.dismiss()))
        if "width" in options:
            tab.page.set_viewport_size({"width": options["width"],
                                        "height": 700})
        if "scheme" in options:
            tab.page.emulate_media(color_scheme=options["scheme"])
        tab.page.goto(server.url(path))
        return tab
    return open_


def rows(tab: "Tab") -> list[list[str]]:
    return tab.page.evaluate(
        "() => [...document.querySelectorAll('tbody tr')].map("
        "row => [...row.cells].map(cell => cell.textContent))")


def focused(tab: "Tab") -> str:
    return tab.page.evaluate("() => document.activeElement.textContent"
                             " || document.activeElement.id")


def path_of(tab: "Tab") -> str:
    return re.sub(r"^https?://[^/]*", "", tab.page.url)


# what it shows

def test_it_tells_names_sizes_and_dates(opened):
    tab = opened()
    shown = {row[0]: row[1:] for row in rows(tab)}
    assert sorted(shown) == ["a.txt", "b.jpg", "photos/", "zoo/"]
    size, time, kind = shown["a.txt"]
    assert size == "3.4 KiB" and kind == "image/jpeg"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", time)
    assert shown["photos/"] == ["", "", "folder"]
    assert tab.page.title() == "files/"
    assert tab.page.locator("h1").text_content() == "files"
    assert "4 entries" in tab.page.locator("main").text_content()
    data = tab.page.locator("data").first
    assert data.get_attribute("value") == "3500"


def test_it_asks_nobody_for_anything_and_complains_of_nothing(opened, server):
    tab = opened()
    # every browser asks for this one by itself
    asked = [url for url in tab.asked if not url.endswith("/favicon.ico")]
    assert asked == [server.url("/files/")]
    assert [text for text in tab.console if "favicon" not in text] == []


def test_breadcrumbs_lead_up_and_links_down(opened):
    tab = opened()
    tab.page.click("text=photos/")
    assert path_of(tab) == "/files/photos/"
    assert tab.page.title() == "files/photos/"
    tab.page.click("text=2026/")
    assert path_of(tab) == "/files/photos/2026/"
    crumbs = tab.page.locator("nav li").all_text_contents()
    assert crumbs == ["files", "photos", "2026"]
    assert tab.page.locator("[aria-current=page]").text_content() == "2026"
    tab.page.click("nav >> text=photos")
    assert path_of(tab) == "/files/photos/"
    tab.page.click("nav >> text=files")
    assert path_of(tab) == "/files/"
    assert tab.page.locator("nav a").count() == 0


def test_the_filter_narrows_and_may_be_taken_back(opened):
    tab = opened()
    tab.page.get_by_label("Names with").fill("PHOTO")
    with tab.page.expect_navigation():
        tab.page.keyboard.press("Enter")
    assert path_of(tab) == "/files/?q=PHOTO"
    assert [row[0] for row in rows(tab)] == ["photos/"]
    assert tab.page.get_by_label("Names with").input_value() == "PHOTO"
    tab.page.click("main >> p >> a")
    assert path_of(tab) == "/files/?"
    assert len(rows(tab)) == 4
    tab.page.get_by_label("Names with").fill("</script>&\"'")
    with tab.page.expect_navigation():
        tab.page.keyboard.press("Enter")
    assert tab.page.get_by_label("Names with").input_value() == "</script>&\"'"
    assert "Nothing here" in tab.page.locator("main").text_content()


def test_pages_are_turned(opened, emulator, bucket):
    for n in range(7):
        emulator.put_object(bucket, f"base/many/{n}", b"x")
    emulator.configure(list_page=3)
    tab = opened("/files/many/")
    seen = [row[0] for row in rows(tab)]
    while tab.page.locator("a[rel=next]").count():
        tab.page.click("a[rel=next]")
        assert tab.page.title() == "files/many/"
        seen += [row[0] for row in rows(tab)]
    assert seen == [str(n) for n in range(7)]


# for everybody

def test_the_keyboard_is_enough(opened):
    tab = opened("/files/photos/")
    order = []
    for _ in range(6):
        tab.page.keyboard.press("Tab")
        order.append(focused(tab))
    assert order == ["files", "q", "Filter", "2026/", "one.jpg", "two.jpg"]
    outline = tab.page.evaluate(
        "() => getComputedStyle(document.activeElement).outline")
    assert "solid" in outline and "3px" in outline
    for _ in range(2):
        tab.page.keyboard.press("Shift+Tab")
    assert focused(tab) == "2026/"
    with tab.page.expect_navigation():
        tab.page.keyboard.press("Enter")
    assert path_of(tab) == "/files/photos/2026/"


def test_it_has_a_language_headings_and_names_for_what_it_asks(opened):
    tab = opened("/files/photos/")
    found = tab.page.evaluate("""() => ({
        language: document.documentElement.lang,
        headings: document.querySelectorAll('h1').length,
        scopes: [...document.querySelectorAll('th')].map(th => th.scope),
        landmarks: ['nav', 'main', '[role=search]'].map(
            one => document.querySelectorAll(one).length),
        label: document.querySelector('nav').getAttribute('aria-label'),
    })""")
    assert found == {"language": "en", "headings": 1, "scopes": ["col"] * 4,
                     "landmarks": [1, 1, 1], "label": "Folders"}


def luminance(colour: str) -> float:
    parts = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (n / 12.92 if n <= 0.03928
                        else ((n + 0.055) / 1.055) ** 2.4 for n in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_by_day_and_by_night(opened, scheme):
    tab = opened("/files/photos/?q=o", scheme=scheme)
    body = tab.page.evaluate(
        "() => getComputedStyle(document.body).backgroundColor")
    assert (luminance(body) < 0.1) == (scheme == "dark")
    for selector in ("h1", "nav a", "nav li[aria-current]", "td a", "td + td",
                     "th", "label", "input", "button", "main > p", "p a"):
        colour = tab.page.evaluate(
            "one => getComputedStyle(document.querySelector(one)).color",
            selector)
        assert contrast(colour, body) >= 4.5, (selector, colour, body)
    tab.page.hover("td a")
    over = tab.page.evaluate(
        "() => getComputedStyle(document.querySelector('tbody tr'))"
        ".backgroundColor")
    link = tab.page.evaluate(
        "() => getComputedStyle(document.querySelector('td a')).color")
    assert contrast(link, over) >= 4.5


@pytest.mark.parametrize("width", [320, 480, 1400])
def test_no_screen_is_too_narrow(opened, emulator, bucket, width):
    emulator.put_object(bucket, "base/" + "w" * 300 + ".jpg", b"x")
    emulator.put_object(bucket, "base/" + "f" * 300 + "/x", b"x",
                        content_type="application/" + "x" * 100)
    for path in ("/files/", "/files/?q=" + "q" * 200,
                 "/files/" + "f" * 300 + "/"):
        tab = opened(path, width=width)
        assert tab.page.evaluate(
            "() => document.documentElement.scrollWidth") <= width


# names

def test_odd_names_run_nothing_and_lead_to_their_objects(
        opened, server, emulator, bucket):
    for name in ODD:
        emulator.put_object(bucket, "base/odd/" + name, name.encode(),
                            content_type="text/plain")
    tab = opened("/files/odd/")
    expected = {name for name in ODD if "/" not in name}
    links = tab.page.evaluate(
        "() => [...document.querySelectorAll('td a')].map("
        "a => [a.textContent, a.href])")
    shown = dict(links)
    assert expected - set(shown) == {"tab\tname"}
    for name, href in shown.items():
        assert href.startswith(server.url("/files/odd/")), (name, href)
    for name in ODD:
        folder, slash, _ = name.partition("/")
        if slash or name == "tab\tname":
            continue
        path = shown[name].removeprefix(server.url(""))
        assert server.get(path).text == name
    assert tab.dialogs == []
    assert tab.page.locator("tbody script, tbody img, tbody svg").count() == 0
    asked = [url for url in tab.asked if not url.endswith("/favicon.ico")]
    assert asked == [server.url("/files/odd/")]


@pytest.mark.parametrize("name", [
    "<b>/x", "q?x=1/x", "hash#f/x", "100%/x", "a b/x", "🎉/x", "עברית/x",
    "javascript:alert(1)/x", "'\"/x", "tab\tin/x", "back\\s/x", "https:/x"])
def test_odd_folders_are_entered_and_left(opened, emulator, bucket, name):
    folder = name.partition("/")[0]
    emulator.put_object(bucket, f"base/in/{folder}/deep/x", b"found it")
    tab = opened("/files/in/")
    assert len(rows(tab)) == 1
    tab.page.locator("td a").click()
    tab.page.locator("td a", has_text="deep/").click()
    assert tab.page.locator("nav li").count() == 4
    tab.page.locator("nav li a").nth(2).click()
    assert [row[0] for row in rows(tab)] == ["deep/"]
    tab.page.locator("nav li a").nth(1).click()
    assert path_of(tab) == "/files/in/"
    assert tab.dialogs == []


def test_names_that_no_url_has_are_shown_without_a_link(opened, emulator,
                                                        bucket):
    for name in UNREACHABLE:
        emulator.put_object(bucket, "base/un/" + name, b"x")
    tab = opened("/files/un/")
    assert sorted(row[0] for row in rows(tab)) == ["../", "./", "a/"]
    assert tab.page.locator("td a").all_text_contents() == ["a/"]
    tab.page.click("td a")
    assert sorted(row[0] for row in rows(tab)) == ["../", "./"]
    assert tab.page.locator("td a").count() == 0


def test_the_page_may_not_run_a_script_whatever_gets_into_it(opened):
    tab = opened()
    tab.page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.ran = 1';
        document.body.append(script);
        const image = document.createElement('img');
        image.setAttribute('onerror', 'window.ran = 1');
        image.src = 'x';
        document.body.append(image);
    }""")
    tab.page.wait_for_timeout(200)
    assert tab.page.evaluate("() => window.ran") is None
    assert any("Content Security Policy" in text for text in tab.console)

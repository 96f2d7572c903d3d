"""Annotators at work: Label Studio's own pages in a real browser.

nginx has the configurations of the guide.  The browser can reach neither
Google nor anything else but nginx: what it shows has come through the module.

Environment:
    GCS_SCREENSHOTS     a folder that gets pictures of the pages
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo.media import audio, dawn, ffmpeg, png
from harness import pages_media as media
from harness.label_studio import (BUCKET, PASSWORD, USER, LabelStudio,
                                  by_label_studio, by_nginx)
from harness.nginx import Nginx, wait_until

if TYPE_CHECKING:
    from harness.browser import Tab

pytest_plugins = ["harness.browser", "harness.label_studio_plugin"]
pytestmark = pytest.mark.timeout(400)  # the first one installs the database

# the configurations of the guide, and the storages that they are for
WAYS = {"redirect": (None, True),
        "oracle": ("Pre-signed URLs off", False)}
SLOW = 90                              # seconds, for these heavy pages

IMAGE = """<View><RectangleLabels name="box" toName="image">
<Label value="sun"/></RectangleLabels><Image name="image" value="$image"/>
</View>"""
AUDIO = """<View><Labels name="part" toName="audio"><Label value="tone"/>
</Labels><Audio name="audio" value="$audio"/></View>"""
VIDEO = """<View><Labels name="seen" toName="video"><Label value="square"/>
</Labels><Video name="video" value="$video" framerate="10"/>
<VideoRectangle name="moving" toName="video"/></View>"""
TEXT = """<View><Labels name="word" toName="text"><Label value="word"/>
</Labels><Text name="text" value="$text" valueType="url"/></View>"""
PDF = """<View><Pdf name="pdf" value="$pdf"/><Rating name="rating"
toName="pdf"/></View>"""
ALL = """<View><View style="display: flex; gap: 16px">
<View style="width: 50%"><RectangleLabels name="box" toName="image">
<Label value="sun"/></RectangleLabels><Image name="image" value="$image"/>
</View><View style="width: 50%"><Labels name="seen" toName="video">
<Label value="clock"/></Labels><Video name="video" value="$video"
framerate="25" height="230"/></View></View><Labels name="part" toName="audio">
<Label value="note"/></Labels><Audio name="audio" value="$audio"/>
<Labels name="word" toName="text"><Label value="word"/></Labels>
<Text name="text" value="$text" valueType="url"/></View>"""

# the part of a column of a canvas on which something is drawn, 0 to 1
DRAWN = """(canvas, at) => {
    const data = canvas.getContext("2d").getImageData(
        Math.floor(canvas.width * at), 0, 1, canvas.height).data;
    let drawn = 0;
    for (let i = 3; i < data.length; i += 4) {
        drawn += data[i] > 0;
    }
    return drawn / canvas.height;
}"""

# how many points of a picture have a colour
COUNT = """async ([url, colour]) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const data = context.getImageData(0, 0, image.width, image.height).data;
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
        count += colour.every((part, at) => Math.abs(part - data[i + at]) < 9);
    }
    return count;
}"""


@pytest.fixture
def emulator(google):
    """What Google saw in this test."""
    google.reset_requests()
    return google


@pytest.fixture(scope="session")
def noise(tmp_path_factory) -> bytes:
    """A video that is too big to be loaded at once."""
    if shutil.which("ffmpeg") is None:
        from harness.browser import no_browser
        no_browser("ffmpeg is missing: install ffmpeg")
    return media.mp4(tmp_path_factory.mktemp("noise"))


def log_in(page: Any, server: Nginx) -> None:
    """As a user does."""
    page.goto(server.url("/user/login/"))
    page.locator("[name=email]").fill(USER)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[type=submit]").click()
    page.wait_for_url(lambda url: "/user/login/" not in url)


@dataclass
class Desk:
    """A page of Label Studio with a task, and what stands behind it."""
    tab: "Tab"
    server: Nginx
    studio: LabelStudio
    presign: bool

    @property
    def page(self) -> Any:
        return self.tab.page

    def until(self, script: str, *values: Any) -> None:
        """Wait for a condition in the page."""
        self.page.wait_for_function(script, arg=list(values) or None)

    def shown(self, selector: str, colour: str) -> None:
        """Wait for a colour in the middle of an element."""
        self.page.wait_for_selector(selector, state="attached")

        def there() -> bool:
            self.page.wait_for_timeout(20)
            return media.named(self.tab.colour(selector)) == colour

        wait_until(there, SLOW, f"{selector} is not {colour}")

    def picture(self, name: str) -> None:
        folder = os.environ.get("GCS_SCREENSHOTS")
        if folder:
            way = "redirect" if self.presign else "oracle"
            self.page.screenshot(path=Path(folder) / f"{name}-{way}.png")


@pytest.fixture(params=WAYS)
def desk(request, front, studio, emulator, visit):
    """Opens the page of a task, as a user who has logged in.

    Afterwards Label Studio must have been asked once for each request of
    the browser and have fetched nothing; and all must have come from nginx.
    """
    title, presign = WAYS[request.param]
    server = front(title)
    opened: list[Desk] = []

    def open_(config: str, **data: str) -> Desk:
        project = studio.project(presign=presign, config=config, tasks=[
            {name: f"gs://{BUCKET}/{value}" for name, value in data.items()}])
        studio.requests()
        emulator.reset_requests()
        tab = visit(server.url(f"/projects/{project.id}/data"
                               f"?task={project.task}"),
                    studio.login(server.port))
        tab.page.set_viewport_size({"width": 1280, "height": 860})
        tab.page.set_default_timeout(1000 * SLOW)
        opened.append(Desk(tab, server, studio, presign))
        return opened[0]

    with studio.counted() as said:
        yield open_
        [done] = opened
        names = done.page.evaluate(
            "performance.getEntriesByType('resource').map(one => one.name)")
        done.tab.context.close()

    assert {re.sub(r"^(\w+://[^/]*).*", r"\1", name) for name in names
            if name.startswith("http")} == {server.url("")}
    assert not [text for text in done.tab.console if "googleapis" in text]

    log = "media.log" if title is None else "access.log"
    asked = server.wait_log(r'"GET /tasks/\d+/resolve/\S* ?[^"]*" (\d+)',
                            name=log)
    answers = [int(match[1]) for match in asked]
    assert set(answers) <= {200, 206, 304, 499}
    # it does not log what the browser, and so nginx, has given up
    assert len(asked) - answers.count(499) <= len(said) <= len(asked)
    assert {status for _, _, status in said} == {303 if presign else 206}

    assert by_nginx(emulator)
    assert by_label_studio(emulator) \
        <= (0 if presign else 2 * len(asked))


def test_an_image_is_seen(desk, emulator):
    emulator.put_object(BUCKET, "dawn.png", png(640, 400, dawn),
                        content_type="image/png")
    page = desk(IMAGE, image="dawn.png")
    page.until("() => document.querySelector('img[alt=image]')"
               "?.naturalWidth === 640")
    colour = page.tab.colour("img[alt=image]")
    wanted = [round(255 * part) for part in dawn(0.5, 0.5)]
    assert all(abs(one - two) < 40 for one, two in zip(colour, wanted))
    page.picture("image")


def test_a_sound_has_a_waveform_and_is_sought(desk, emulator):
    emulator.put_object(BUCKET, "tone.wav", media.wav(20, silence=10),
                        content_type="audio/wav")
    page = desk(AUDIO, audio="tone.wav")
    page.until(f"""() => {{
        const canvas = document.querySelector('#waveform-layer-main');
        const drawn = {DRAWN};
        return canvas && drawn(canvas, 0.8) > drawn(canvas, 0.1) + 0.1;
    }}""")
    page.picture("audio")

    box = page.page.locator("#waveform-layer-main").bounding_box()
    page.page.mouse.click(box["x"] + 0.75 * box["width"],
                          box["y"] + 0.7 * box["height"])
    page.until("() => Math.abs(document.querySelector('audio').currentTime"
               " - 15) < 1")
    page.page.get_by_test_id("playback-button:play").click()
    page.until("() => document.querySelector('audio').currentTime > 16")


def test_a_video_is_sought_to_its_middle_and_plays(desk, emulator, noise):
    emulator.put_object(BUCKET, "noise.mp4", noise, content_type="video/mp4")
    page = desk(VIDEO, video="noise.mp4")
    page.until("() => document.querySelector('video')?.readyState >= 2")
    page.shown("canvas >> nth=-1", "red")
    page.page.evaluate("document.querySelector('video').currentTime = 30")
    page.shown("canvas >> nth=-1", "blue")
    page.picture("video")
    page.page.get_by_test_id("playback-button:play").click()
    page.until("() => document.querySelector('video').currentTime > 30.5")

    starts = [int(re.match(r"bytes=(\d+)-", dict(
        (name.lower(), value) for name, value in request["headers"]
    ).get("range", "bytes=0-"))[1]) for request in by_nginx(emulator)]
    assert starts[0] == 0
    assert max(starts) > len(noise) / 2


def test_a_text_is_read(desk, emulator):
    emulator.put_object(BUCKET, "words.txt", "Wörter of the bucket".encode(),
                        content_type="text/plain; charset=utf-8")
    page = desk(TEXT, text="words.txt")
    page.page.get_by_text("Wörter of the bucket").wait_for()


def test_a_pdf_is_shown(desk, emulator):
    emulator.put_object(BUCKET, "page.pdf", media.pdf(),
                        content_type="application/pdf")
    page = desk(PDF, pdf="page.pdf")
    page.page.locator("embed").wait_for()
    playwright = pytest.importorskip("playwright.sync_api")

    def green() -> bool:
        page.page.wait_for_timeout(50)
        try:
            picture = page.page.locator("embed").screenshot()
        except playwright.Error:
            return False        # the page was drawn anew meanwhile
        return page.page.evaluate(COUNT, [
            "data:image/png;base64," + base64.b64encode(picture).decode(),
            list(media.GREEN)]) > 20_000

    wait_until(green, SLOW, "no page is green")


def test_all_kinds_are_on_one_page(desk, emulator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    for name, type_, data in (
            ("dawn.png", "image/png", png(640, 400, dawn)),
            ("notes.mp3", "audio/mpeg", audio(folder)),
            ("clock.mp4", "video/mp4", ffmpeg(
                folder / "clock.mp4", "-f", "lavfi", "-i",
                "testsrc=size=640x360:rate=25,format=yuv420p", "-t", "10",
                "-c:v", "libx264", "-movflags", "+faststart")),
            ("words.txt", "text/plain", b"The sun rises at ten past six.")):
        emulator.put_object(BUCKET, name, data, content_type=type_)
    page = desk(ALL, image="dawn.png", audio="notes.mp3", video="clock.mp4",
                text="words.txt")
    page.page.get_by_text("The sun rises at ten past six.").wait_for()
    page.until("() => document.querySelector('img[alt=image]')"
               "?.naturalWidth === 640")
    page.until("() => document.querySelector('video')?.readyState >= 2")
    page.until(f"""() => {{
        const drawn = {DRAWN};
        const all = [...document.querySelectorAll('canvas')];
        const wave = all.find(one => one.id === 'waveform-layer-main');
        return wave && drawn(wave, 0.1) > 0.2
            && all.some(one => one !== wave && drawn(one, 0.5) > 0.5);
    }}""")
    page.picture("all")


# what is different without the module

def test_without_the_module_the_browser_is_sent_to_google(
        nginx, studio, emulator, presigned, visit):
    """So that what is seen above is not seen for another reason."""
    server = nginx("""server {
        listen 127.0.0.1:%%PORT%%;
        location / {
            proxy_pass       %%STUDIO%%;
            proxy_set_header Host $http_host;
        }
    }""", STUDIO=studio.url)
    tab = visit(server.url("/user/login/"))
    tab.page.set_default_timeout(1000 * SLOW)
    log_in(tab.page, server)
    emulator.reset_requests()

    tab.page.goto(server.url(f"/projects/{presigned.id}/data"
                             f"?task={presigned.task}"))
    server.wait_log(r'"GET /tasks/\d+/resolve/[^"]*" 303 ', SLOW,
                    name="access.log")
    assert by_nginx(emulator) == []

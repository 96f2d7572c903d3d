"""Emulator, bucket, nginx, a few requests; then it waits to be looked at."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Iterator
from urllib.parse import quote

from emulator import Emulator, signing_key
from harness import Nginx, NginxError

from .media import samples

HERE = Path(__file__).parent
BUCKET = "private-media"

CONFIGURATION = """\
gcs_credentials demo { file %%KEY%%; }
server {
    listen 127.0.0.1:%%PORT%%;
    location / { root %%GALLERY%%; }
    location /media/ {
        gcs_pass     gs://%%BUCKET%%/;
        gcs_auth     demo;
        gcs_endpoint %%ENDPOINT%%;
    }
}"""

# what to ask for, and what must come back
REQUESTS = [
    (["-H", "Accept: application/json"], "data/readings.json", 200),
    (["-r", "1000000-1000099"], "video/clock.mp4", 206),
    ([], "images/sea + sky.png", 200),
    ([], "no such object", 404),
    (["-X", "PUT", "-d", "overwritten"], "data/readings.json", 405),
]


def say(text: str = "") -> None:
    print(text, flush=True)


def fill(emulator: Emulator, media: Path) -> None:
    emulator.create_bucket(BUCKET)
    count = size = 0
    for item in samples(media):
        emulator.put_object(BUCKET, item.name, item.data,
                            content_type=item.content_type)
        count, size = count + 1, size + len(item.data)
    say(f"A private bucket with {count} objects, {size / 1e6:.1f} MB; "
        "a stranger who asks for one gets:")
    show(f"{emulator.url}/{BUCKET}/data/readings.json", [], 403)


def show(url: str, options: list[str], expected: int) -> None:
    """Run curl and print the beginning of the answer."""
    told = " ".join(f"'{word}'" if set(word) & set(" ;&?*%") else word
                    for word in options)
    say(f"\n$ curl -i {told + ' ' if told else ''}{url}")

    answer = subprocess.run(
        ["curl", "--silent", "--show-error", "--include", "--noproxy", "*",
         "--max-time", "60", *options, url],
        capture_output=True, check=True).stdout
    head, _, body = answer.partition(b"\r\n\r\n")
    for line in head.decode("latin-1").split("\r\n"):
        say("  " + line)

    try:
        text = " ".join(body.decode().split())
    except UnicodeDecodeError:
        text = ""
    say("\n  " + (text[:100] + (" …" if len(text) > 100 else "")
                  if text.isprintable() and text
                  else f"({len(body)} bytes)"))

    status = int(head.split()[1])
    if status != expected:
        raise SystemExit(f"demo: {url} gave {status}, not {expected}")


@contextlib.contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """A terminal sends Ctrl-C to every process; what is started in here must
    live until we have ended the rest in order."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def wait_for_end() -> None:
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: done.set())
    done.wait()
    say("\nstopped")


def run(check: bool, folder: Path, media: Path) -> None:
    if not media.exists():
        say("Making pictures, sound and a video …")

    with contextlib.ExitStack() as stack:
        with deaf_to_ctrl_c():
            emulator = stack.enter_context(Emulator())
        fill(emulator, media)

        key = folder / "key.json"
        key.touch(0o600)
        key.write_text(emulator.service_account(
            grants={BUCKET: ["objectViewer"]}))

        nginx = Nginx(folder / "nginx", CONFIGURATION, KEY=key, BUCKET=BUCKET,
                      GALLERY=HERE / "gallery", ENDPOINT=emulator.url,
                      modules=[os.environ["GCS_MODULE"]])
        say("\nnginx with the module and these lines in \"http\":\n")
        for line in nginx.expand(CONFIGURATION).splitlines():
            say("  " + line)

        secrets = [signing_key().private_pem]
        nginx.start()
        try:
            for options, name, status in REQUESTS:
                show(nginx.url("/media/" + quote(name)), options, status)
            secrets += [token["value"] for token in emulator.tokens()]

            if check:
                return

            say("\nOpen one of these:\n")
            for path in ("/", "/media/video/clock.mp4",
                         "/media/data/readings.json"):
                say("  " + nginx.url(path))
            say(f"\nLogs: {nginx.dir}")
            say(f"To stop it: Ctrl-C here, or \"kill {os.getpid()}\"")
            wait_for_end()

        finally:
            wrong = nginx.finish(secrets)
            if wrong:
                raise SystemExit("demo: " + "\n".join(wrong))


def main() -> None:
    parser = argparse.ArgumentParser(prog="./build.sh demo",
                                     description=__doc__)
    parser.add_argument("--check", action="store_true",
                        help="end after the requests")
    arguments = parser.parse_args()

    build = os.environ.get("BUILD_DIR") or HERE.parent.parent / "build"
    folder = Path(tempfile.mkdtemp(prefix="gcs-demo-"))
    # the same end, and the same tidying up, for whoever sends TERM early
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(arguments.check, folder, Path(build) / "demo")
    except NginxError as exc:
        raise SystemExit(f"demo: {exc}")
    except KeyboardInterrupt:
        raise SystemExit(130)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

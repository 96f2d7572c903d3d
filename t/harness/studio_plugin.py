"""An application, and an nginx that takes over its redirects.

A plugin of pytest: `pytest_plugins = ["harness.studio_plugin"]` in a test file
gives the fixtures `app`, `signer`, `reader`, `serve` and `cached`.  After each
test no signature that was made in it may be in a log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator

import pytest

from . import Nginx
from .studio import Application, Signer
from .takeover import APPLICATION, BODY, READER, configuration, found_in_logs


@pytest.fixture
def app() -> Iterator[Application]:
    with Application() as application:
        yield application


@pytest.fixture
def reader(emulator, bucket, tmp_path) -> Path:
    """The key of nginx's own identity; the application has another."""
    path = tmp_path / "reader.json"
    path.touch(0o600)
    path.write_text(emulator.service_account(
        READER, grants={bucket: ["objectViewer"]}))
    return path


@pytest.fixture
def signer(emulator, bucket) -> Signer:
    """Signs for a.txt and all else in the bucket."""
    emulator.put_object(bucket, "a.txt", BODY, content_type="text/plain")
    return Signer(emulator.service_account(
        APPLICATION, grants={bucket: ["objectViewer"]}), emulator.url)


@pytest.fixture
def serve(nginx, app, signer, emulator, reader) \
        -> Iterator[Callable[..., Nginx]]:
    """Starts an nginx with all in "http { }", or see configuration()."""
    made = []

    def start(text: str | None = None, *, start: bool = True,
              names: dict[str, object] | None = None, **parts: str) -> Nginx:
        server = nginx(text or configuration(**parts), start=start,
                       KEY=reader, APP=app.address,
                       GCS=emulator.url.partition("://")[2],
                       **(names or {}))
        made.append(server)
        return server

    yield start

    for server in made:
        leaks = found_in_logs(server, signer.made)
        assert not leaks, leaks


@pytest.fixture
def cached(serve):
    """The same with verdicts that are remembered for so long."""
    def start(options: str = "valid=1m", size: str = "1m", **parts):
        parts.setdefault("location",
                         f"gcs_takeover_cache zone=v:{size} {options};")
        return serve(**parts)
    return start

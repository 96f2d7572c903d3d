"""One real Label Studio for all tests of a session; see label_studio.py.

A plugin of pytest: `pytest_plugins = ["harness.label_studio_plugin"]`.  It has
an emulator of its own, which is never reset: what Label Studio remembers of
Google must not be forgotten by Google between two tests.

Environment:
    GCS_LABEL_STUDIO    0: no test needs it, and build.sh installs none
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from emulator import Emulator

from . import pages_media as media
from .label_studio import (BUCKET, GOOGLE, LabelStudio, Missing, Project,
                           environment)
from .nginx import Nginx

GUIDE = "label-studio"


def no_label_studio(reason: str) -> None:
    """Says plainly that nobody has asked the real one."""
    reason = f"no Label Studio is asked: {reason}"
    if os.environ.get("CI") and os.environ.get("GCS_LABEL_STUDIO") != "0":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def google() -> Iterator[Emulator]:
    """Google, as Label Studio and the module see it."""
    if os.environ.get("GCS_LABEL_STUDIO") == "0":
        no_label_studio("GCS_LABEL_STUDIO is 0")
    try:
        environment()
    except Missing as exc:
        no_label_studio(str(exc))

    with Emulator(tls=True, token_audiences=[GOOGLE]) as emulator:
        emulator.create_bucket(BUCKET)
        emulator.put_object(BUCKET, "a.txt", b"0123456789" * 10,
                            content_type="text/plain")
        emulator.put_object(BUCKET, "a.png", media.png(),
                            content_type="image/png")
        emulator.put_object(BUCKET, "one", b"1", content_type="text/plain")
        emulator.put_object(BUCKET, "empty", b"", content_type="text/plain")
        yield emulator


@pytest.fixture(scope="session")
def studio_at(google: Emulator, tmp_path_factory: pytest.TempPathFactory) \
        -> Iterator[Callable[..., LabelStudio]]:
    """Starts one more; see LabelStudio for the arguments."""
    with contextlib.ExitStack() as stack:
        def start(**arguments: Any) -> LabelStudio:
            return stack.enter_context(LabelStudio(
                tmp_path_factory.mktemp("label-studio"), google,
                **arguments))

        yield start


@pytest.fixture(scope="session")
def studio(studio_at: Callable[..., LabelStudio]) -> LabelStudio:
    """The one of all tests."""
    return studio_at()


@pytest.fixture(scope="session")
def presigned(studio: LabelStudio) -> Project:
    """A project with "Use pre-signed URLs" on."""
    return studio.project(presign=True,
                          tasks=[{"image": f"gs://{BUCKET}/a.png"}])


@pytest.fixture(scope="session")
def proxied(studio: LabelStudio) -> Project:
    """A project with "Use pre-signed URLs" off."""
    return studio.project(presign=False,
                          tasks=[{"image": f"gs://{BUCKET}/a.png"}])


@pytest.fixture
def front(request: pytest.FixtureRequest, nginx: Callable[..., Nginx],
          emulator: Emulator, tmp_path: Path) -> Callable[..., Nginx]:
    """Starts nginx with a configuration of Label Studio's guide.

    It is the one below a heading, or without that the whole one.  The test's
    `emulator` has to be `google`.
    """
    from test_docs import Block, complete
    from test_guides import blocks, section, text_of

    key = tmp_path / "reader.json"
    key.touch(0o600)
    key.write_text(emulator.service_account(grants={
        BUCKET: ["objectViewer"]}))

    def make(title: str | None = None, index: int = 0, *,
             studio: LabelStudio | None = None, address: str | None = None,
             verdicts: bool = False, replace: dict[str, str] | None = None,
             **names: object) -> Nginx:
        text = blocks(section(GUIDE, title), "nginx")[index] if title \
            else blocks(text_of(GUIDE), "nginx")[-1]
        if studio is None:
            studio = request.getfixturevalue("studio")
        _, http = complete(Block("", 1, text), set())

        if not verdicts:
            http = re.sub(r"gcs_takeover_cache[^;]+;", "", http)
        http = re.sub(r"\blisten\s[^;]+;", "", http)
        http = re.sub(r"^( *)server {\n(?! *server )",
                      r"\1server {\nlisten 127.0.0.1:%%PORT%%;\n", http,
                      flags=re.MULTILINE)
        http = re.sub(r"\bfile\s+[^;]+;|\bmetadata_server;", f"file {key};",
                      http)
        http = re.sub(r"(access_log|proxy_cache_path)(\s+)/\S*?([^/\s;]+)"
                      r"(?=[\s;])", r"\1\2%%DIR%%/\3", http)
        http = re.sub(r"(gcs_buckets\s+)[^;]+;", rf"\1{BUCKET};", http)
        for old, new in (replace or {}).items():
            http = http.replace(old, new)
        http = http.replace("127.0.0.1:8080",
                            address or f"127.0.0.1:{studio.port}")
        return nginx("gcs_endpoint %%EMULATOR%%;\n" + http,
                     secrets=[studio.token], **names)

    return make

"""Fixtures for Google's clients behind nginx; see api.py.

A plugin of pytest: `pytest_plugins = ["harness.api_plugin"]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from emulator import Emulator
from emulator.certificates import create

from . import api


@pytest.fixture
def google(emulator: Emulator) -> Emulator:
    """Cloud Storage with four buckets, all of which nginx's account may
    use, so that what it does not refuse itself is seen to be done."""
    for name in (api.BUCKET, api.OTHER, api.FOREIGN, api.LIMITED):
        emulator.create_bucket(name)
        emulator.put_object(name, "a.txt", b"0123456789" * 10,
                            content_type="text/plain",
                            metadata={"kept": "yes"})
    emulator.put_object(api.LIMITED, api.INSIDE + "b.txt", b"inside")
    return emulator


@pytest.fixture
def key_file(google: Emulator, tmp_path: Path) -> Path:
    """The key of nginx's account."""
    path = tmp_path / "key.json"
    path.touch(0o600)
    path.write_text(google.service_account(api.ACCOUNT, grants={
        name: ["admin"] for name in (api.BUCKET, api.OTHER, api.FOREIGN,
                                     api.LIMITED)}))
    return path


@pytest.fixture
def gateways(nginx, google, key_file, tmp_path) \
        -> Iterator[Callable[..., api.Gateway]]:
    """Starts one; see api.configuration() for the arguments."""
    made: list[api.Gateway] = []

    def start(tls: bool = False, names: dict[str, Any] | None = None,
              **parts: str) -> api.Gateway:
        server = parts.pop("server", "")
        if tls:
            folder = tmp_path / "certificates"
            folder.mkdir(exist_ok=True)
            _, pem = create(str(folder), ("localhost",))
            server += (f"listen 127.0.0.1:%%PORT_TLS%% ssl;"
                       f"ssl_certificate {pem}; ssl_certificate_key {pem};")
        http = api.configuration(server=server, **parts)
        running = nginx(http, **(names or {}))
        gateway = api.Gateway(running, google,
                              running.ports.get("PORT_TLS", 0))
        made.append(gateway)
        return gateway

    yield start

    wrong = [line for gateway in made for line in gateway.wrong()]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.fixture
def gateway(gateways: Callable[..., api.Gateway]) -> api.Gateway:
    """The one of most tests."""
    return gateways()

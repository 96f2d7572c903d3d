"""Listings of a million names, from an origin that has nothing else."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path
from typing import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from conftest import SANITIZE

PAGE = 1000


class Origin:
    """Answers objects.list of a bucket of `count` names, and counts pages."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.pages = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,),
                             daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        buffer = b""
        with client:
            while True:
                while b"\r\n\r\n" not in buffer:
                    try:
                        data = client.recv(65536)
                    except OSError:
                        return
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                try:
                    client.sendall(self._answer(head.split()[1].decode()))
                except OSError:
                    return

    def _answer(self, target: str) -> bytes:
        self.pages += 1
        token = parse_qs(urlsplit(target).query).get("pageToken", ["0"])[0]
        first = int(token)
        last = min(first + PAGE, self.count)
        items = ",".join(
            f'{{"name":"a/folder/name-{n:09d}.jpg","size":"{n}",'
            f'"generation":"17{n:012d}","contentType":"image/jpeg",'
            '"updated":"2026-01-02T03:04:05.678Z"}' for n in range(first, last))
        more = f'"nextPageToken":"{last}",' if last < self.count else ""
        body = f'{{"kind":"storage#objects",{more}"items":[{items}]}}'.encode()
        return (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body)) + body


@pytest.fixture
def serve(nginx) -> Iterator:
    origins = []

    def make(count):
        origin = Origin(count)
        origins.append(origin)
        server = nginx(server="""
            location /files/ {
                gcs_pass gs://bucket/; gcs_autoindex json;
                gcs_autoindex_recursive on;
            }
        """, http="gcs_auth anonymous; gcs_endpoint %%ORIGIN%%;",
            ORIGIN=origin.url)
        return server, origin

    yield make
    for origin in origins:
        origin.listener.close()


def memory(server, name="VmRSS") -> int:
    """Kilobytes of all worker processes."""
    return sum(int(re.search(name + r":\s+(\d+) kB", Path(
        f"/proc/{pid}/status").read_text())[1]) for pid in server.children())


def ask(server) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), 60)
    client.sendall(b"GET /files/ HTTP/1.1\r\nHost: a\r\n"
                   b"Accept: application/x-ndjson\r\nConnection: close\r\n\r\n")
    return client


@pytest.mark.timeout(600)
def test_a_million_names_need_no_more_memory_than_a_few(serve):
    server, origin = serve(1_000_000)
    lines, tail, early = 0, b"", None
    with ask(server) as client:
        while data := client.recv(1 << 20):
            lines += data.count(b'{"type":"object"')
            lines += (tail[-15:] + data[:15]).count(b'{"type":"object"')
            tail = data
            if early is None and origin.pages > 30:
                early = memory(server)
        late = memory(server, "VmHWM")
    assert tail.endswith(b"0\r\n\r\n")
    assert lines == 1_000_000
    assert origin.pages == 1000
    print(f"{early} kB after 30 pages, at most {late} kB")
    # a sanitizer keeps what was freed
    assert late - early < 2048 or SANITIZE


@pytest.mark.timeout(300)
def test_a_client_that_does_not_read_stops_the_listing(serve):
    server, origin = serve(200_000)
    with ask(server) as client:
        time.sleep(2)
        asked = origin.pages
        time.sleep(1)
        assert origin.pages == asked < 200
        size = memory(server)
        lines = 0
        while data := client.recv(1 << 20):
            lines += data.count(b"\n")
    assert lines > 200_000
    assert origin.pages == 200
    assert memory(server) - size < 2048 or SANITIZE

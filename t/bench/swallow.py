"""A load of large objects whose bytes are thrown away in the kernel.

    python -m bench.swallow -cCONNECTIONS -sSECONDS URL

wrk copies all that it gets, 8 KiB at a time: with a TLS origin on the same
core it would be slower than the proxy, and be what is measured.
"""

from __future__ import annotations

import argparse
import json
import re
import selectors
import socket
import time
from urllib.parse import urlsplit

CHUNK = bytearray(1 << 20)          # nothing is ever written to it
PIECE = 256 << 10                   # it does not wake for less


class Download:
    """One connection that asks for the same object again and again."""

    def __init__(self, host: str, port: int, path: str):
        self.request = (f"GET {path} HTTP/1.1\r\nHost: {host}\r\n"
                        "\r\n").encode()
        self.socket = socket.create_connection((host, port))
        self.socket.setblocking(False)
        self.left = 0
        self.head = b""
        self.ask()

    def ask(self) -> None:
        self.socket.sendall(self.request)

    def read(self) -> int:
        """How many bytes of the object have come."""
        if self.left:
            read = self.socket.recv_into(
                CHUNK, min(self.left, len(CHUNK)), socket.MSG_TRUNC)
            body = read
        else:
            data = self.socket.recv(4096)
            read = len(data)
            self.head += data
            head, end, rest = self.head.partition(b"\r\n\r\n")
            if read and not end:
                return 0
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
            if not head.startswith(b"HTTP/1.1 200 ") or length is None:
                raise SystemExit(f"not what was asked for: {head!r}")
            self.head, self.left, body = b"", int(length[1]), len(rest)
            self.wake_for(PIECE)

        if read == 0:
            raise SystemExit("the connection ended within an answer")

        self.left -= body
        if self.left < PIECE:
            self.wake_for(1)
        return body

    def wake_for(self, size: int) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


def main(url: str, connections: int, seconds: float) -> None:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    count = total = 0

    with selectors.DefaultSelector() as selector:
        start = time.monotonic()
        for _ in range(connections):
            download = Download(host, port, parts.path)
            selector.register(download.socket, selectors.EVENT_READ, download)

        while (now := time.monotonic()) < start + seconds:
            for key, _ in selector.select(start + seconds - now):
                total += key.data.read()
                if key.data.left == 0 and not key.data.head:
                    count += 1
                    key.data.ask()

    print("RESULT " + json.dumps({
        "requests": count, "bytes": total, "errors": 0,
        "us": int((time.monotonic() - start) * 1e6)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.swallow")
    parser.add_argument("-c", type=int, default=1)
    parser.add_argument("-s", type=float, default=1)
    parser.add_argument("url")
    options = parser.parse_args()
    main(options.url, options.c, options.s)

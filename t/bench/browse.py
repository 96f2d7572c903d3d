"""What browsers of annotators ask for: a film in ranges, pictures whole."""

from __future__ import annotations

import re
import selectors
import socket
import time
from dataclasses import dataclass
from typing import Callable, Iterable

from harness.client import request_bytes

# what a player has of the film when it shows the first picture, and what it
# has read of a place when another one is wanted
BEGINNING = 64 << 10
SOUGHT = 256 << 10

Cookies = dict[str, str]


class Broken(Exception):
    """An answer that no browser could do anything with."""


@dataclass
class Head:
    """Of an answer: what decides how a browser goes on."""

    status: int
    length: int
    lines: str

    @classmethod
    def of(cls, text: bytes) -> "Head":
        lines = text.decode("latin-1")
        length = re.search(r"(?im)^content-length: *(\d+)\r?$", lines)
        if length is None:
            raise Broken(f"an answer of unknown length:\n{lines}")
        return cls(int(lines.split(" ", 2)[1]), int(length.group(1)), lines)

    def cookies(self) -> Cookies:
        return dict(re.findall(r"(?im)^set-cookie: *([^=;\s]+)=([^;\r\n]*)",
                               self.lines))

    def range(self) -> tuple[int, int]:
        """The first byte, and the one after the last."""
        found = re.search(r"(?im)^content-range: *bytes (\d+)-(\d+)/\d+",
                          self.lines)
        if self.status != 206 or found is None:
            raise Broken(f"no range:\n{self.lines}")
        return int(found[1]), int(found[2]) + 1


def request(port: int, target: str, cookies: Cookies, **more: str) -> bytes:
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return request_bytes("GET", target, f"127.0.0.1:{port}",
                         {"Cookie": cookie, "Accept": "*/*", **more})


@dataclass
class Played:
    """Seconds from the page's first request."""

    first: float                # the first byte of an answer to the player
    begun: float                # the first BEGINNING bytes of the film
    whole: float


class Player:
    """Chromium with a film, in the page of Label Studio.

    The address of the film has no extension, so the page asks for its type,
    by `bytes=0-0`.  The player then wants `bytes=0-`; where an answer ends
    before the film does, it goes on with `bytes=N-` at that place.
    """

    def __init__(self, port: int, target: str, cookies: Cookies):
        self.port = port
        self.target = target
        self.cookies = dict(cookies)
        self.buffer = memoryview(bytearray(1 << 20))

    def play(self, until: int,
             digest: Callable[[memoryview], None] = lambda part: None) \
            -> Played:
        """The film up to there, as fast as it comes."""
        times: dict[str, float] = {}

        def arrived(at: int, part: memoryview) -> None:
            now = time.perf_counter() - begin
            times.setdefault("first", now)
            if at + len(part) >= BEGINNING:
                times.setdefault("begun", now)
            digest(part)

        begin = time.perf_counter()
        with self._connection() as sock:
            self._ask(sock, "bytes=0-0", lambda at, part: None)
            have = 0
            while have < until:
                first, end = self._ask(sock, f"bytes={have}-", arrived,
                                       until - have)
                if first != have:
                    raise Broken(f"asked for bytes={have}-, got {first}-")
                have = end
            return Played(times["first"], times["begun"],
                          time.perf_counter() - begin)

    def seek(self, places: Iterable[int]) -> float:
        """One place after the other: seconds until all were shown.

        As with HTTP/1.1, where a request that nobody wants any more ends with
        its connection.
        """
        begin = time.perf_counter()
        for place in places:
            with self._connection() as sock:
                self._ask(sock, f"bytes={place}-", lambda at, part: None,
                          SOUGHT)
        return time.perf_counter() - begin

    def _connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 60)

    def _ask(self, sock: socket.socket, wanted: str,
             arrived: Callable[[int, memoryview], None],
             enough: int = 1 << 40) -> tuple[int, int]:
        """One range, or as much of it as is enough; says which it is."""
        sock.sendall(request(self.port, self.target, self.cookies,
                             Range=wanted))
        text, rest = b"", b""
        while not rest:
            data = sock.recv(4096)
            if not data:
                raise Broken(f"{wanted}: closed after {text!r}")
            text += data
            if b"\r\n\r\n" in text:
                text, _, rest = text.partition(b"\r\n\r\n")
                rest = rest or sock.recv(1)
        head = Head.of(text + b"\r\n")
        first, end = head.range()
        self.cookies |= head.cookies()

        arrived(first, memoryview(rest))
        at = first + len(rest)
        while at < min(end, first + enough):
            count = sock.recv_into(self.buffer, min(end - at, 1 << 20))
            if count == 0:
                raise Broken(f"{wanted}: cut at byte {at}")
            arrived(at, self.buffer[:count])
            at += count
        return first, end


class Annotator:
    """One who looks at one picture after the other."""

    def __init__(self, port: int, targets: Iterable[str], cookies: Cookies):
        self.port = port
        self.targets = iter(targets)
        self.cookies = dict(cookies)
        self.sock = socket.create_connection(("127.0.0.1", port), 60)
        self.head = b""
        self.left = 0

    def next(self) -> bool:
        """Asks for the next picture, if there is one."""
        target = next(self.targets, None)
        if target is None:
            self.sock.close()
            return False
        self.head, self.left = b"", 0
        self.sock.sendall(request(self.port, target, self.cookies))
        return True

    def read(self, buffer: memoryview, size: int) -> bool:
        """Takes what has come; says whether that was the end of a picture."""
        count = self.sock.recv_into(buffer)
        if count == 0:
            raise Broken(f"cut, {self.left} bytes before the end")
        if not self.left:
            self.head += buffer[:count]
            head, mark, rest = self.head.partition(b"\r\n\r\n")
            if not mark:
                return False
            answer = Head.of(head + b"\r\n")
            if answer.status != 200 or answer.length != size:
                raise Broken(f"no picture:\n{answer.lines}")
            self.cookies |= answer.cookies()
            self.left, count = size, len(rest)
        self.left -= count
        return self.left == 0


def look(port: int, pictures: list[list[str]], size: int,
         cookies: Cookies) -> float:
    """Annotators, each with a list of pictures: seconds until all are done.

    Nobody pauses between two pictures.
    """
    buffer = memoryview(bytearray(256 << 10))
    begin = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        # nobody has the session of another
        annotators = [Annotator(port, targets, cookies | {"annotator": str(n)})
                      for n, targets in enumerate(pictures)]
        try:
            for annotator in annotators:
                annotator.next()
                selector.register(annotator.sock, selectors.EVENT_READ,
                                  annotator)
            while selector.get_map():
                ready = selector.select(60)
                if not ready:
                    raise Broken("nothing has come for a minute")
                for key, _ in ready:
                    annotator = key.data
                    if annotator.read(buffer, size):
                        selector.unregister(annotator.sock)
                        if annotator.next():
                            selector.register(
                                annotator.sock, selectors.EVENT_READ,
                                annotator)
        finally:
            for annotator in annotators:
                annotator.sock.close()
    return time.perf_counter() - begin

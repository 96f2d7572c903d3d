"""Load: many kept connections that ask one request after the other.

asyncio, because threads would measure the interpreter's lock.  What is
counted is what a client would see: a status, or how it was cut off.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Iterable, Sequence

CUT = "cut off"             # a head, and not all of the body
CLOSED = "closed"           # not even a head, on a connection just made
WRONG = "wrong body"        # a 200 with another body than expected
SLOW = "no answer in time"


class Result:
    def __init__(self) -> None:
        self.kinds: Counter[object] = Counter()
        self.by_target: Counter[tuple[str, object]] = Counter()
        self.latencies: list[float] = []
        self.connections = 0
        self.repeated = 0   # the server had closed a kept connection

    @property
    def total(self) -> int:
        return sum(self.kinds.values())

    def percentile(self, percent: float) -> float:
        values = sorted(self.latencies)
        return values[min(len(values) - 1, int(len(values) * percent / 100))]


class _Gone(Exception):
    """The connection ended: before the head, or after it."""

    def __init__(self, in_body: bool):
        self.in_body = in_body


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection is kept."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, OSError):
        raise _Gone(False) from None
    line, *lines = head.decode("latin-1").lower().split("\r\n")
    headers = {name: value.strip() for name, _, value
               in (text.partition(":") for text in lines)}
    status = int(line.split(" ")[1])
    keep = headers.get("connection") != "close"
    try:
        if status in (204, 304):
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = b""
            while True:
                size = int(await reader.readuntil(b"\r\n"), 16)
                body += (await reader.readexactly(size + 2))[:-2]
                if size == 0:
                    break
        elif "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        else:
            body = await reader.read()
            keep = False
    except (asyncio.IncompleteReadError, OSError):
        raise _Gone(True) from None
    return status, body, keep


class Load:
    """Runs in a thread of its own while the block runs, or run() at once.

    targets      are asked in turn
    requests     ends after so many; else the block's end, or seconds
    rate         requests a second of all connections together, at most
    expect       the body of every 200
    """

    def __init__(self, port: int, targets: str | Sequence[str] = "/", *,
                 connections: int = 8, requests: int | None = None,
                 seconds: float | None = None, rate: float | None = None,
                 expect: bytes | None = None, timeout: float = 30,
                 headers: Iterable[tuple[str, str]] = ()):
        self.result = Result()
        self._port = port
        self._targets = [targets] if isinstance(targets, str) else targets
        self._connections = connections
        self._requests = requests
        self._seconds = seconds
        self._pause = connections / rate if rate else 0
        self._expect = expect
        self._timeout = timeout
        self._headers = "".join(f"{k}: {v}\r\n" for k, v in headers)
        self._next = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.run)

    def __enter__(self) -> Result:
        self._thread.start()
        return self.result

    def __exit__(self, *exc: object) -> None:
        if self._requests is None and self._seconds is None \
                or exc[0] is not None:
            self._stop.set()
        self._thread.join()

    def run(self) -> Result:
        self._end = time.monotonic() + (self._seconds or 1e9)
        asyncio.run(self._run())
        return self.result

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(i)
                               for i in range(self._connections)))

    def _take(self) -> str | None:
        number = self._next
        if self._stop.is_set() or time.monotonic() > self._end \
                or (self._requests is not None and number >= self._requests):
            return None
        self._next += 1
        return self._targets[number % len(self._targets)]

    async def _client(self, number: int) -> None:
        reader = writer = None
        if self._pause:
            await asyncio.sleep(self._pause * number / self._connections)
        while (target := self._take()) is not None:
            start = time.monotonic()
            kind: object
            try:
                while True:
                    fresh = writer is None
                    if writer is None:
                        reader, writer = await asyncio.open_connection(
                            "127.0.0.1", self._port, limit=1 << 20)
                        self.result.connections += 1
                    writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\n"
                                 f"{self._headers}\r\n".encode())
                    try:
                        status, body, keep = await asyncio.wait_for(
                            _read(reader), self._timeout)
                        break
                    except _Gone as gone:
                        if gone.in_body or fresh:
                            raise
                        # as every client does: it may have been closed for
                        # its age while the request was under way
                        self.result.repeated += 1
                        writer.close()
                        writer = None
                kind = status
                if status == 200 and self._expect is not None \
                        and body != self._expect:
                    kind = WRONG
            except _Gone as gone:
                kind, keep = CUT if gone.in_body else CLOSED, False
            except TimeoutError:
                kind, keep = SLOW, False
            except asyncio.TimeoutError:            # of its own before 3.11
                kind, keep = SLOW, False
            except OSError as exc:
                kind, keep = type(exc).__name__, False

            took = time.monotonic() - start
            self.result.latencies.append(took)
            self.result.kinds[kind] += 1
            self.result.by_target[target, kind] += 1
            if not keep and writer is not None:
                writer.close()
                writer = None
            if self._pause > took:
                await asyncio.sleep(self._pause - took)

        if writer is not None:
            writer.close()

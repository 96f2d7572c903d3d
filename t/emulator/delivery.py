"""Writing an answer to the wire, properly or as a fault demands."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Callable

from .faults import Fault
from .wire import ConnectionGone, Request, Response, bodiless, head_bytes

# Google's answers to small reads arrive in one segment with their headers;
# code that only sees the two apart would go untested otherwise.
ONE_WRITE = 64 * 1024


class Connection:
    """One TCP connection of a client."""

    def __init__(self, number: int, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter, tls: bool):
        self.number = number
        self.reader = reader
        self.writer = writer
        self.tls = tls
        peer = writer.get_extra_info("peername")
        self.client_port = peer[1] if peer else 0

    @property
    def gone(self) -> bool:
        return (self.writer.is_closing() or self.reader.at_eof()
                or self.reader.exception() is not None)

    async def sleep(self, seconds: float | None) -> None:
        """Wait, but notice when the client leaves."""
        clock = asyncio.get_running_loop().time
        end = None if seconds is None else clock() + seconds
        while end is None or clock() < end:
            if self.gone:
                raise ConnectionGone
            left = 0.02 if end is None else end - clock()
            await asyncio.sleep(max(0.0, min(0.02, left)))

    async def send(self, data: bytes) -> None:
        if self.writer.is_closing():
            raise ConnectionGone
        self.writer.write(data)
        try:
            await self.writer.drain()
        except (ConnectionError, RuntimeError):
            raise ConnectionGone from None
        if len(data) > ONE_WRITE:
            await asyncio.sleep(0)         # let other connections have a turn

    def reset(self) -> None:
        """Close with RST."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                struct.pack("ii", 1, 0))
            except OSError:
                pass
        self.writer.transport.abort()


_PLAIN = Fault()


def _frame(request: Request, response: Response, fault: Fault) \
        -> tuple[list[tuple[str, str]], bool, bool, bool]:
    """Framing headers; whether a body, chunks and a later request follow."""
    headers = list(response.headers)
    with_body = not bodiless(request.method, response.status)
    version = "1.0" if fault.http10 else request.version
    length = response.body_length
    chunked = (version == "1.1" and with_body
               and (response.chunked or length is None))

    wanted = (request.get("connection") or "").lower()
    keep = not response.close and "close" not in wanted
    if version == "1.0":
        keep = keep and "keep-alive" in wanted and not fault.http10

    if response.status == 304 or response.status == 204:
        pass
    elif chunked:
        headers.append(("Transfer-Encoding", "chunked"))
    elif length is not None and not response.chunked \
            and not response.lengthless:
        headers.append(("Content-Length",
                        str(max(0, length + fault.content_length_delta))))
    elif with_body:
        keep = False                       # the end of the body is the close

    if not keep:
        if not fault.http10:
            headers.append(("Connection", "close"))
    elif version == "1.0":
        headers.append(("Connection", "keep-alive"))

    return headers, with_body, chunked, keep


def _cut(fault: Fault) -> int | None:
    """Body bytes after which something happens."""
    cuts = [n for n in (fault.reset_after, fault.truncate_after,
                        fault.stall_after) if n is not None]
    if fault.reset == "after_headers":
        cuts.append(0)
    return min(cuts) if cuts else None


async def _at_cut(connection: Connection, fault: Fault, at: int) -> bool:
    """Do what was to happen; true if the body goes on after it."""
    if fault.stall_after == at:
        await connection.sleep(fault.stall_seconds)
        return True

    # What has been written must really be on its way before the end.
    await connection.sleep(0.05)
    if fault.truncate_after == at and fault.reset_after != at:
        connection.writer.close()
    else:
        connection.reset()
    return False


async def deliver(connection: Connection, request: Request,
                  response: Response, fault: Fault | None,
                  on_bytes: Callable[[int], None]) -> bool:
    """Send the answer; true if the connection can take another request."""
    fault = fault or _PLAIN

    if fault.delay:
        await connection.sleep(fault.delay)

    if fault.hang:
        await connection.sleep(None)

    if fault.reset == "before_headers":
        connection.reset()
        return False

    if fault.garbage is not None:
        await connection.send(fault.garbage.encode("latin-1", "replace"))
        connection.writer.close()
        return False

    for status in fault.informational:
        early = [("Link", "</style.css>; rel=preload")] if status == 103 \
            else []
        await connection.send(head_bytes("1.1", status, early))

    headers, with_body, chunked, keep = _frame(request, response, fault)
    head = head_bytes("1.0" if fault.http10 else "1.1", response.status,
                      headers)

    before = 0
    for offset in sorted(fault.split_at):
        part, head = head[:offset - before], head[offset - before:]
        before = offset
        await connection.send(part)
        await connection.sleep(fault.split_pause)

    cut = _cut(fault)
    pending = head
    sent = 0

    if with_body:
        for piece in response.body_pieces():
            while piece:
                part = piece
                if cut is not None and sent < cut:
                    part = part[:cut - sent]
                if fault.rate:
                    part = part[:max(1, int(fault.rate / 20))]

                if sent == cut:
                    if pending:
                        await connection.send(pending)
                        pending = b""
                    if not await _at_cut(connection, fault, cut):
                        return False
                    cut = None
                    continue

                piece = piece[len(part):]
                data = (b"%x\r\n%b\r\n" % (len(part), part) if chunked
                        else part)
                if len(pending) + len(data) <= ONE_WRITE and not fault.rate:
                    pending += data
                else:
                    if pending:
                        data = pending + data
                        pending = b""
                    await connection.send(data)
                sent += len(part)
                on_bytes(len(part))
                if fault.rate:
                    await connection.sleep(len(part) / fault.rate)

        if chunked and (cut is None or sent < cut):
            pending += b"0\r\n\r\n"

    if pending:
        await connection.send(pending)

    if cut is not None and sent <= cut and (sent == cut or fault.reset):
        if not await _at_cut(connection, fault, cut):
            return False

    if fault.content_length_delta > 0:
        return False                       # the client waits for more: close

    return keep and not fault.silent_close

"""A client of HTTP/3 that may leave the end of its request for later."""

from __future__ import annotations

import asyncio
from typing import Iterable

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamReset

from .client import Response


class _Client(QuicConnectionProtocol):
    def __init__(self, *args: object, **kw: object):
        super().__init__(*args, **kw)       # type: ignore[arg-type]
        self.http = H3Connection(self._quic)
        self.events: asyncio.Queue[H3Event | StreamReset] = asyncio.Queue()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamReset):
            self.events.put_nowait(event)
        for http_event in self.http.handle_event(event):
            self.events.put_nowait(http_event)


async def _fetch(port: int, ca: str, method: str, target: str,
                 headers: Iterable[tuple[str, str]], body: bytes | None,
                 late: float) -> Response:
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN,
                                      server_name="localhost")
    configuration.load_verify_locations(ca)

    async with connect("127.0.0.1", port, configuration=configuration,
                       create_protocol=_Client) as client:
        assert isinstance(client, _Client)
        stream = client._quic.get_next_available_stream_id()
        fields = [(b":method", method.encode()), (b":scheme", b"https"),
                  (b":authority", b"localhost"), (b":path", target.encode()),
                  *((name.encode(), value.encode()) for name, value in headers)]

        whole = not late
        client.http.send_headers(stream, fields,
                                 end_stream=whole and body is None)
        if whole and body is not None:
            client.http.send_data(stream, body, end_stream=True)
        client.transmit()

        head: list[tuple[str, str]] = []
        data = b""
        ended = False
        while not ended:
            try:
                event = await asyncio.wait_for(client.events.get(),
                                               None if whole else late)
            except asyncio.TimeoutError:
                client.http.send_data(stream, body or b"", end_stream=True)
                client.transmit()
                whole = True
                continue
            assert not isinstance(event, StreamReset), event
            if isinstance(event, HeadersReceived):
                head = [(name.decode(), value.decode("latin-1"))
                        for name, value in event.headers]
            elif isinstance(event, DataReceived):
                data += event.data
            ended = getattr(event, "stream_ended", False)

    status = next(value for name, value in head if name == ":status")
    return Response(status=int(status), reason="", version="HTTP/3",
                    headers=[h for h in head if not h[0].startswith(":")],
                    body=data)


def fetch(port: int, ca: str, target: str, method: str = "GET",
          headers: Iterable[tuple[str, str]] = (), body: bytes | None = None,
          late: float = 0) -> Response:
    """One request on a connection of its own.

    If there is no answer "late" seconds after the headers, body and end of the
    request follow; a server need not wait for them.
    """
    return asyncio.run(asyncio.wait_for(
        _fetch(port, ca, method, target, headers, body, late), 30))

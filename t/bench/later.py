"""Says yes to everything, a while later: what makes Google far away.

    python -m bench.later SECONDS

For nginx's auth_request.  Prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys


class Later(asyncio.Protocol):
    """Requests without a body, one after the other on a connection."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.text = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self.text = (self.text + data).split(b"\r\n\r\n")
        for _ in requests:
            asyncio.get_running_loop().call_later(
                self.seconds, self.transport.write,
                b"HTTP/1.1 204 No Content\r\n\r\n")


async def main(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Later(seconds), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))

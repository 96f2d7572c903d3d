"""A server that takes and gives many gigabytes, and keeps none of them.

The emulator holds an object's bytes to check them; this one only counts, at
the speed of the socket, so that it is nginx whose memory is measured.
"""

from __future__ import annotations

import re
import socket
import threading

BLOCK = 1 << 20
_PATTERN = bytes(range(256)) * (BLOCK // 256)


class Sink:
    """Answers PUT with 200 and GET /SIZE... with so many bytes.

    puts     the number of bytes of each body that has arrived completely
    heads    the heads of the requests
    """

    def __init__(self) -> None:
        self.puts: list[int] = []
        self.heads: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,),
                             daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            try:
                while self._one(peer):
                    pass
            except OSError:
                pass

    def _one(self, peer: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = peer.recv(65536)
            if not more:
                return False
            data += more
        raw, _, data = data.partition(b"\r\n\r\n")
        head = raw.decode("latin-1")
        self.heads.append(head)

        if head.startswith("GET "):
            size = int(re.search(r"/(\d+)(?: |[^/]* )HTTP", head)[1])
            peer.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n"
                         "\r\n".encode())
            block = memoryview(_PATTERN)
            while size:
                part = block[:min(size, BLOCK)]
                peer.sendall(part)
                size -= len(part)
            return True

        length = re.search(r"(?mi)^content-length: (\d+)", head)
        have = self._length(peer, data, int(length[1])) if length \
            else self._chunks(peer, data)
        if have is None:
            return False
        self.puts.append(have)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
                     b"x-goog-generation: 1\r\n\r\n")
        return True

    @staticmethod
    def _length(peer: socket.socket, data: bytes, size: int) -> int | None:
        rest, buffer = size - len(data), bytearray(BLOCK)
        while rest > 0:
            got = peer.recv_into(buffer, min(rest, BLOCK))
            if not got:
                return None
            rest -= got
        return size

    @staticmethod
    def _chunks(peer: socket.socket, data: bytes) -> int | None:
        total, buffer = 0, bytearray(BLOCK)
        while True:
            while b"\r\n" not in data:
                more = peer.recv(65536)
                if not more:
                    return None
                data += more
            line, _, data = data.partition(b"\r\n")
            size = int(line, 16)
            rest = size + 2                # with the end of the line
            taken = min(rest, len(data))
            data, rest = data[taken:], rest - taken
            while rest > 0:
                got = peer.recv_into(buffer, min(rest, BLOCK))
                if not got:
                    return None
                rest -= got
            if size == 0:
                return total
            total += size

"""A small HTTP/1.1 client that hides nothing.

The tests need what comfortable clients take away: targets sent byte for byte,
header lines in their order and with their duplicates, and the difference
between a complete body and one that was cut off.
"""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass
class Response:
    status: int
    reason: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    head: bytes = b""                      # as received
    interim: list["Response"] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        name = name.lower()
        return [value for key, value in self.headers if key.lower() == name]

    def get(self, name: str) -> str | None:
        """The value of a header; it is an error if there are two."""
        values = self.all(name)
        assert len(values) < 2, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Truncated(ConnectionError):
    """The connection ended before the answer did."""

    def __init__(self, why: str, response: Response | None = None):
        super().__init__(why)
        self.response = response           # what there is of it


class Connection:
    """One connection, for as many requests as the server lets it live."""

    def __init__(self, port: int, host: str = "127.0.0.1",
                 timeout: float = 30, tls: ssl.SSLContext | None = None):
        self.host = f"{host}:{port}"
        self.sock = socket.create_connection((host, port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname=host)
        self._buffer = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(self, method: str, target: str | bytes,
                headers: Headers = (), body: bytes | None = None,
                version: str = "1.1") -> Response:
        """Send a request and read the whole answer."""
        self.send(request_bytes(method, target, self.host, headers, body,
                                version))
        return self.response(method)

    def get(self, target: str | bytes, headers: Headers = ()) -> Response:
        return self.request("GET", target, headers)

    # reading

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self._buffer += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            if not self._more():
                raise Truncated(f"closed after {self._buffer[:200]!r}")
        part, _, self._buffer = self._buffer.partition(mark)
        return part + mark

    def _exactly(self, size: int) -> tuple[bytes, bool]:
        parts, have = [self._buffer], len(self._buffer)
        while have < size:
            data = self.sock.recv(min(size - have, 1 << 20))
            if not data:
                break
            parts.append(data)
            have += len(data)
        data = b"".join(parts)
        self._buffer = data[size:]
        return data[:size], have >= size

    def head(self) -> Response:
        """Read one status line and its headers, no body."""
        head = self._until(b"\r\n\r\n")
        line, *lines = head[:-4].decode("latin-1").split("\r\n")
        version, status, reason = (line + "  ").split(" ", 2)
        headers = []
        for text in lines:
            name, _, value = text.partition(":")
            headers.append((name, value.strip(" \t")))
        return Response(int(status), reason.strip(), version, headers,
                        head=head)

    def response(self, method: str = "GET") -> Response:
        """Read one answer; raises Truncated if it is not complete."""
        interim = []
        response = self.head()
        while 100 <= response.status < 200 and response.status != 101:
            interim.append(response)
            response = self.head()
        response.interim = interim

        if method == "HEAD" or response.status in (204, 304):
            return response

        length = response.get("Content-Length")

        if "chunked" in (response.get("Transfer-Encoding") or ""):
            self._read_chunks(response)

        elif length is not None:
            response.body, complete = self._exactly(int(length))
            if not complete:
                raise Truncated(f"{len(response.body)} bytes of {length}",
                                response)

        else:
            while self._more():
                pass
            response.body, self._buffer = self._buffer, b""

        return response

    def _read_chunks(self, response: Response) -> None:
        parts = []
        try:
            while True:
                size = int(self._until(b"\r\n").split(b";")[0], 16)
                if size == 0:
                    while self._until(b"\r\n") != b"\r\n":
                        pass
                    break
                data, complete = self._exactly(size)
                parts.append(data)
                if not complete:
                    raise Truncated("closed within a chunk")
                self._until(b"\r\n")
        except Truncated as exc:
            response.body = b"".join(parts)
            raise Truncated(str(exc), response) from None
        response.body = b"".join(parts)

    def closed_by_peer(self, timeout: float = 5) -> bool:
        """Whether the server ends the connection within the time."""
        self.sock.settimeout(timeout)
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


def request_bytes(method: str, target: str | bytes, host: str,
                  headers: Headers = (), body: bytes | None = None,
                  version: str = "1.1") -> bytes:
    """A request as it goes over the wire; the target is not escaped.

    Host and Content-Length are added unless they are given.
    """
    if isinstance(target, str):
        target = target.encode()

    lines = list(headers.items() if isinstance(headers, Mapping)
                 else headers)
    names = {name.lower() for name, _ in lines}
    if "host" not in names:
        lines.insert(0, ("Host", host))
    if body is not None and not names & {"content-length",
                                         "transfer-encoding"}:
        lines.append(("Content-Length", str(len(body))))

    head = b"%s %s HTTP/%s\r\n" % (method.encode(), target, version.encode())
    for name, value in lines:
        head += f"{name}: {value}\r\n".encode("utf-8", "surrogateescape")
    return head + b"\r\n" + (body or b"")

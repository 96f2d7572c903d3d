"""HTTP/1.1 as bytes: a strict reader of requests, and answers.

Written by hand rather than with a framework for three reasons: the emulator
must see requests exactly as sent (target, header order, duplicates), refuse
what a lenient parser forgives, and be able to misbehave on the wire.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Iterable
from urllib.parse import unquote_to_bytes

MAX_HEAD = 64 * 1024
MAX_BODY = 1 << 30

_REQUEST_LINE = re.compile(rb"([A-Z]+) ([!-~]+) HTTP/1\.([01])\Z")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*\Z",
                     re.DOTALL)
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[^\r\n]*)?\r\n\Z")

REASONS = {
    100: "Continue", 103: "Early Hints", 200: "OK", 201: "Created",
    204: "No Content", 206: "Partial Content", 303: "See Other",
    304: "Not Modified", 308: "Resume Incomplete", 400: "Bad Request",
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
    411: "Length Required", 412: "Precondition Failed",
    413: "Request Entity Too Large",
    416: "Requested range not satisfiable", 429: "Too Many Requests",
    499: "Client Closed Request",
    500: "Internal Server Error", 501: "Not Implemented",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}


class Malformed(Exception):
    """A request that the front end refuses before any service sees it."""

    def __init__(self, why: str, status: int = 400):
        super().__init__(why)
        self.status = status


class Incomplete(Malformed):
    """The connection ended within a request: nobody's fault."""


class ConnectionGone(Exception):
    """The client went away."""


@dataclass
class Request:
    method: str
    target: bytes
    version: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    tls: bool = False
    connection: int = 0
    client_port: int = 0

    def __post_init__(self) -> None:
        self.path, mark, self.query_string = self.target.partition(b"?")
        self.has_query = bool(mark)

    def get(self, name: str) -> str | None:
        """The value of a header; several are joined, as RFC 9110 says."""
        values = self.get_all(name)
        return ", ".join(values) if values else None

    def get_all(self, name: str) -> list[str]:
        name = name.lower()
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def query(self) -> list[tuple[str, str]]:
        """Decoded parameters in order. In a query `+` is a space."""
        pairs = []
        for part in self.query_string.split(b"&"):
            if part:
                name, _, value = part.partition(b"=")
                pairs.append((_query_text(name), _query_text(value)))
        return pairs

    def parameter(self, name: str) -> str | None:
        for key, value in self.query:
            if key == name:
                return value
        return None

    def parameters(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name]

    @property
    def host(self) -> str:
        """The Host header, lower case, without its port."""
        return (self.get("host") or "").lower().partition(":")[0]


def _query_text(raw: bytes) -> str:
    decoded = unquote_to_bytes(raw.replace(b"+", b" "))
    return decoded.decode("utf-8", "surrogateescape")


@dataclass
class Response:
    """An answer. `pieces` gives the body when `body` is None."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | None = b""
    pieces: Iterable[bytes] = ()
    length: int | None = None              # of `pieces`
    chunked: bool = False                  # no Content-Length
    lengthless: bool = False               # HEAD that hides the length
    close: bool = False

    def set(self, name: str, value: str) -> None:
        self.remove(name)
        self.headers.append((name, value))

    def remove(self, name: str) -> None:
        name = name.lower()
        self.headers = [h for h in self.headers if h[0].lower() != name]

    def get(self, name: str) -> str | None:
        name = name.lower()
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None

    @property
    def body_length(self) -> int | None:
        return self.length if self.body is None else len(self.body)

    def body_pieces(self) -> Iterable[bytes]:
        if self.body is None:
            return self.pieces
        return (self.body,) if self.body else ()


def bodiless(method: str, status: int) -> bool:
    return method == "HEAD" or status in (204, 304) or status < 200


class Reader:
    """Reads requests from one connection, strictly."""

    def __init__(self, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter):
        self._reader = reader
        self._writer = writer
        self.seen = b""                    # what a malformed request said

    async def request(self) -> Request | None:
        """The next request, or None at the end of the connection."""
        self.seen = b""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                return None
            self.seen = error.partial
            raise Incomplete("incomplete request head") from None
        except asyncio.LimitOverrunError:
            raise Malformed("request head too large", 413) from None

        self.seen = head
        request = parse_head(head[:-4])
        request.body = await self._body(request)
        return request

    async def _body(self, request: Request) -> bytes:
        lengths = request.get_all("content-length")
        coding = request.get_all("transfer-encoding")

        if coding and lengths:
            raise Malformed("both Transfer-Encoding and Content-Length")

        if len(lengths) > 1 or (lengths and not re.fullmatch(
                "[0-9]{1,18}", lengths[0])):
            raise Malformed("bad Content-Length")

        if coding and (len(coding) > 1 or coding[0].lower() != "chunked"):
            raise Malformed("bad Transfer-Encoding")

        if not coding and not lengths:
            return b""

        if (request.get("expect") or "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        try:
            if coding:
                return await self._chunks()
            length = int(lengths[0])
            if length > MAX_BODY:
                raise Malformed("request body too large", 413)
            return await self._reader.readexactly(length)
        except asyncio.IncompleteReadError:
            raise Incomplete("incomplete request body") from None

    async def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            match = _CHUNK.match(await self._line())
            if match is None:
                raise Malformed("bad chunk size")

            size = int(match[1], 16)
            if size == 0:
                break

            if len(body) + size > MAX_BODY:
                raise Malformed("request body too large", 413)

            body += await self._reader.readexactly(size)
            if await self._reader.readexactly(2) != b"\r\n":
                raise Malformed("bad chunk end")

        while await self._line() != b"\r\n":
            pass                           # trailers

        return bytes(body)

    async def _line(self) -> bytes:
        try:
            return await self._reader.readuntil(b"\r\n")
        except asyncio.LimitOverrunError:
            raise Malformed("line too long") from None


def parse_head(head: bytes) -> Request:
    """Request line and headers; Malformed for the slightest irregularity."""
    line, *fields = head.split(b"\r\n")

    match = _REQUEST_LINE.match(line)
    if match is None:
        raise Malformed("bad request line")

    method, target, minor = match.groups()
    if not target.startswith(b"/") or b"#" in target:
        raise Malformed("request target is not in origin form")

    if re.search(rb"%(?![0-9A-Fa-f]{2})", target):
        raise Malformed("bad percent-encoding in the request target")

    headers = []
    for field_line in fields:
        match = _HEADER.match(field_line)
        if match is None or _BAD_VALUE.search(match[2]):
            raise Malformed("bad header line")
        headers.append((match[1].decode("latin-1"),
                        match[2].decode("latin-1")))

    request = Request(method.decode(), target, "1." + minor.decode(), headers)

    hosts = request.get_all("host")
    if len(hosts) != 1 or not hosts[0]:
        raise Malformed("there must be exactly one Host header")

    if not re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?", hosts[0]):
        raise Malformed("bad Host header")

    authorizations = request.get_all("authorization")
    if len(authorizations) > 1:
        raise Malformed("several Authorization headers")

    if authorizations and not authorizations[0]:
        raise Malformed("empty Authorization header")

    return request


def head_bytes(version: str, status: int,
               headers: list[tuple[str, str]]) -> bytes:
    reason = REASONS.get(status, "Unknown")
    lines = [f"HTTP/{version} {status} {reason}"]
    lines += [f"{name}: {value}" for name, value in headers]
    text = "\r\n".join(lines) + "\r\n\r\n"
    return text.encode("utf-8", "surrogateescape")

"""Misbehaviour on request.

A fault is told over the control API; the first one that matches a request is
applied to it and used up. Without a `status` the request is answered
properly, and the fault only changes how that answer goes over the wire.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any

from .errors import StorageError
from .wire import Request, Response


@dataclass
class Fault:
    # Which requests.
    kind: str | None = None                # "token", "storage"; None: any
    path: str | None = None                # regular expression, for search()
    method: str | None = None
    count: int | None = 1                  # None: for ever
    skip: int = 0                          # let that many matches pass first

    # An answer of its own.
    status: int | None = None
    body: str | None = None
    code: str | None = None                # Google's XML error of that code
    content_type: str | None = None
    retry_after: str | int | None = None

    # State.
    revoke_tokens: bool = False
    token: dict[str, Any] | None = None    # members of the token answer
    token_lifetime: float | None = None    # what tokens really live

    # Changes to an answer.
    headers: list[list[str]] = field(default_factory=list)
    remove_headers: list[str] = field(default_factory=list)
    oversized_header: int = 0              # bytes of one more header
    content_length_delta: int = 0          # lie about the length
    http10: bool = False                   # answer as an HTTP/1.0 server
    chunked: bool = False
    close: bool = False                    # say Connection: close
    silent_close: bool = False             # close afterwards without saying
    informational: list[int] = field(default_factory=list)

    # The wire.
    delay: float = 0                       # seconds before anything is sent
    hang: bool = False                     # never answer
    reset: str | None = None               # "before_headers", "after_headers"
    reset_after: int | None = None         # body bytes, then a reset
    truncate_after: int | None = None      # body bytes, then an orderly close
    stall_after: int | None = None         # body bytes, then silence
    stall_seconds: float | None = None     # None: until the client leaves
    rate: float | None = None              # body bytes per second
    garbage: str | None = None             # sent instead of an answer
    split_at: list[int] = field(default_factory=list)   # offsets in the head
    split_pause: float = 0.05

    id: int = 0
    used: int = 0

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "Fault":
        known = {item.name for item in fields(cls)} - {"id", "used"}
        unknown = set(values) - known
        if unknown:
            raise ValueError(f"unknown fault member: {sorted(unknown)}")

        values = dict(values)
        if isinstance(values.get("split_at"), int):
            values["split_at"] = [values["split_at"]]
        if isinstance(values.get("headers"), dict):
            values["headers"] = [list(h) for h in values["headers"].items()]
        if isinstance(values.get("informational"), int):
            values["informational"] = [values["informational"]]
        if values.get("garbage") is True:
            values["garbage"] = "\x16\x03\x01 this is not HTTP\r\n\r\n"
        if values.get("reset") is True:
            values["reset"] = "before_headers"
        if values.get("reset") not in (None, "before_headers",
                                       "after_headers"):
            raise ValueError("bad fault member reset")
        if values.get("path") is not None:
            re.compile(values["path"])
        return cls(**values)

    def matches(self, kind: str, request: Request) -> bool:
        if self.kind is not None and self.kind != kind:
            return False
        if self.method is not None and self.method != request.method:
            return False
        if self.path is not None and not re.search(
                self.path, request.target.decode("latin-1")):
            return False
        return True

    @property
    def answers(self) -> bool:
        """Whether the service is not asked at all."""
        return (self.status is not None or self.hang
                or self.garbage is not None
                or self.reset == "before_headers")

    def own_response(self) -> Response:
        """The answer of a fault with a status."""
        status = self.status or 200
        if self.code is not None:
            return StorageError(status, self.code).xml()
        response = Response(status)
        if self.body is not None:
            response.body = self.body.encode("utf-8", "surrogateescape")
            response.set("Content-Type",
                         self.content_type or "text/html; charset=UTF-8")
        return response

    def alter(self, response: Response) -> None:
        """Changes to the answer that are still HTTP."""
        for name in self.remove_headers:
            response.remove(name)
        for name, value in self.headers:
            response.headers.append((name, value))
        if self.retry_after is not None:
            response.set("Retry-After", str(self.retry_after))
        if self.oversized_header:
            response.headers.append(
                ("X-Oversized", "x" * self.oversized_header))
        if self.chunked:
            response.chunked = True
        if self.close:
            response.close = True


class Faults:
    """The queue."""

    def __init__(self) -> None:
        self._queue: list[Fault] = []
        self._serial = 0

    def add(self, values: dict[str, Any]) -> int:
        fault = Fault.parse(values)
        self._serial += 1
        fault.id = self._serial
        self._queue.append(fault)
        return fault.id

    def clear(self, kind: str | None = None) -> None:
        self._queue = [f for f in self._queue
                       if kind is not None and f.kind != kind]

    def pending(self) -> list[dict[str, Any]]:
        return [{"id": f.id, "kind": f.kind, "path": f.path,
                 "count": f.count, "used": f.used} for f in self._queue]

    def take(self, kind: str, request: Request) -> Fault | None:
        for fault in self._queue:
            if not fault.matches(kind, request):
                continue

            if fault.skip > 0:
                fault.skip -= 1
                continue

            fault.used += 1
            if fault.count is not None:
                fault.count -= 1
                if fault.count <= 0:
                    self._queue.remove(fault)
            return fault

        return None

"""What every emulated service shares.

A service is a file with a class of this kind, listed in server.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .faults import Fault
from .wire import Request, Response

if TYPE_CHECKING:
    from .server import App


class Context:
    """One request on its way through a service."""

    def __init__(self, app: "App", request: Request):
        self.app = app
        self.request = request
        self.fault: Fault | None = None
        self.record: dict[str, Any] = {}
        self.local = False                 # asked on an address of ours

    def violate(self, what: str) -> None:
        """Record something that a correct proxy never sends."""
        self.record["violations"].append(what)
        self.app.violations.append(
            {"what": what, "kind": self.record.get("kind"),
             "target": self.record.get("target")})


class Service:
    kind = ""
    hosts: frozenset[str] = frozenset()    # Google's names that it answers to
    refuses_headers = False                # has its own word for bad headers

    def knows_host(self, host: str) -> bool:
        return host in self.hosts

    def wants(self, context: Context) -> bool:
        raise NotImplementedError

    async def handle(self, context: Context) -> Response:
        raise NotImplementedError

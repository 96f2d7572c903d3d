"""The server: listeners, connections, records, and the way to a service."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from .accounts import Accounts
from .aws_services import (AwsSecurityTokens, ContainerCredentials,
                           InstanceMetadata)
from .aws_state import Aws
from .control import Control
from .delivery import Connection, deliver
from .errors import front_end
from .faults import Faults
from .federation import Provider
from .hmac_keys import HmacKey
from .iam import AllowedLocations, IamCredentials
from .json_uploads import Session
from .metadata import Metadata, MetadataState
from .oauth import GOOGLE_AUDIENCE, TokenService
from .objects import Store
from .refresh_tokens import RefreshTokens
from .service import Context, Service
from .storage_json import StorageJson
from .storage_xml import StorageXml
from .sts import SecurityTokens
from .subjects import Subject, SubjectTokens
from .wire import (ConnectionGone, Incomplete, MAX_HEAD, Malformed, Reader,
                   Request, Response)

# Asked in this order; the XML API takes whatever path is left.
SERVICES: tuple[Service, ...] = (
    TokenService(), SecurityTokens(), IamCredentials(), AllowedLocations(),
    Metadata(), InstanceMetadata(), ContainerCredentials(),
    AwsSecurityTokens(), SubjectTokens(), StorageJson(), StorageXml())

LOCAL_HOSTS = frozenset(["127.0.0.1", "localhost"])

# What a proxy in front of Cloud Storage must never pass on.
_FORBIDDEN = re.compile(
    r"cookie2?\Z|forwarded\Z|x-forwarded-|x-real-ip\Z|x-amz-|x-accel-"
    r"|proxy-|x-http-method|x-original-|x-rewrite-|upgrade\Z|te\Z|trailer\Z",
    re.IGNORECASE)


@dataclass
class Config:
    """Settings that tests may change while the emulator runs."""

    token_lifetime: float = 3599           # what tokens live
    token_expires_in: int | None = None    # what is said; None: the same
    token_audiences: list[str] = field(default_factory=list)
    sts_size: int = 2048                   # of federated tokens, roughly
    iam_unknown_account: int = 404         # or 403, as IAM sometimes says
    if_range: str = "honoured"             # or "ignored"
    links: str = "host"                    # of metadata; or "google": as there
    list_page: int = 1000                  # entries of a page at most
    strict: bool = True                    # refuse what is a violation
    hosts: list[str] = field(default_factory=list)
    projects: list[str] = field(default_factory=lambda: ["demo-project"])
    keepalive_timeout: float = 600
    keepalive_requests: int = 0            # 0: any number
    record: bool = True                    # off for long benchmarks
    log: bool = False


class App:

    def __init__(self, config: Config | None = None) -> None:
        self.control = Control(self)
        self.services = SERVICES
        self.initial = config or Config()
        self.open: set[Connection] = set()
        self.http_port = 0
        self.https_port: int | None = None
        self._serial = 0
        self.clear()

    def clear(self) -> None:
        self.config = Config(**vars(self.initial))
        for name in ("hosts", "projects", "token_audiences"):
            setattr(self.config, name, list(getattr(self.initial, name)))
        self.store = Store()
        self.accounts = Accounts()
        self.refresh_tokens = RefreshTokens()
        self.hmac_keys: dict[str, HmacKey] = {}
        self.metadata = MetadataState()
        self.providers: dict[str, Provider] = {}
        self.sts_clients: dict[str, str] = {}    # of workforce pools
        self.aws = Aws()
        self.subjects: dict[str, Subject] = {}
        self.faults = Faults()
        self.sessions: dict[str, Session] = {}   # resumable uploads
        self.records: list[dict[str, Any]] = []
        self.violations: list[dict[str, Any]] = []

    def token_audiences(self) -> set[str]:
        bases = []
        for host in (*LOCAL_HOSTS, *self.config.hosts):
            bases.append(f"http://{host}:{self.http_port}")
            if self.https_port is not None:
                bases.append(f"https://{host}:{self.https_port}")
        return {GOOGLE_AUDIENCE, *(base + "/token" for base in bases),
                *self.config.token_audiences}

    # One connection

    async def serve(self, reader: asyncio.StreamReader,
                    writer: asyncio.StreamWriter, tls: bool) -> None:
        self._serial += 1
        connection = Connection(self._serial, reader, writer, tls)
        self.open.add(connection)
        try:
            await self._requests(connection)
        except (ConnectionGone, ConnectionError, ssl.SSLError,
                asyncio.IncompleteReadError, TimeoutError,
                asyncio.CancelledError):   # the last: the emulator stops
            pass
        finally:
            self.open.discard(connection)
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()

    async def _requests(self, connection: Connection) -> None:
        source = Reader(connection.reader, connection.writer)
        served = 0
        while True:
            try:
                request = await asyncio.wait_for(
                    source.request(), self.config.keepalive_timeout)
            except asyncio.TimeoutError:
                return
            except Malformed as why:
                await self._refuse(connection, source.seen, why)
                return

            if request is None:
                return

            request.tls = connection.tls
            request.connection = connection.number
            request.client_port = connection.client_port
            served += 1
            last = 0 < self.config.keepalive_requests <= served
            if not await self._one(connection, request, last):
                return

    async def _one(self, connection: Connection, request: Request,
                   last: bool) -> bool:
        context = Context(self, request)
        record = context.record = self._record(connection, request)
        if self.config.record:
            self.records.append(record)

        response = await self._respond(context)
        response.close = response.close or last
        record["status"] = response.status
        fault = context.fault
        if fault is not None:
            record["fault"] = fault.id
            fault.alter(response)

        def count(number: int) -> None:
            record["sent"] += number

        try:
            keep = await deliver(connection, request, response, fault, count)
            record["complete"] = True
        except (ConnectionGone, ConnectionError):
            record["aborted"] = True
            raise
        finally:
            record["finished"] = time.time()
            self._log(record)
        return keep

    @staticmethod
    def _record(connection: Connection, request: Request) -> dict[str, Any]:
        return {"kind": "", "method": request.method,
                "target": request.target.decode("latin-1"),
                "version": request.version,
                "headers": [list(header) for header in request.headers],
                "host": request.get("host"),
                "connection": connection.number,
                "client_port": connection.client_port,
                "tls": connection.tls, "body_size": len(request.body),
                "credential": None, "account": None, "status": None,
                "violations": [], "fault": None, "sent": 0,
                "complete": False, "aborted": False, "time": time.time()}

    async def _refuse(self, connection: Connection, seen: bytes,
                      why: Malformed) -> None:
        """What cannot be read is recorded too: "malformed", "incomplete"."""
        line = seen.split(b"\r\n")[0].decode("latin-1")
        parts = line.split(" ")
        request = Request(parts[0], parts[1].encode("latin-1")
                          if len(parts) > 1 else b"", "1.1", [])
        record = self._record(connection, request)
        if isinstance(why, Incomplete):
            record.update(kind="incomplete", aborted=True)
            self.records.append(record)
            return

        record.update(kind="malformed", status=why.status,
                      violations=[f"malformed: {why}"])
        self.records.append(record)
        self.violations.append({"what": f"malformed: {why}",
                                "kind": "malformed",
                                "target": record["target"]})
        self._log(record)
        response = front_end(why.status, str(why))
        response.close = True
        request.method = "GET"
        await deliver(connection, request, response, None, lambda n: None)

    # One request

    def _service(self, context: Context) -> Service | None:
        host = context.request.host
        context.local = (host in LOCAL_HOSTS
                         or host in [h.lower() for h in self.config.hosts])
        for service in self.services:
            if (context.local or service.knows_host(host)) \
                    and service.wants(context):
                return service
        return None

    async def _respond(self, context: Context) -> Response:
        request, record = context.request, context.record
        service = self._service(context)
        record["kind"] = service.kind if service else "unknown-host"

        for name, _ in request.headers:
            if _FORBIDDEN.match(name):
                context.violate("header: " + name.lower())

        if service is None:
            context.violate("host: " + (request.get("host") or ""))
            return front_end(404, "The requested URL was not found on this "
                             "server.")

        context.fault = self.faults.take(service.kind, request)
        if context.fault is not None:
            if context.fault.revoke_tokens:
                self.accounts.revoke_tokens()
            if context.fault.answers:
                record["credential"] = "not checked"
                return context.fault.own_response()

        if record["violations"] and self.config.strict \
                and not service.refuses_headers:
            return front_end(400, "Your client has issued a malformed or "
                             "illegal request.")

        try:
            return await service.handle(context)
        except Exception:                  # a fault of the emulator itself
            traceback.print_exc(file=sys.stderr)
            context.violate("emulator error")
            return front_end(500, "The emulator is broken.")

    def _log(self, record: dict[str, Any]) -> None:
        if self.config.log:
            print(f'{record["kind"]} {record["method"]} {record["target"]} '
                  f'{record["status"]} {record["credential"]}',
                  file=sys.stderr, flush=True)

    # Control

    async def serve_control(self, reader: asyncio.StreamReader,
                            writer: asyncio.StreamWriter) -> None:
        connection = Connection(0, reader, writer, False)
        source = Reader(reader, writer)
        try:
            while True:
                request = await source.request()
                if request is None:
                    break
                response = self.control.answer(request)
                if not await deliver(connection, request, response, None,
                                     lambda n: None):
                    break
        except (Malformed, ConnectionGone, ConnectionError,
                asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@dataclass
class Listeners:
    servers: list[asyncio.AbstractServer]
    http_port: int
    https_port: int | None
    control_port: int


async def listen(app: App, port: int = 0, tls_port: int = 0,
                 context: ssl.SSLContext | None = None,
                 control_port: int = 0, address: str = "127.0.0.1") \
        -> Listeners:
    async def plain(reader, writer):
        await app.serve(reader, writer, False)

    async def secure(reader, writer):
        await app.serve(reader, writer, True)

    def bound(server: asyncio.AbstractServer) -> int:
        return server.sockets[0].getsockname()[1]

    http = await asyncio.start_server(plain, address, port, limit=MAX_HEAD,
                                      backlog=1024)
    control = await asyncio.start_server(app.serve_control, "127.0.0.1",
                                         control_port, limit=MAX_HEAD)
    servers = [http, control]
    app.http_port = bound(http)

    if context is not None:
        https = await asyncio.start_server(secure, address, tls_port,
                                           limit=MAX_HEAD, ssl=context,
                                           backlog=1024)
        servers.append(https)
        app.https_port = bound(https)

    return Listeners(servers, app.http_port, app.https_port, bound(control))

"""A light double of an application that leaves its media to Cloud Storage.

Application answers whatever a test tells it to, byte for byte, and records
what it was asked.  LabelStudio is one that keeps to the contract of Label
Studio's media URLs, its defects included: io_storages/proxy_api.py and
data_import/api.py of https://github.com/HumanSignal/label-studio.  Signer
makes the signed URLs that such applications redirect to.

    with LabelStudio(emulator.url) as studio:
        studio.connect(1, "b", presign=Signer(key, emulator.url))
        studio.tasks[7] = 1
        GET studio.url + "/tasks/7/resolve/?fileuri=..."     # 303

A thread for each connection; no HTTP library, for those hide what is tested.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import http.client
import itertools
import json
import re
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Callable, Iterable
from urllib.parse import parse_qs, quote, unquote, urlsplit

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

Pairs = Iterable[tuple[str, str]]


# signed URLs

# parameters, algorithm, key, service and end of the scope of each V4 dialect
_GOOG = ("X-Goog-", "GOOG4-HMAC-SHA256", "GOOG4", "storage", "goog4_request")
_AWS = ("X-Amz-", "AWS4-HMAC-SHA256", "AWS4", "s3", "aws4_request")
_RSA = ("X-Goog-", "GOOG4-RSA-SHA256", "", "storage", "goog4_request")


class Signer:
    """Signs as the owner of a service account's key, or of an HMAC key.

    key       the JSON of an account, or access ID and secret
    endpoint  where the URLs lead; signed is the host, not the scheme
    """

    def __init__(self, key: str | tuple[str, str],
                 endpoint: str = "https://storage.googleapis.com"):
        self.endpoint = endpoint
        self.made: list[str] = []          # signatures, which are secrets
        self._secret = ""
        if isinstance(key, tuple):
            self.name, self._secret = key
        else:
            account = json.loads(key)
            self.name = account["client_email"]
            self._rsa = load_pem_private_key(
                account["private_key"].encode(), None)

    def at(self, endpoint: str) -> "Signer":
        """The same, for URLs that lead elsewhere."""
        other = copy.copy(self)
        other.endpoint = endpoint
        return other

    def _sign(self, text: str) -> bytes:
        return self._rsa.sign(text.encode(), PKCS1v15(), SHA256())

    def path(self, bucket: str, name: str) -> str:
        return f"/{bucket}/{quote(name, safe='/~')}"

    def url(self, bucket: str, name: str, life: int = 900, *,
            at: float | None = None, parameters: Pairs = (),
            virtual: bool = False, aws: bool = False) -> str:
        """A V4 URL to GET an object; virtual: with the bucket in the host."""
        prefix, algorithm, start, service, end = \
            _AWS if aws else _GOOG if self._secret else _RSA
        scheme, _, host = self.endpoint.partition("://")
        path = self.path(bucket, name)
        if virtual:
            host, path = f"{bucket}.{host}", path[len(bucket) + 1:]
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
        scope = f"{stamp[:8]}/auto/{service}/{end}"
        query = "&".join(sorted(
            f"{quote(name, safe='~')}={quote(value, safe='~')}"
            for name, value in [
                (prefix + "Algorithm", algorithm), (prefix + "Date", stamp),
                (prefix + "Credential", f"{self.name}/{scope}"),
                (prefix + "Expires", str(life)),
                (prefix + "SignedHeaders", "host"), *parameters]))
        request = "\n".join(["GET", path, query, f"host:{host}", "", "host",
                             "UNSIGNED-PAYLOAD"])
        text = "\n".join([algorithm, stamp, scope,
                          hashlib.sha256(request.encode()).hexdigest()])
        if self._secret:
            signature = (start + self._secret).encode()
            for part in (*scope.split("/"), text):
                signature = hmac.digest(signature, part.encode(), "sha256")
        else:
            signature = self._sign(text)
        self.made.append(signature.hex())
        return (f"{scheme}://{host}{path}?{query}"
                f"&{prefix}Signature={signature.hex()}")

    def url_v2(self, bucket: str, name: str, life: int = 900) -> str:
        path, end = self.path(bucket, name), str(int(time.time()) + life)
        signature = base64.b64encode(
            self._sign(f"GET\n\n\n{end}\n{path}")).decode()
        self.made.append(signature)
        return (f"{self.endpoint}{path}?GoogleAccessId={quote(self.name)}"
                f"&Expires={end}&Signature={quote(signature, safe='')}")


# the server

@dataclass
class Asked:
    """A request as it arrived, and how it ended."""
    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int                        # the first has 1
    sent: int = 0                          # bytes of the answer's body
    gone: bool = False                     # who asked left before its end

    def all(self, name: str) -> list[str]:
        name = name.lower()
        return [value for key, value in self.headers if key.lower() == name]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def arguments(self) -> dict[str, str]:
        query = self.target.partition("?")[2]
        return {name: values[-1] for name, values
                in parse_qs(query, keep_blank_values=True).items()}

    @property
    def cookies(self) -> dict[str, str]:
        pairs = (pair.strip().partition("=") for value in self.all("Cookie")
                 for pair in value.split(";"))
        return {name: value for name, _, value in pairs}


@dataclass
class Answer:
    """What is sent for a request.

    framing  "length", "chunked", "close" (the end of the connection ends the
             body), or "none" (the headers say it, or lie)
    body     may be pieces without an end; a piece may be a function that
             waits for something and then gives it
    cut      body bytes after which the connection is reset
    hold     nothing is sent before it is set
    raw      is sent in place of all this, each piece in a packet of its own
    """
    status: int = 200
    headers: Pairs = ()
    body: bytes | Iterable[bytes | Callable[[], bytes]] = b""
    framing: str = "length"
    cut: int | None = None
    delay: float = 0
    hold: threading.Event | None = None
    close: bool = False
    raw: Iterable[bytes] | None = None

    def head(self, keep: bool) -> bytes:
        reason = http.client.responses.get(self.status, "Unknown")
        lines = [f"HTTP/1.1 {self.status} {reason}",
                 *(f"{name}: {value}" for name, value in self.headers)]
        if self.framing == "length" and self.status not in (204, 304):
            lines.append(f"Content-Length: {len(self.body)}")
        if self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        if not keep:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("utf-8",
                                                    "surrogateescape")

    def pieces(self) -> Iterable[bytes]:
        for piece in [self.body] if isinstance(self.body, bytes) \
                else self.body:
            piece = piece() if callable(piece) else piece
            if piece and self.framing == "chunked":
                yield b"%x\r\n%b\r\n" % (len(piece), piece)
            elif piece:
                yield piece
        if self.framing == "chunked":
            yield b"0\r\n\r\n"


def redirect(url: str, *headers: tuple[str, str], status: int = 303,
             **more: object) -> Answer:
    return Answer(status, [("Location", url), *headers], **more)


def accel(url: str, *headers: tuple[str, str], **more: object) -> Answer:
    """As Label Studio has uploads and exports delivered by its nginx."""
    return Answer(200, [("X-Accel-Redirect", "/file_download/"
                         + url.replace("://", "/", 1)), *headers], **more)


class Application:
    """Answers by `routes` (paths without the query), else by `default`.

    Either may be an Answer or a function that makes one of what was asked.
    """

    def __init__(self) -> None:
        self.routes: dict[str, Answer | Callable[[Asked], Answer]] = {}
        self.default: Answer | Callable[[Asked], Answer] = Answer(404)
        self.requests: list[Asked] = []
        self.keepalive = True
        self._serial = itertools.count(1)
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Application":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on nobody listens here."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def connections(self) -> int:
        """How many have asked something."""
        return len({asked.connection for asked in self.requests})

    def asked(self, path: str) -> list[Asked]:
        return [asked for asked in self.requests if asked.path == path]

    def last(self) -> Asked:
        return self.requests[-1]

    def answer(self, asked: Asked) -> Answer:
        answer = self.routes.get(asked.path, self.default)
        return answer(asked) if callable(answer) else answer

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,),
                             daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        number = next(self._serial)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(connection)
        with connection, connection.makefile("rb") as file, \
                suppress(ConnectionError):
            while True:
                asked = self._read(file, number)
                if asked is None:
                    break
                self.requests.append(asked)
                try:
                    if not self._send(connection, asked, self.answer(asked)):
                        break
                except ConnectionError:
                    asked.gone = True
                    raise
        self._open.discard(connection)

    @staticmethod
    def _read(file, number: int) -> Asked | None:
        line = file.readline().decode("latin-1").split()
        if len(line) != 3:
            return None
        headers = []
        while (text := file.readline().decode("utf-8", "surrogateescape")
               .rstrip("\r\n")):
            name, _, value = text.partition(":")
            headers.append((name, value.strip(" \t")))
        asked = Asked(*line, headers, b"", number)
        if asked.get("Transfer-Encoding") == "chunked":
            while (size := int(file.readline(), 16)):
                asked.body += file.read(size)
                file.readline()
            file.readline()
        else:
            asked.body = file.read(int(asked.get("Content-Length") or 0))
        return asked

    def _send(self, connection: socket.socket, asked: Asked,
              answer: Answer) -> bool:
        if answer.hold is not None:
            answer.hold.wait(60)
        time.sleep(answer.delay)
        if answer.raw is not None:
            for piece in answer.raw:
                connection.sendall(piece)
                time.sleep(0.02)
            return False

        keep = self.keepalive and asked.version == "HTTP/1.1" \
            and asked.get("Connection") != "close" and not answer.close \
            and answer.framing != "close"
        # a short body comes in the packet of the head, as from most servers
        head = answer.head(keep)
        if asked.method == "HEAD" or not isinstance(answer.body, bytes) \
                or len(answer.body) > 1000:
            connection.sendall(head)
            head = b""
        if asked.method == "HEAD":
            return keep
        for piece in answer.pieces():
            if answer.cut is not None:
                piece = piece[:answer.cut - asked.sent]
            connection.sendall(head + piece)
            head = b""
            asked.sent += len(piece)
            if asked.sent == answer.cut:
                # with a reset, not an orderly end
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                      struct.pack("ii", 1, 0))
                return False
        connection.sendall(head)
        return keep


# Label Studio

MAX_RANGE = 8 * 1024 * 1024                # RESOLVER_PROXY_MAX_RANGE_SIZE

_MEDIA = re.compile(r"/(tasks|projects)/(\d+)/(?:resolve|presign)/?\Z")
_REACT = re.compile(r"/api/react-code/resolve/([\w.-]+)/?\Z")


def fileuri(bucket: str, name: str) -> str:
    """The argument as Label Studio writes it: padded, and not escaped."""
    return base64.urlsafe_b64encode(f"gs://{bucket}/{name}".encode()).decode()


def override_range(value: str | None) -> str | None:
    """What Label Studio makes of a browser's Range before it asks GCS."""
    if value is None:
        return None
    match = re.match(r"bytes=(\d+)-(\d*)\Z", value)
    if match is None:
        return "bytes=0-1"
    start = int(match.group(1))
    end = int(match.group(2) or (0 if start == 0 else start + MAX_RANGE))
    if end == 0:
        return "bytes=0-1"
    return f"bytes={start}-{min(end, start + MAX_RANGE)}"


@dataclass
class Storage:
    """A source storage of a project."""
    bucket: str
    presign: Signer | None                 # None: pre-signed URLs are off
    token: Callable[[], str] | None        # for what it streams by itself


@dataclass
class Project:
    storages: list[Storage] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)     # users


class LabelStudio(Application):
    """gcs: where it fetches what it streams; prefix: of a sub-path."""

    def __init__(self, gcs: str, prefix: str = ""):
        super().__init__()
        self.prefix = prefix
        self.projects: dict[int, Project] = {}
        self.tasks: dict[int, int] = {}    # to projects
        self.tokens: dict[str, str] = {}   # to users
        self.uploads: Storage | None = None
        self._gcs = urlsplit(gcs).netloc
        self._key = b"its SECRET_KEY"
        self._moment = itertools.count()

    def connect(self, project: int, bucket: str,
                presign: Signer | None = None,
                token: Callable[[], str] | None = None) -> None:
        self.projects.setdefault(project, Project()).storages.append(
            Storage(bucket, presign, token))

    # who asks

    def session(self, user: str) -> str:
        """A session cookie's value; signed, and never the same twice."""
        text = f"{user}:{next(self._moment)}"
        return text + ":" + hmac.new(self._key, text.encode(),
                                     "sha256").hexdigest()

    def _user(self, asked: Asked) -> str | None:
        session = asked.cookies.get("sessionid", "")
        text, _, signature = session.rpartition(":")
        if text and hmac.compare_digest(signature, hmac.new(
                self._key, text.encode(), "sha256").hexdigest()):
            return text.partition(":")[0]
        kind, _, token = (asked.get("Authorization") or "").partition(" ")
        if kind not in ("Token", "Bearer"):
            token = asked.get("X-Api-Key") or ""
        return self.tokens.get(token)

    # what it answers

    def answer(self, asked: Asked) -> Answer:
        if asked.path in self.routes or not asked.path.startswith(self.prefix):
            return super().answer(asked)

        path = asked.path[len(self.prefix):]
        react = _REACT.match(path)
        media = _MEDIA.match(path)
        user = self.tokens.get(react.group(1)) if react else self._user(asked)
        if user is None:
            answer = self._json(401, "Authentication credentials were not "
                                     "provided.")
            answer.headers.append(("WWW-Authenticate", 'Token realm="api"'))
        elif asked.method != "GET":
            answer = self._json(405, f'Method "{asked.method}" not allowed.')
        elif path == "/storage-data/uploaded/":
            answer = self._upload(asked.arguments.get("filepath", ""))
        elif media:
            number = int(media.group(2))
            project = number if media.group(1) == "projects" \
                else self.tasks.get(number)
            answer = self._resolve(asked, user, self.projects.get(project))
        elif react:
            answer = self._resolve(asked, user, Project(
                [storage for one in self.projects.values()
                 for storage in one.storages]))
            answer.headers = [*answer.headers,
                              ("Access-Control-Allow-Origin", "*")]
        else:
            answer = super().answer(asked)
        return self._finish(answer, None if react else user)

    @staticmethod
    def _json(status: int, detail: str) -> Answer:
        return Answer(status, [("Content-Type", "application/json"),
                               ("Allow", "GET")],
                      json.dumps({"detail": detail}).encode())

    def _finish(self, answer: Answer, user: str | None) -> Answer:
        """What Django's middleware adds to every answer."""
        headers = [
            *answer.headers, ("Vary", "Accept-Language, Cookie"),
            ("Content-Language", "en-us"), ("Referrer-Policy", "same-origin"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Content-Security-Policy-Report-Only", "default-src 'self'")]
        if user is not None:
            headers.append((
                "Set-Cookie", f"sessionid={self.session(user)}; HttpOnly; "
                "Max-Age=1209600; Path=/; SameSite=Lax"))
        return replace(answer, headers=headers)

    def _upload(self, name: str) -> Answer:
        assert self.uploads is not None and self.uploads.presign is not None
        url = self.uploads.presign.url(self.uploads.bucket, name, 86400)
        return accel(url, ("Content-Type", "text/html; charset=utf-8"),
                     ("Content-Disposition", f'inline; filename="{name}"'))

    def _resolve(self, asked: Asked, user: str,
                 project: Project | None) -> Answer:
        text = asked.arguments.get("fileuri")
        if text is None:
            return Answer(400)
        if project is None:
            return Answer(404)
        if user in project.refused:
            return Answer(403)

        try:
            uri = base64.urlsafe_b64decode(text.encode()).decode()
        except ValueError:
            uri = unquote(text)
        scheme, _, rest = uri.partition("://")
        bucket, _, name = rest.partition("?")[0].partition("/")
        for storage in project.storages:
            if (scheme, bucket) == ("gs", storage.bucket):
                break
        else:
            return Answer(404)

        name = name.lstrip("/")
        if storage.presign is not None:
            return redirect(
                storage.presign.url(bucket, name, 60),
                ("Content-Type", "text/html; charset=utf-8"),
                ("Cache-Control", "no-store, max-age=60"))
        if storage.token is None:
            return Answer(404)             # it cannot sign
        return self._stream(asked, user, storage, name)

    def _stream(self, asked: Asked, user: str, storage: Storage,
                name: str) -> Answer:
        path = f"/storage/v1/b/{storage.bucket}/o/{quote(name, safe='')}"
        headers = {"Authorization": "Bearer " + storage.token()}
        connection = http.client.HTTPConnection(self._gcs, timeout=20)
        try:
            connection.request("GET", path, headers=headers)
            got = connection.getresponse()
            about = json.loads(got.read())
            wanted = override_range(asked.get("Range"))
            if got.status == 200:
                if wanted is not None:
                    headers["Range"] = wanted
                connection.request("GET", f"/download{path}?alt=media",
                                   headers=headers)
                got = connection.getresponse()
                body = got.read()
        finally:
            connection.close()
        if got.status not in (200, 206):
            return Answer(424, [("Content-Type", "application/json")],
                          json.dumps({
                              "error": "Storage stream failed while proxying "
                                       "data", "detail": got.status}).encode())
        size = int(about["size"])
        return Answer(got.status, [
            ("Content-Type", about.get("contentType",
                                       "application/octet-stream")),
            ("Content-Range", got.getheader(
                "Content-Range", f"bytes 0-{size - 1}/{size}")),
            ("Last-Modified", about["updated"]), ("Accept-Ranges", "bytes"),
            ("Cache-Control", "private, max-age=3600, must-revalidate"),
            ("ETag", f'"{user}1{about["etag"]}"')], body)

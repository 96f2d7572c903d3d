"""The JSON API: as much of it as Google's own clients use."""

from __future__ import annotations

import base64
import email.parser
import email.policy
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from . import cors, storage_access as access
from .errors import StorageError, common_headers, invalid
from .objects import Bucket, Object, list_objects
from .service import Context, Service
from .storage_read import read
from .storage_write import check_hashes, remove, store
from .storage_xml import xml_time
from .wire import Response

_PATH = re.compile(
    rb"/(?:(download|upload)/)?storage/v1/b/([^/]+)(?:/(o|iam)(?:/([^/]+))?)?"
    rb"\Z")
_PREFIXES = (b"/storage/v1/", b"/download/storage/v1/",
             b"/upload/storage/v1/", b"/batch/storage/v1")


class StorageJson(Service):
    kind = "storage"
    hosts = frozenset(["storage.googleapis.com", "www.googleapis.com"])

    def wants(self, context: Context) -> bool:
        return context.request.path.startswith(_PREFIXES)

    async def handle(self, context: Context) -> Response:
        context.record["api"] = "json"
        media = (context.request.parameter("alt") == "media"
                 or context.request.path.startswith(b"/download/"))
        try:
            response = self._answer(context)
        except StorageError as error:
            response = error.json(media)
        cors.allow_all(context.request, response)
        return response

    def _answer(self, context: Context) -> Response:
        request = context.request
        caller = access.identify(context)
        match = _PATH.match(request.path)
        if match is None:
            raise StorageError(404, "notFound", message="Not Found")

        mode, bucket_name, kind, name = match.groups()
        bucket = access.find_bucket(
            context, unquote_to_bytes(bucket_name).decode("utf-8", "replace"))
        access.check_user_project(context, caller, bucket)
        decoded = unquote_to_bytes(name) if name is not None else None
        what = (request.method, kind)

        if mode == b"upload":
            if what == ("POST", b"o") and decoded is None:
                return self._upload(context, caller, bucket)
            if what == ("PUT", b"o") and decoded is None:
                return self._chunk(context)

        elif decoded is not None and kind == b"o":
            if request.method in ("GET", "HEAD"):
                return self._object(context, caller, bucket, decoded,
                                    mode == b"download")
            if request.method == "DELETE":
                remove(context, caller, bucket, decoded,
                       self._number(context, "generation"))
                return Response(204, common_headers())

        elif what == ("GET", b"iam") and decoded == b"testPermissions":
            return self._test_permissions(context, caller, bucket)

        elif what == ("GET", b"o"):
            return self._list(context, caller, bucket)

        elif what == ("GET", None):
            access.require(context, caller, "storage.buckets.get", bucket)
            return self._json(self._bucket(bucket))

        raise StorageError(405, "methodNotAllowed",
                           message="Method Not Allowed")

    @staticmethod
    def _json(value: dict[str, Any]) -> Response:
        response = Response(200, common_headers(),
                            json.dumps(value).encode())
        response.set("Content-Type", "application/json; charset=UTF-8")
        response.set("Cache-Control", "private, max-age=0")
        return response

    @staticmethod
    def _number(context: Context, name: str) -> int | None:
        value = context.request.parameter(name)
        if value is None:
            return None
        if not value.isascii() or not value.isdigit():
            raise invalid(f"Invalid value for {name}.")
        return int(value)

    @staticmethod
    def _bucket(bucket: Bucket) -> dict[str, Any]:
        return {"kind": "storage#bucket", "id": bucket.name,
                "name": bucket.name, "location": bucket.location,
                "storageClass": "STANDARD", "metageneration": "1",
                "timeCreated": xml_time(bucket.created),
                "updated": xml_time(bucket.created),
                "versioning": {"enabled": bucket.versioning},
                "billing": {"requesterPays": bucket.requester_pays},
                "cors": bucket.cors, "projectNumber": "1"}

    @staticmethod
    def _resource(context: Context, item: Object) -> dict[str, Any]:
        base = f"http://{context.request.get('host')}"
        path = f"/storage/v1/b/{item.bucket}/o/{quote(item.name, safe='')}"
        crc, md5 = item.hashes if item.csek is None else (None, None)
        resource = {
            "kind": "storage#object",
            "id": f"{item.bucket}/{item.text_name}/{item.generation}",
            "selfLink": base + path,
            "mediaLink": f"{base}/download{path}"
                         f"?generation={item.generation}&alt=media",
            "name": item.text_name, "bucket": item.bucket,
            "generation": str(item.generation),
            "metageneration": str(item.metageneration),
            "contentType": item.content_type,
            "contentEncoding": item.content_encoding,
            "contentLanguage": item.content_language,
            "contentDisposition": item.content_disposition,
            "cacheControl": item.cache_control,
            "metadata": item.metadata or None,
            "storageClass": item.storage_class, "size": str(item.size),
            "md5Hash": md5 and base64.b64encode(md5).decode(),
            "crc32c": crc and base64.b64encode(crc).decode(),
            "etag": item.opaque_etag,
            "timeCreated": xml_time(item.created),
            "updated": xml_time(item.created)}
        return {key: value for key, value in resource.items()
                if value is not None}

    def _object(self, context: Context, caller: access.Caller,
                bucket: Bucket, name: bytes, download: bool) -> Response:
        item = access.find_object(context, caller, "storage.objects.get",
                                  bucket, name,
                                  self._number(context, "generation"))
        if context.request.parameter("alt") == "media" or download:
            access.check_encryption(context, item)
            return read(context, item, item.opaque_etag)
        return self._json(self._resource(context, item))

    def _list(self, context: Context, caller: access.Caller,
              bucket: Bucket) -> Response:
        access.require(context, caller, "storage.objects.list", bucket)

        def get(name: str) -> bytes:
            value = context.request.parameter(name) or ""
            return value.encode("utf-8", "surrogateescape")

        try:
            after = base64.urlsafe_b64decode(get("pageToken"))
        except ValueError:
            raise invalid("Invalid pageToken.") from None

        limit = self._number(context, "maxResults") or 1000
        page = list_objects(bucket, get("prefix"), get("delimiter"), after,
                            min(1000, limit), get("startOffset"),
                            get("endOffset"))
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page.next_after is not None:
            answer["nextPageToken"] = \
                base64.urlsafe_b64encode(page.next_after).decode()
        if page.prefixes:
            answer["prefixes"] = [p.decode("utf-8", "replace")
                                  for p in page.prefixes]
        if page.items:
            answer["items"] = [self._resource(context, item)
                               for item in page.items]
        return self._json(answer)

    def _test_permissions(self, context: Context, caller: access.Caller,
                          bucket: Bucket) -> Response:
        asked = context.request.parameters("permissions")
        held = [p for p in asked
                if caller.has_scope(p)
                and access.permitted(context, caller, p, bucket)]
        answer: dict[str, Any] = {
            "kind": "storage#testIamPermissionsResponse"}
        if held:
            answer["permissions"] = held
        return self._json(answer)

    def _upload(self, context: Context, caller: access.Caller,
                bucket: Bucket) -> Response:
        request = context.request
        resource: dict[str, Any] = {}
        body, content_type = request.body, request.get("content-type")
        mode = request.parameter("uploadType")

        if mode == "resumable":
            return self._start(context, caller, bucket)

        if mode == "multipart":
            resource, body, content_type = _parts(content_type or "", body)
        elif mode != "media":
            raise invalid("Unsupported uploadType.")

        return self._store(context, caller, bucket, resource, body,
                           content_type)

    @staticmethod
    def _name(context: Context, resource: dict[str, Any]) -> bytes:
        name = context.request.parameter("name") or resource.get("name")
        if not isinstance(name, str) or not name:
            raise StorageError(400, "required", message="Required")
        return name.encode("utf-8", "surrogateescape")

    def _store(self, context: Context, caller: access.Caller, bucket: Bucket,
               resource: dict[str, Any], body: bytes,
               content_type: str | None) -> Response:
        request = context.request
        hashes = [f"{key}={resource[member]}" for key, member in
                  (("crc32c", "crc32c"), ("md5", "md5Hash"))
                  if member in resource]
        check_hashes(body, hashes + request.get_all("x-goog-hash"), None)

        item = store(
            context, caller, bucket, self._name(context, resource), body, {
                "content_type": resource.get("contentType") or content_type,
                "content_encoding": resource.get("contentEncoding")
                or request.parameter("contentEncoding"),
                "content_language": resource.get("contentLanguage"),
                "content_disposition": resource.get("contentDisposition"),
                "cache_control": resource.get("cacheControl"),
                "metadata": resource.get("metadata") or {}})
        return self._json(self._resource(context, item))

    def _start(self, context: Context, caller: access.Caller,
               bucket: Bucket) -> Response:
        """A resumable session; its address is all that later chunks need."""
        request = context.request
        resource = _resource_of(request.body or b"{}")
        resource.setdefault("name",
                            self._name(context, resource).decode())
        access.require(context, caller, "storage.objects.create", bucket)

        session = secrets.token_urlsafe(64)
        context.app.sessions[session] = Session(
            caller, bucket, resource, request.get("x-upload-content-type"))
        scheme = "https" if request.tls else "http"
        path = request.target.decode("latin-1")
        return Response(200, common_headers() + [
            ("Location", f"{scheme}://{request.get('host')}{path}"
                         f"&upload_id={session}")])

    def _chunk(self, context: Context) -> Response:
        sessions, request = context.app.sessions, context.request
        name = request.parameter("upload_id") or ""
        session = sessions.get(name)
        match = re.fullmatch(r"bytes (?:([0-9]+)-([0-9]+)|\*)/([0-9]+|\*)",
                             request.get("content-range") or "bytes */*")
        if session is None:
            raise StorageError(404, "notFound", message="Not Found")
        if match is None:
            raise invalid("Invalid Content-Range.")

        if request.body or match[1] is not None:
            end = int(match[2] or 0) if match[1] else len(request.body) - 1
            start = int(match[1] or 0)
            if start != len(session.data) \
                    or end - start + 1 != len(request.body):
                raise StorageError(503, "backendError")
            session.data += request.body

        whole = match[3] != "*" and int(match[3]) == len(session.data)
        if whole or request.get("content-range") is None:
            del sessions[name]
            return self._store(context, session.caller, session.bucket,
                               session.resource, bytes(session.data),
                               session.content_type)

        response = Response(308, common_headers())
        if session.data:
            response.set("Range", f"bytes=0-{len(session.data) - 1}")
        return response


@dataclass
class Session:
    """A resumable upload under way."""

    caller: access.Caller
    bucket: Bucket
    resource: dict[str, Any]
    content_type: str | None
    data: bytearray = field(default_factory=bytearray)


def _resource_of(body: bytes) -> dict[str, Any]:
    try:
        resource = json.loads(body)
    except ValueError:
        resource = None
    if not isinstance(resource, dict):
        raise invalid("Parse Error")
    return resource


def _parts(content_type: str, body: bytes) \
        -> tuple[dict[str, Any], bytes, str | None]:
    """Resource, media and its type out of a multipart/related body."""
    header = email.parser.Parser(policy=email.policy.HTTP).parsestr(
        f"Content-Type: {content_type}\r\n\r\n", headersonly=True)
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/related" or not boundary:
        raise invalid("Bad multipart body.")

    # Not with the email package: it would touch the media's line ends.
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if len(pieces) != 4 or pieces[3].strip() != b"--":
        raise invalid("Bad multipart body.")

    found = []
    for piece in pieces[1:3]:
        head, mark, data = piece.partition(b"\r\n\r\n")
        if not mark:
            raise invalid("Bad multipart body.")
        fields = email.parser.BytesParser(policy=email.policy.HTTP) \
            .parsebytes(head.strip() + b"\r\n\r\n", headersonly=True)
        found.append((fields.get("content-type"), data))

    return _resource_of(found[0][1]), found[1][1], found[1][0]

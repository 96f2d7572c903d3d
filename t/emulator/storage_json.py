"""The JSON API: as much of it as Google's own clients use.

json_uploads.py has its uploads, json_changes.py what changes objects, and
json_resource.py the form in which objects are told.
"""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from . import cors, json_changes, json_uploads, storage_access as access
from .errors import StorageError, invalid
from .json_resource import json_answer, number, resource
from .objects import Bucket, list_objects
from .service import Context, Service
from .storage_read import read
from .storage_xml import xml_time
from .wire import Response

_PATH = re.compile(
    rb"/(?:(download|upload|resumable/upload)/)?storage/v1/b/([^/]+)"
    rb"(?:/(o|iam|storageLayout)(?:/([^/]+)(?:/(.+))?)?)?\Z")
_COPY = re.compile(rb"(copyTo|rewriteTo)/b/([^/]+)/o/([^/]+)\Z")
_MOVE = re.compile(rb"moveTo/o/([^/]+)\Z")
_PREFIXES = (b"/storage/v1/", b"/download/storage/v1/",
             b"/upload/storage/v1/", b"/resumable/upload/storage/v1/",
             b"/batch/storage/v1")


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
        match = _PATH.match(request.path)
        if match is None:
            raise StorageError(404, "notFound", message="Not Found")

        mode, bucket_name, kind, name, rest = match.groups()
        uploading = mode is not None and mode.endswith(b"upload")
        if uploading and request.parameter("upload_id") is not None:
            return self._session(context)

        caller = access.identify(context)
        bucket = self._bucket_of(context, bucket_name)
        access.check_user_project(context, caller, bucket)
        decoded = unquote_to_bytes(name) if name is not None else None
        what = (request.method, kind)

        if uploading:
            if what == ("POST", b"o") and decoded is None:
                return json_uploads.upload(context, caller, bucket)

        elif decoded is not None and kind == b"o" and rest is not None:
            if request.method == "POST":
                return self._action(context, caller, bucket, decoded, rest)

        elif decoded is not None and kind == b"o":
            if request.method in ("GET", "HEAD"):
                return self._object(context, caller, bucket, decoded,
                                    mode == b"download")
            if request.method in ("PATCH", "PUT"):
                return json_changes.change(context, caller, bucket, decoded)
            if request.method == "DELETE":
                return json_changes.delete(context, caller, bucket, decoded)

        elif what == ("GET", b"iam") and decoded == b"testPermissions":
            return self._test_permissions(context, caller, bucket)

        elif what == ("GET", b"storageLayout") and decoded is None:
            access.require(context, caller, "storage.objects.list", bucket)
            return json_answer(context, {
                "kind": "storage#storageLayout", "bucket": bucket.name,
                "location": bucket.location, "locationType": "multi-region"})

        elif what == ("GET", b"o"):
            return self._list(context, caller, bucket)

        elif what == ("GET", None):
            access.require(context, caller, "storage.buckets.get", bucket)
            return json_answer(context, self._bucket(bucket))

        raise StorageError(405, "methodNotAllowed",
                           message="Method Not Allowed")

    @staticmethod
    def _bucket_of(context: Context, name: bytes) -> Bucket:
        return access.find_bucket(
            context, unquote_to_bytes(name).decode("utf-8", "replace"))

    @staticmethod
    def _session(context: Context) -> Response:
        """Some clients continue with PUT, as Google says, some with POST."""
        if context.request.method in ("PUT", "POST"):
            return json_uploads.proceed(context)
        if context.request.method == "DELETE":
            return json_uploads.cancel(context)
        raise StorageError(405, "methodNotAllowed",
                           message="Method Not Allowed")

    def _action(self, context: Context, caller: access.Caller,
                bucket: Bucket, name: bytes, rest: bytes) -> Response:
        if rest == b"compose":
            return json_changes.compose(context, caller, bucket, name)

        match = _COPY.match(rest)
        if match is not None:
            return json_changes.copy(
                context, caller, bucket, name,
                self._bucket_of(context, match[2]),
                unquote_to_bytes(match[3]), match[1] == b"rewriteTo")

        match = _MOVE.match(rest)
        if match is not None:
            return json_changes.move(context, caller, bucket, name,
                                     unquote_to_bytes(match[1]))

        raise StorageError(404, "notFound", message="Not Found")

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

    def _object(self, context: Context, caller: access.Caller,
                bucket: Bucket, name: bytes, download: bool) -> Response:
        item = access.find_object(context, caller, "storage.objects.get",
                                  bucket, name,
                                  number(context, "generation"))
        if context.request.parameter("alt") == "media" or download:
            access.check_encryption(context, item)
            return read(context, item, item.opaque_etag)
        return json_answer(context, resource(context, item))

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

        limit = number(context, "maxResults") or 1000
        page = list_objects(bucket, get("prefix"), get("delimiter"), after,
                            min(context.app.config.list_page, limit),
                            get("startOffset"),
                            get("endOffset"))
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page.next_after is not None:
            answer["nextPageToken"] = \
                base64.urlsafe_b64encode(page.next_after).decode()
        if page.prefixes:
            answer["prefixes"] = [p.decode("utf-8", "replace")
                                  for p in page.prefixes]
        if page.items:
            answer["items"] = [resource(context, item)
                               for item in page.items]
        return json_answer(context, answer)

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
        return json_answer(context, answer)

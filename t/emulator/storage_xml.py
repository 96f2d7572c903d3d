"""The XML API: path style, and virtual hosted."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote, unquote_to_bytes
from xml.sax.saxutils import escape

from . import (cors, multipart_uploads, resumable, signed_urls,
               storage_access as access)
from .errors import StorageError, common_headers, front_end, invalid
from .objects import Bucket, Object, list_objects
from .service import Context, Service
from .storage_read import hash_headers, read
from .storage_write import (check_hashes, check_metadata, check_name,
                            check_storage_class, remove, store)
from .wire import Response

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]\Z")

_OBJECT_PARAMETERS = {"generation", "userProject"}
_LIST_PARAMETERS = {"prefix", "delimiter", "marker", "max-keys",
                    "encoding-type", "generation-marker", "versions",
                    "list-type", "continuation-token", "start-after",
                    "fetch-owner", "userProject"}
_SUBRESOURCES = {"acl", "billing", "compose", "cors", "customAudit",
                 "encryption", "lifecycle", "location", "logging",
                 "partNumber", "retention", "storageClass", "tagging",
                 "uploadId", "uploads", "versioning", "website"}
_SUFFIX = ".storage.googleapis.com"


def xml_time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"


class StorageXml(Service):
    kind = "storage"
    hosts = frozenset(["storage.googleapis.com"])

    def knows_host(self, host: str) -> bool:
        return host in self.hosts or host.endswith(_SUFFIX)

    def wants(self, context: Context) -> bool:
        return True

    @staticmethod
    def address(context: Context) -> tuple[str, bytes | None]:
        """Bucket and object name; no name is the bucket itself.

        The raw path is decoded once and never normalised: slashes, dots and
        an escaped slash are all part of the name.
        """
        host, path = context.request.host, context.request.path[1:]
        if host.endswith(_SUFFIX):
            return host[:-len(_SUFFIX)], unquote_to_bytes(path) or None
        bucket, _, name = path.partition(b"/")
        decoded = unquote_to_bytes(bucket).decode("utf-8", "replace")
        return decoded, unquote_to_bytes(name) or None

    async def handle(self, context: Context) -> Response:
        bucket_name, name = self.address(context)
        context.record["api"] = "xml"
        bucket = context.app.store.buckets.get(bucket_name)
        session = resumable.find(context.request, bucket)

        if context.request.method == "OPTIONS":
            return cors.preflight(context.request, bucket, session)

        try:
            response = self._answer(context, bucket_name, name)
        except StorageError as error:
            response = error.xml()

        if bucket is not None:
            cors.decorate(context.request, bucket, response, session)
        return response

    def _answer(self, context: Context, bucket_name: str,
                name: bytes | None) -> Response:
        request = context.request
        if name is not None and request.method == "PUT" \
                and request.parameter(resumable.PARAMETER) is not None:
            bucket = access.find_bucket(context, bucket_name)
            return resumable.proceed(context, bucket, name)

        caller = access.identify(context)

        if not bucket_name:
            if request.method == "GET":
                raise access.access_denied(caller.email,
                                           "storage.buckets.list", "project")
            raise StorageError(405, "MethodNotAllowed")

        if not _BUCKET_NAME.match(bucket_name):
            raise StorageError(400, "InvalidBucketName",
                               f"Invalid bucket name: '{bucket_name}'")

        if name is not None:
            check_name(name)

        parts = name is not None and multipart_uploads.wants(context, name)
        if not parts:
            self._check_query(context, name)
        bucket = access.find_bucket(context, bucket_name)
        access.check_user_project(context, caller, bucket)

        if name is not None and parts:
            return multipart_uploads.answer(context, caller, bucket, name,
                                            self._attributes(context))

        if name is None:
            if request.method == "GET":
                return self._list(context, caller, bucket)
            if request.method == "HEAD":
                access.require(context, caller, "storage.objects.list",
                               bucket)
                return Response(200, common_headers())
            raise StorageError(405, "MethodNotAllowed")

        if request.method in ("GET", "HEAD"):
            return self._read(context, caller, bucket, name)
        if request.method == "PUT":
            return self._put(context, caller, bucket, name)
        if request.method == "POST" \
                and request.get("x-goog-resumable") == "start":
            return resumable.start(context, caller, bucket, name)
        if request.method == "DELETE":
            remove(context, caller, bucket, name, self._generation(context))
            return Response(204, common_headers())
        raise StorageError(405, "MethodNotAllowed")

    @staticmethod
    def _check_query(context: Context, name: bytes | None) -> None:
        names = [key for key, _ in context.request.query]
        if not names and context.request.has_query:
            context.violate("empty query")

        known = _LIST_PARAMETERS if name is None else _OBJECT_PARAMETERS
        strange = [key for key in names if key not in known]
        if context.record["credential"] == "signed URL":
            strange = [key for key in strange
                       if key not in signed_urls.PARAMETERS
                       and not key.startswith("response-content-")]
        if not strange:
            return

        context.violate("query: " + " ".join(strange))
        for key in strange:
            if key in _SUBRESOURCES:
                raise StorageError(403, "AccessDenied",
                                   f"Subresource '{key}' denied.")
        if context.app.config.strict:
            raise invalid(f"Unknown query parameter: {strange[0]}")

    @staticmethod
    def _generation(context: Context) -> int | None:
        value = context.request.parameter("generation")
        if value is None:
            return None
        if not value.isascii() or not value.isdigit():
            raise invalid("Invalid generation.")
        return int(value)

    def _read(self, context: Context, caller: access.Caller, bucket: Bucket,
              name: bytes) -> Response:
        item = access.find_object(context, caller, "storage.objects.get",
                                  bucket, name, self._generation(context))
        access.check_encryption(context, item)
        return self._named(context, read(context, item, item.etag))

    @staticmethod
    def _named(context: Context, response: Response) -> Response:
        """What the one who signed wants the answer to say of itself."""
        if context.record["credential"] != "signed URL" \
                or response.status not in (200, 206):
            return response
        for name in ("Content-Type", "Content-Disposition"):
            value = context.request.parameter("response-" + name.lower())
            if value is not None:
                response.headers = [
                    pair for pair in response.headers
                    if pair[0].lower() != name.lower()] + [(name, value)]
        return response

    def _put(self, context: Context, caller: access.Caller, bucket: Bucket,
             name: bytes) -> Response:
        request = context.request
        if request.get("content-length") is None \
                and request.get("transfer-encoding") is None:
            return front_end(411, "POST requests require a Content-length "
                             "header.")

        limits = request.get("x-goog-content-length-range")
        if limits is not None:
            low, _, high = limits.partition(",")
            if not int(low) <= len(request.body) <= int(high):
                raise invalid("Content-Length is out of range.")

        source = request.get("x-goog-copy-source")
        if source is not None:
            return self._copy(context, caller, bucket, name, source)

        check_hashes(request.body, request.get_all("x-goog-hash"),
                     request.get("content-md5"))

        item = store(context, caller, bucket, name, request.body,
                     self._attributes(context))

        headers = common_headers() + [
            ("ETag", item.etag),
            ("x-goog-generation", str(item.generation)),
            ("x-goog-metageneration", str(item.metageneration)),
            ("x-goog-stored-content-encoding",
             item.content_encoding or "identity"),
            ("x-goog-stored-content-length", str(item.size))]
        headers += hash_headers(item)
        headers.append(("Content-Type", "text/html; charset=UTF-8"))
        return Response(200, headers)

    def _copy(self, context: Context, caller: access.Caller, bucket: Bucket,
              name: bytes, source: str) -> Response:
        raw = unquote_to_bytes(source.removeprefix("/"))
        other, _, source_name = raw.partition(b"/")
        item = access.find_object(
            context, caller, "storage.objects.get",
            access.find_bucket(context, other.decode("utf-8", "replace")),
            source_name)
        attributes = self._attributes(context)
        if context.request.get("x-goog-metadata-directive") != "REPLACE":
            attributes.update({
                member: getattr(item, member)
                for member in ("content_type", "content_encoding",
                               "content_language", "content_disposition",
                               "cache_control", "metadata")})
        made = store(context, caller, bucket, name,
                     item.data.read(0, item.size), attributes)
        response = Response(200, common_headers(), (
            "<?xml version='1.0' encoding='UTF-8'?><CopyObjectResult>"
            f"<LastModified>{xml_time(made.created)}</LastModified>"
            f"<ETag>{escape(made.etag)}</ETag></CopyObjectResult>").encode())
        response.set("Content-Type", "application/xml; charset=UTF-8")
        response.set("x-goog-generation", str(made.generation))
        return response

    @staticmethod
    def _attributes(context: Context) -> dict[str, Any]:
        """What the headers of an upload say of the object to be."""
        request = context.request
        metadata = {key[len("x-goog-meta-"):].lower():
                    value.encode("latin-1").decode("utf-8", "replace")
                    for key, value in request.headers
                    if key.lower().startswith("x-goog-meta-")}
        check_metadata(metadata)
        return {
            "storage_class": check_storage_class(
                request.get("x-goog-storage-class")),
            "content_type": request.get("content-type"),
            "content_encoding": request.get("content-encoding"),
            "content_language": request.get("content-language"),
            "content_disposition": request.get("content-disposition"),
            "cache_control": request.get("cache-control"),
            "public": request.get("x-goog-acl") == "public-read",
            "metadata": metadata}

    def _list(self, context: Context, caller: access.Caller,
              bucket: Bucket) -> Response:
        access.require(context, caller, "storage.objects.list", bucket)
        request = context.request
        second = request.parameter("list-type") == "2"
        url = request.parameter("encoding-type") == "url"

        def get(name: str) -> bytes:
            value = request.parameter(name) or ""
            return value.encode("utf-8", "surrogateescape")

        try:
            limit = min(context.app.config.list_page,
                        int(request.parameter("max-keys") or 1000))
        except ValueError:
            raise invalid("Invalid max-keys.") from None

        if second:
            after = get("continuation-token")
            try:
                after = bytes.fromhex(after.decode())
            except ValueError:
                raise invalid("Invalid continuation token.") from None
            after = after or get("start-after")
        else:
            after = get("marker")

        page = list_objects(bucket, get("prefix"), get("delimiter"), after,
                            max(0, limit))

        def text(raw: bytes) -> str:
            return quote(raw, safe="/") if url \
                else escape(raw.decode("utf-8", "replace"))

        parts = ["<?xml version='1.0' encoding='UTF-8'?><ListBucketResult "
                 "xmlns='http://doc.s3.amazonaws.com/2006-03-01'>"
                 f"<Name>{bucket.name}</Name>"
                 f"<Prefix>{text(get('prefix'))}</Prefix>"]
        if get("delimiter"):
            parts.append(f"<Delimiter>{text(get('delimiter'))}</Delimiter>")
        if second:
            count = len(page.items) + len(page.prefixes)
            parts.append(f"<KeyCount>{count}</KeyCount>")
        else:
            parts.append(f"<Marker>{text(after)}</Marker>")

        more = page.next_after is not None
        parts.append(f"<IsTruncated>{str(more).lower()}</IsTruncated>")
        if page.next_after is not None and second:
            parts.append("<NextContinuationToken>"
                         f"{page.next_after.hex()}</NextContinuationToken>")
        elif page.next_after is not None and get("delimiter"):
            parts.append(f"<NextMarker>{text(page.next_after)}</NextMarker>")

        parts += [self._entry(item, text(item.name)) for item in page.items]
        parts += [f"<CommonPrefixes><Prefix>{text(prefix)}</Prefix>"
                  "</CommonPrefixes>" for prefix in page.prefixes]
        parts.append("</ListBucketResult>")

        response = Response(200, common_headers(), "".join(parts).encode())
        response.set("Content-Type", "application/xml; charset=UTF-8")
        response.set("Cache-Control", "private, max-age=0")
        return response

    @staticmethod
    def _entry(item: Object, name: str) -> str:
        return (f"<Contents><Key>{name}</Key>"
                f"<Generation>{item.generation}</Generation>"
                f"<MetaGeneration>{item.metageneration}</MetaGeneration>"
                f"<LastModified>{xml_time(item.created)}</LastModified>"
                f"<ETag>{escape(item.etag)}</ETag>"
                f"<Size>{item.size}</Size></Contents>")

"""The answer to a read of an object: headers, ranges, conditions, gunzip."""

from __future__ import annotations

import base64
import hashlib
import time
import zlib
from email.utils import formatdate
from typing import Iterator

from . import http_rules
from .errors import StorageError, common_headers, invalid
from .objects import Object
from .service import Context
from .wire import Response


def _is_public(context: Context, item: Object) -> bool:
    bucket = context.app.store.buckets[item.bucket]
    return item.public or bucket.public


def object_headers(context: Context, item: Object, etag: str) \
        -> list[tuple[str, str]]:
    """Everything but framing, content coding and hashes."""
    public = _is_public(context, item)
    control = item.cache_control or (
        "public, max-age=3600" if public else "private, max-age=0")
    now = time.time()
    age = http_rules.max_age(control) or 0

    headers = common_headers()
    headers += [
        ("Expires", formatdate(now + age, usegmt=True)),
        ("Cache-Control", control),
        ("Last-Modified", formatdate(int(item.created), usegmt=True)),
        ("ETag", etag),
        ("x-goog-generation", str(item.generation)),
        ("x-goog-metageneration", str(item.metageneration)),
        ("x-goog-stored-content-encoding",
         item.content_encoding or "identity"),
        ("x-goog-stored-content-length", str(item.size)),
        ("x-goog-storage-class", item.storage_class),
        ("Content-Type", item.content_type or "application/octet-stream"),
    ]
    headers += [(f"x-goog-meta-{name}", value)
                for name, value in item.metadata.items()]

    if item.content_language:
        headers.append(("Content-Language", item.content_language))
    if item.content_disposition:
        headers.append(("Content-Disposition", item.content_disposition))
    if item.composite:
        headers.append(("x-goog-component-count", "2"))
    if item.csek is not None:
        digest = base64.b64encode(hashlib.sha256(item.csek).digest())
        headers += [("x-goog-encryption-algorithm", "AES256"),
                    ("x-goog-encryption-key-sha256", digest.decode())]
    if item.content_encoding == "gzip":
        headers.append(("Vary", "Accept-Encoding"))
    return headers


def hash_headers(item: Object) -> list[tuple[str, str]]:
    names = zip(("crc32c", "md5"), item.hashes)
    return [("x-goog-hash", f"{name}={base64.b64encode(value).decode()}")
            for name, value in names if value is not None]


def _number(name: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isascii() or not value.isdigit():
        raise invalid(f"Invalid value for {name}.")
    return int(value)


def check_generations(context: Context, item: Object | None) -> int | None:
    """412 or 304 of the generation conditions of either API."""
    request = context.request
    have = (item.generation if item else 0,
            item.metageneration if item else 0)

    for header, name, value in (
            ("x-goog-if-generation-match", "ifGenerationMatch", have[0]),
            ("x-goog-if-metageneration-match", "ifMetagenerationMatch",
             have[1])):
        for source, given in ((header, request.get(header)),
                              (name, request.parameter(name))):
            wanted = _number(source, given)
            if wanted is not None and wanted != value:
                return 412

    for name, value in (("ifGenerationNotMatch", have[0]),
                        ("ifMetagenerationNotMatch", have[1])):
        wanted = _number(name, request.parameter(name))
        if wanted is not None and wanted == value:
            return 304 if request.method in ("GET", "HEAD") else 412

    return None


def precondition_failed() -> StorageError:
    return StorageError(412, "PreconditionFailed", reason="conditionNotMet")


def _gunzipped(item: Object) -> Iterator[bytes]:
    """All members of a gzip file."""
    unzip = zlib.decompressobj(31)
    for piece in item.data.pieces(0, item.size):
        while piece:
            out = unzip.decompress(piece)
            if out:
                yield out
            piece = unzip.unused_data
            if unzip.eof and piece:
                unzip = zlib.decompressobj(31)


def _is_gzip(item: Object) -> bool:
    try:
        for _ in _gunzipped(item):
            break
        return item.size > 0
    except zlib.error:
        return False


def _transcodes(context: Context, item: Object) -> bool:
    request = context.request
    return (item.content_encoding == "gzip"
            and not http_rules.accepts_gzip(request.get("accept-encoding"))
            and not http_rules.has_directive(item.cache_control,
                                             "no-transform")
            and not http_rules.has_directive(request.get("cache-control"),
                                             "no-transform"))


def _transcoded(item: Object, headers: list[tuple[str, str]]) -> Response:
    if not _is_gzip(item):
        raise invalid("The object's content is not in gzip format.")
    headers += hash_headers(item)
    headers += [("Warning", "214 UploadServer gunzipped"),
                ("x-guploader-response-body-transformations", "gunzipped")]
    return Response(200, headers, None, _gunzipped(item), chunked=True)


def read(context: Context, item: Object, etag: str) -> Response:
    """GET or HEAD, once access has been granted."""
    request, config = context.request, context.app.config
    headers = object_headers(context, item, etag)
    modified = int(item.created)

    status = check_generations(context, item) or http_rules.evaluate(
        request.get("if-match"), request.get("if-unmodified-since"),
        request.get("if-none-match"), request.get("if-modified-since"),
        etag, modified)

    if status == 412:
        raise precondition_failed()

    if status == 304:
        keep = ("x-guploader-uploadid", "date", "server", "alt-svc",
                "expires", "cache-control", "etag", "vary",
                "x-goog-generation", "x-goog-metageneration")
        return Response(304, [h for h in headers if h[0].lower() in keep])

    if _transcodes(context, item):
        return _transcoded(item, headers)

    if item.content_encoding:
        headers.append(("Content-Encoding", item.content_encoding))
    headers.append(("Accept-Ranges", "bytes"))

    part = None
    if config.if_range == "ignored" or http_rules.range_applies(
            request.get("if-range"), etag, modified):
        try:
            part = http_rules.parse_range(request.get("range"), item.size)
        except http_rules.Unsatisfiable:
            raise StorageError(
                416, "InvalidRange", request.get("range"),
                reason="requestedRangeNotSatisfiable",
                headers=(("Content-Range", f"bytes */{item.size}"),)) \
                from None

    if part is None:
        response = Response(200, headers + hash_headers(item), None,
                            item.data.pieces(0, item.size), item.size)
    else:
        start, end = part
        headers.append(("Content-Range",
                        f"bytes {start}-{end - 1}/{item.size}"))
        response = Response(206, headers, None,
                            item.data.pieces(start, end), end - start)

    if request.method == "HEAD" and item.content_encoding == "gzip":
        response.lengthless = True

    return response

"""Uploads in parts, the XML API's way: parts in any order, then their list."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, unescape

from .errors import StorageError, common_headers, invalid
from .objects import Bucket, crc32c
from .service import Context
from .storage_access import Caller, require
from .storage_write import check_hashes, store
from .wire import Response

MIN_PART = 5 << 20                     # but for the last
MAX_PART_NUMBER = 10_000
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_PART = re.compile(r"<Part>(.*?)</Part>", re.DOTALL)


@dataclass
class Upload:
    name: bytes
    attributes: dict[str, Any]
    parts: dict[int, bytes] = field(default_factory=dict)


def wants(context: Context, name: bytes | None) -> bool:
    """Whether method and parameters are those of an upload in parts."""
    names = sorted(key for key, _ in context.request.query
                   if key != "userProject")
    return name is not None and (context.request.method, names) in (
        ("POST", ["uploads"]), ("PUT", ["partNumber", "uploadId"]),
        ("POST", ["uploadId"]), ("DELETE", ["uploadId"]),
        ("GET", ["uploadId"]))


def answer(context: Context, caller: Caller, bucket: Bucket, name: bytes,
           attributes: dict[str, Any]) -> Response:
    """`attributes` is what the headers say of the object to be."""
    request = context.request
    require(context, caller, "storage.objects.create", bucket)
    if request.parameter("uploads") is not None:
        return _start(bucket, name, attributes)

    identifier = request.parameter("uploadId") or ""
    found = bucket.multiparts.get(identifier)
    if found is None or found.name != name:
        raise StorageError(404, "NoSuchUpload", reason="notFound")

    if request.method == "PUT":
        return _part(context, found)
    if request.method == "GET":
        return _list(bucket, identifier, found)
    if request.method == "DELETE":
        del bucket.multiparts[identifier]
        return Response(204, common_headers())
    response = _complete(context, caller, bucket, found)
    del bucket.multiparts[identifier]
    return response


def _xml(root: str, members: dict[str, str]) -> Response:
    inside = "".join(f"<{key}>{escape(value)}</{key}>"
                     for key, value in members.items())
    response = Response(200, common_headers(), (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f"<{root} xmlns='{_NAMESPACE}'>{inside}</{root}>").encode())
    response.set("Content-Type", "application/xml; charset=UTF-8")
    return response


def _list(bucket: Bucket, identifier: str, upload: Upload) -> Response:
    response = _xml("ListPartsResult", {
        "Bucket": bucket.name, "Key": upload.name.decode("utf-8", "replace"),
        "UploadId": identifier, "IsTruncated": "false"})
    assert response.body is not None
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber>"
        f"<ETag>{escape(_tag(data))}</ETag><Size>{len(data)}</Size></Part>"
        for number, data in sorted(upload.parts.items()))
    end = b"</ListPartsResult>"
    response.body = response.body.replace(end, parts.encode() + end)
    return response


def _start(bucket: Bucket, name: bytes,
           attributes: dict[str, Any]) -> Response:
    identifier = secrets.token_urlsafe(24)
    bucket.multiparts[identifier] = Upload(name, attributes)
    return _xml("InitiateMultipartUploadResult", {
        "Bucket": bucket.name, "Key": name.decode("utf-8", "replace"),
        "UploadId": identifier})


def _part(context: Context, upload: Upload) -> Response:
    request = context.request
    given = request.parameter("partNumber") or ""
    if not given.isascii() or not given.isdigit() \
            or not 0 < int(given) <= MAX_PART_NUMBER:
        raise invalid("Invalid partNumber.")
    check_hashes(request.body, request.get_all("x-goog-hash"),
                 request.get("content-md5"))
    upload.parts[int(given)] = request.body
    headers = common_headers() + [("ETag", _tag(request.body))]
    for kind, digest in (("crc32c", crc32c(request.body)),
                         ("md5", hashlib.md5(request.body).digest())):
        if digest is not None:
            headers.append(("x-goog-hash",
                            f"{kind}={base64.b64encode(digest).decode()}"))
    return Response(200, headers)


def _tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def _member(text: str, name: str) -> str:
    match = re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
    if match is None:
        raise StorageError(400, "MalformedXML", reason="invalid")
    return unescape(match[1].strip(), {"&quot;": '"'})


def _complete(context: Context, caller: Caller, bucket: Bucket,
              upload: Upload) -> Response:
    listed = [(_member(part, "PartNumber"), _member(part, "ETag"))
              for part in _PART.findall(context.request.body.decode())]
    numbers = [int(number) for number, _ in listed]
    if not numbers or numbers != sorted(set(numbers)):
        raise StorageError(400, "InvalidPartOrder", reason="invalid")

    for index, (number, tag) in enumerate(listed):
        data = upload.parts.get(int(number))
        if data is None or tag.strip('"') != _tag(data).strip('"'):
            raise StorageError(400, "InvalidPart", reason="invalid")
        if len(data) < MIN_PART and index < len(listed) - 1:
            raise StorageError(400, "EntityTooSmall", reason="invalid")

    item = store(context, caller, bucket, upload.name,
                 b"".join(upload.parts[number] for number in numbers),
                 {**upload.attributes, "composite": True,
                  "components": len(numbers)})
    response = _xml("CompleteMultipartUploadResult", {
        "Bucket": bucket.name, "Key": item.text_name, "ETag": item.etag})
    response.headers.append(("x-goog-generation", str(item.generation)))
    return response

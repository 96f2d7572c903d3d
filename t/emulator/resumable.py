"""Uploads that a POST begins and PUTs continue: the XML API's form.

Whoever knows the session's URL may write to it: there is no other credential,
and none is looked at.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from .errors import StorageError, common_headers, invalid
from .objects import Bucket
from .service import Context
from .storage_access import Caller, require
from .storage_read import check_generations, precondition_failed
from .storage_write import store
from .wire import Request, Response

PARAMETER = "upload_id"
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)\Z")


@dataclass
class Session:
    name: bytes
    caller: Caller
    origin: str | None                     # of the page that has begun it
    attributes: dict[str, Any]
    data: bytearray = field(default_factory=bytearray)


def find(request: Request, bucket: Bucket | None) -> Session | None:
    identifier = request.parameter(PARAMETER)
    if identifier is None or bucket is None:
        return None
    return bucket.uploads.get(identifier)


def start(context: Context, caller: Caller, bucket: Bucket,
          name: bytes) -> Response:
    request = context.request
    require(context, caller, "storage.objects.create", bucket)
    if check_generations(context, bucket.find(name)) is not None:
        raise precondition_failed()

    identifier = secrets.token_urlsafe(24)
    bucket.uploads[identifier] = Session(
        name, caller, request.get("origin"),
        {"content_type": request.get("content-type")})
    place = (f"{'https' if request.tls else 'http'}://{request.get('host')}"
             f"{request.path.decode('latin-1')}?{PARAMETER}={identifier}")
    return Response(201, common_headers() + [("Location", place)])


def proceed(context: Context, bucket: Bucket, name: bytes) -> Response:
    """More of the bytes, or a question of how many there are."""
    request = context.request
    session = find(request, bucket)
    if session is None or session.name != name:
        raise StorageError(404, "NoSuchUpload", reason="notFound")
    context.record["credential"] = "upload session"

    given = request.get("content-range")
    total = None
    if given is None:
        session.data[:] = request.body
        total = len(request.body)
    else:
        match = _RANGE.match(given)
        if match is None:
            raise invalid("Invalid Content-Range.")
        first, last, size = match.groups()
        if first is not None:
            if int(first) != len(session.data) \
                    or int(last) - int(first) + 1 != len(request.body):
                raise invalid("Invalid Content-Range.")
            session.data += request.body
        if size != "*":
            total = int(size)

    if total is None or len(session.data) < total:
        response = Response(308, common_headers())
        if session.data:
            response.headers.append(
                ("Range", f"bytes=0-{len(session.data) - 1}"))
        return response

    item = store(context, session.caller, bucket, name, bytes(session.data),
                 session.attributes)
    del bucket.uploads[request.parameter(PARAMETER)]
    return Response(200, common_headers() + [
        ("ETag", item.etag), ("x-goog-generation", str(item.generation))])

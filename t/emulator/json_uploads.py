"""The JSON API's uploads: simple, multipart, and resumable ones.

The address of a resumable session is all that its chunks need: whoever knows
it may write, and no other credential is looked at.
"""

from __future__ import annotations

import email.parser
import email.policy
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from . import storage_access as access
from .errors import StorageError, common_headers, invalid
from .json_resource import (attributes, json_answer, public, resource,
                            resource_of)
from .objects import Bucket
from .service import Context
from .storage_write import check_hashes, store
from .wire import Response

UNIT = 256 * 1024                      # of chunks, but for the last
_MULTIPART = re.compile(
    r"""multipart/related\s*;\s*boundary=(?:"([^"]+)"|'([^']+)'|([^\s;]+))"""
    r"""\s*\Z""", re.IGNORECASE)
_RANGE = re.compile(r"bytes (?:([0-9]+)-([0-9]+|\*)|\*)/([0-9]+|\*)\Z")


@dataclass
class Session:
    """A resumable upload under way."""

    caller: access.Caller
    bucket: Bucket
    resource: dict[str, Any]
    content_type: str | None
    data: bytearray = field(default_factory=bytearray)


def upload(context: Context, caller: access.Caller,
           bucket: Bucket) -> Response:
    request = context.request
    members: dict[str, Any] = {}
    body, content_type = request.body, request.get("content-type")
    mode = request.parameter("uploadType")

    if mode == "resumable":
        return _start(context, caller, bucket)

    if mode == "multipart":
        members, body, content_type = _parts(content_type or "", body)
    elif mode != "media":
        raise invalid("Unsupported uploadType.")

    return _store(context, caller, bucket, members, body, content_type)


def _name(context: Context, members: dict[str, Any]) -> bytes:
    name = context.request.parameter("name") or members.get("name")
    if not isinstance(name, str) or not name:
        raise StorageError(400, "required", message="Required")
    return name.encode("utf-8", "surrogateescape")


def _store(context: Context, caller: access.Caller, bucket: Bucket,
           members: dict[str, Any], body: bytes,
           content_type: str | None) -> Response:
    request = context.request
    hashes = [f"{key}={members[member]}" for key, member in
              (("crc32c", "crc32c"), ("md5", "md5Hash"))
              if member in members]
    check_hashes(body, hashes + request.get_all("x-goog-hash"), None)

    chosen = attributes(members, content_type,
                        request.parameter("contentEncoding"))
    chosen["public"] = public(context, caller, bucket, members)
    item = store(context, caller, bucket, _name(context, members), body,
                 chosen)
    return json_answer(context, resource(context, item))


def _start(context: Context, caller: access.Caller,
           bucket: Bucket) -> Response:
    request = context.request
    members = resource_of(request.body or b"{}")
    members.setdefault("name", _name(context, members).decode())
    if members.get("bucket", bucket.name) != bucket.name:
        raise invalid("The bucket of the resource is not that of the path.")
    attributes(members)
    public(context, caller, bucket, members)
    access.require(context, caller, "storage.objects.create", bucket)

    session = secrets.token_urlsafe(64)
    context.app.sessions[session] = Session(
        caller, bucket, members, request.get("x-upload-content-type"))
    scheme = "https" if request.tls else "http"
    path = request.target.decode("latin-1")
    return Response(200, common_headers() + [
        ("Location", f"{scheme}://{request.get('host')}{path}"
                     f"&upload_id={session}"),
        ("X-GUploader-UploadID", session)])


def cancel(context: Context) -> Response:
    if context.app.sessions.pop(
            context.request.parameter("upload_id") or "", None) is None:
        raise StorageError(404, "notFound", message="Not Found")
    context.record["credential"] = "upload session"
    return Response(499, common_headers())


def proceed(context: Context) -> Response:
    """More of the bytes, or a question of how many there are."""
    sessions, request = context.app.sessions, context.request
    name = request.parameter("upload_id") or ""
    session = sessions.get(name)
    if session is None:
        raise StorageError(404, "notFound", message="Not Found")
    context.record["credential"] = "upload session"

    given = request.get("content-range")
    match = _RANGE.match(given or f"bytes 0-*/{len(request.body)}")
    if match is None:
        raise invalid("Invalid Content-Range.")
    first, last, size = match.groups()

    if first is None and request.body:
        raise invalid("Invalid Content-Range.")

    if first is not None:
        if int(first) != len(session.data):
            raise StorageError(503, "backendError")
        if last != "*" and int(last) - int(first) + 1 != len(request.body):
            raise invalid("Invalid Content-Range.")
        if last != "*" and size == "*" and len(request.body) % UNIT:
            raise invalid("The size of a chunk is no multiple of 256 KiB.")
        session.data += request.body

    have = len(session.data)
    if size != "*" and have > int(size):
        raise invalid("Invalid Content-Range.")

    # "0-*/*" is all there is, whatever that may be
    if (size != "*" and have == int(size)) or (last, size) == ("*", "*"):
        del sessions[name]
        return _store(context, session.caller, session.bucket,
                      session.resource, bytes(session.data),
                      session.content_type)

    # for libraries that take 308 for a redirect
    hidden = request.get("x-guploader-no-308") == "yes"
    response = Response(200 if hidden else 308, common_headers())
    if hidden:
        response.set("X-Http-Status-Code-Override", "308")
    if have:
        response.set("Range", f"bytes=0-{have - 1}")
    return response


def _boundary(content_type: str) -> str | None:
    """Bare, quoted, or in single quotes, as apitools sends it."""
    match = _MULTIPART.match(content_type)
    return match and (match[1] or match[2] or match[3])


def _parts(content_type: str, body: bytes) \
        -> tuple[dict[str, Any], bytes, str | None]:
    """Resource, media and its type out of a multipart/related body."""
    boundary = _boundary(content_type)
    if not boundary:
        raise invalid("Bad multipart body.")

    # Not with the email package: it would touch the media's line ends, which
    # are CRLF or LF as the client likes.
    pieces = re.split(rb"\r?\n--" + re.escape(boundary.encode()),
                      b"\n" + body)
    if len(pieces) != 4 or pieces[3].strip() != b"--":
        raise invalid("Bad multipart body.")

    found = []
    for piece in pieces[1:3]:
        split = re.split(rb"\r?\n\r?\n", piece, maxsplit=1)
        if len(split) != 2:
            raise invalid("Bad multipart body.")
        fields = email.parser.BytesParser(policy=email.policy.HTTP) \
            .parsebytes(split[0].strip() + b"\r\n\r\n", headersonly=True)
        found.append((fields.get("content-type"), split[1]))

    return resource_of(found[0][1]), found[1][1], found[1][0]

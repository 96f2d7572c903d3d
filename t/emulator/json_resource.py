"""What the JSON API says of an object, and the part of it that is wanted."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import quote

from .errors import common_headers, invalid
from .objects import Bucket, Object
from .service import Context
from .storage_access import Caller, require
from .storage_xml import xml_time
from .wire import Response

GOOGLE_LINKS = ("https://www.googleapis.com",
                "https://storage.googleapis.com")
_TOKEN = re.compile(r"[A-Za-z0-9_*-]+|[(),/]")


def _selection(text: str) -> dict[str, Any]:
    """`a,b/c,d(e,f)` as a tree; an empty one wants all that is below."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text:
        raise invalid(f"Invalid field selection {text}")

    def group(end: str | None) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        while True:
            place = tree
            while True:
                if not tokens or tokens[0] in "(),/":
                    raise invalid(f"Invalid field selection {text}")
                place = place.setdefault(tokens.pop(0), {})
                if tokens[:1] != ["/"]:
                    break
                tokens.pop(0)
            if tokens[:1] == ["("]:
                tokens.pop(0)
                place.update(group(")"))
            last = tokens.pop(0) if tokens else None
            if last == end:
                return tree
            if last != ",":
                raise invalid(f"Invalid field selection {text}")

    return group(None)


def _selected(value: Any, tree: dict[str, Any]) -> Any:
    if not tree or "*" in tree:
        return value
    if isinstance(value, list):
        return [_selected(item, tree) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _selected(value[name], tree[name])
            for name in value if name in tree}


def json_answer(context: Context, value: dict[str, Any]) -> Response:
    fields = context.request.parameter("fields")
    if fields:
        value = _selected(value, _selection(fields))
    response = Response(200, common_headers(), json.dumps(value).encode())
    response.set("Content-Type", "application/json; charset=UTF-8")
    response.set("Cache-Control", "private, max-age=0")
    return response


def resource(context: Context, item: Object) -> dict[str, Any]:
    scheme = "https" if context.request.tls else "http"
    base = media = f"{scheme}://{context.request.get('host')}"
    if context.app.config.links == "google":
        base, media = GOOGLE_LINKS
    path = f"/storage/v1/b/{item.bucket}/o/{quote(item.name, safe='')}"
    crc, md5 = item.hashes if item.csek is None else (None, None)
    members = {
        "kind": "storage#object",
        "id": f"{item.bucket}/{item.text_name}/{item.generation}",
        "selfLink": base + path,
        "mediaLink": f"{media}/download{path}"
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
        "componentCount": item.components if item.composite else None,
        "etag": item.opaque_etag,
        "timeCreated": xml_time(item.created),
        "updated": xml_time(item.updated or item.created)}
    return {key: value for key, value in members.items()
            if value is not None}


def resource_of(body: bytes) -> dict[str, Any]:
    """The object that a request's body describes."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise invalid("Parse Error")
    return value


def number(context: Context, name: str) -> int | None:
    value = context.request.parameter(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit():
        raise invalid(f"Invalid value for {name}.")
    return int(value)


def attributes(members: dict[str, Any], content_type: str | None = None,
               content_encoding: str | None = None) -> dict[str, Any]:
    """What a resource lets its writer choose, as Object takes it."""
    metadata = members.get("metadata") or {}
    if not isinstance(metadata, dict) or not all(
            isinstance(value, str) for value in metadata.values()):
        raise invalid("Invalid metadata.")
    chosen = {
        "content_type": members.get("contentType") or content_type,
        "content_encoding": members.get("contentEncoding")
        or content_encoding,
        "content_language": members.get("contentLanguage"),
        "content_disposition": members.get("contentDisposition"),
        "cache_control": members.get("cacheControl")}
    if not all(value is None or isinstance(value, str)
               for value in chosen.values()):
        raise invalid("Invalid value.")
    return {**chosen, "metadata": dict(metadata)}


def public(context: Context, caller: Caller, bucket: Bucket,
           members: dict[str, Any]) -> bool:
    """Whether a list of who may read it, or the name of one, says so."""
    named = [context.request.parameter(name) for name in
             ("predefinedAcl", "destinationPredefinedAcl")]
    if "acl" not in members and named == [None, None]:
        return False
    require(context, caller, "storage.objects.setIamPolicy", bucket)
    return any(name and name.startswith("publicRead") for name in named) \
        or "allUsers" in json.dumps(members.get("acl"))

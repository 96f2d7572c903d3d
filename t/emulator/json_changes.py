"""The JSON API's changes of objects that are there: metadata, copies, moves
and compositions."""

from __future__ import annotations

import base64
import time
from typing import Any, Mapping

from . import storage_access as access
from .errors import common_headers, invalid
from .json_resource import (attributes, json_answer, number, public,
                            resource, resource_of)
from .objects import Bucket, Object
from .service import Context
from .storage_read import check_generations, precondition_failed
from .storage_write import (check_metadata, check_storage_class, remove,
                            store)
from .wire import Response

MAX_SOURCES = 32
_MIB = 1 << 20


def change(context: Context, caller: access.Caller, bucket: Bucket,
           name: bytes) -> Response:
    """PATCH, where null takes a member away, or PUT, where silence does."""
    item = access.find_object(context, caller, "storage.objects.update",
                              bucket, name, number(context, "generation"))
    if check_generations(context, item) is not None:
        raise precondition_failed()

    given = resource_of(context.request.body or b"{}")
    for member, real in (("name", item.text_name), ("bucket", bucket.name)):
        if given.get(member, real) != real:
            raise invalid(f"The {member} of an object cannot be changed.")
    item.public |= public(context, caller, bucket, given)

    if context.request.method == "PATCH":
        given = _patched(context, item, given)
    chosen = attributes(given)
    check_metadata(chosen["metadata"])
    for member, value in chosen.items():
        setattr(item, member, value)
    item.metageneration += 1
    item.updated = time.time()
    return json_answer(context, resource(context, item))


def _patched(context: Context, item: Object,
             given: dict[str, Any]) -> dict[str, Any]:
    merged = {**resource(context, item), **given}
    metadata = given.get("metadata", {})
    if metadata is None:
        merged["metadata"] = {}
    elif isinstance(metadata, dict):
        merged["metadata"] = {key: value for key, value
                              in {**item.metadata, **metadata}.items()
                              if value is not None}
    return merged


def _source_conditions(context: Context, item: Object) -> None:
    for name, value in (("ifSourceGenerationMatch", item.generation),
                        ("ifSourceMetagenerationMatch", item.metageneration)):
        wanted = number(context, name)
        if wanted is not None and wanted != value:
            raise precondition_failed()


def _kept(item: Object) -> dict[str, Any]:
    return {"content_type": item.content_type,
            "content_encoding": item.content_encoding,
            "content_language": item.content_language,
            "content_disposition": item.content_disposition,
            "cache_control": item.cache_control,
            "storage_class": item.storage_class,
            "metadata": dict(item.metadata)}


def _target_attributes(item: Object, given: dict[str, Any]) \
        -> dict[str, Any]:
    """Those of the source; or, once the body names any, the body's."""
    chosen = _kept(item)
    if "storageClass" in given:
        chosen["storage_class"] = check_storage_class(given["storageClass"])
    if set(given) - {"storageClass", "name", "bucket", "md5Hash"}:
        chosen.update(attributes(given))
    return chosen


def copy(context: Context, caller: access.Caller, bucket: Bucket,
         name: bytes, target: Bucket, target_name: bytes,
         rewriting: bool) -> Response:
    """copyTo at once; rewriteTo in as many calls as the client allows."""
    item = access.find_object(context, caller, "storage.objects.get", bucket,
                              name, number(context, "sourceGeneration"))
    _source_conditions(context, item)

    limit = number(context, "maxBytesRewrittenPerCall")
    if rewriting and limit is not None:
        if not limit or limit % _MIB:
            raise invalid("Invalid value for maxBytesRewrittenPerCall.")
        done = _progress(context, item) + limit
        if done < item.size:
            access.require(context, caller, "storage.objects.create", target)
            token = base64.urlsafe_b64encode(
                f"{item.generation}:{done}".encode()).decode()
            return json_answer(context, {
                "kind": "storage#rewriteResponse", "done": False,
                "totalBytesRewritten": str(done),
                "objectSize": str(item.size), "rewriteToken": token})

    given = resource_of(context.request.body or b"{}")
    made = store(context, caller, target, target_name,
                 item.data.read(0, item.size),
                 {**_target_attributes(item, given),
                  "public": public(context, caller, target, given),
                  "composite": item.composite,
                  "components": item.components})
    answer = resource(context, made)
    if rewriting:
        answer = {"kind": "storage#rewriteResponse", "done": True,
                  "totalBytesRewritten": str(made.size),
                  "objectSize": str(made.size), "resource": answer}
    return json_answer(context, answer)


def _progress(context: Context, item: Object) -> int:
    token = context.request.parameter("rewriteToken")
    if token is None:
        return 0
    try:
        generation, _, done = base64.urlsafe_b64decode(token).decode() \
            .partition(":")
        if int(generation) == item.generation:
            return int(done)
    except ValueError:
        pass
    raise invalid("Invalid rewriteToken.")


def move(context: Context, caller: access.Caller, bucket: Bucket,
         name: bytes, target_name: bytes) -> Response:
    item = access.find_object(context, caller, "storage.objects.move",
                              bucket, name)
    _source_conditions(context, item)
    made = store(context, caller, bucket, target_name,
                 item.data.read(0, item.size),
                 {**_kept(item), "composite": item.composite,
                  "components": item.components})
    bucket.delete(name)
    return json_answer(context, resource(context, made))


def _sources(context: Context, caller: access.Caller, bucket: Bucket,
             given: dict[str, Any]) -> list[Object]:
    wanted = given.get("sourceObjects")
    if not isinstance(wanted, list) or not 0 < len(wanted) <= MAX_SOURCES:
        raise invalid("The number of source components is not 1 to 32.")

    found = []
    for source in wanted:
        if not isinstance(source, Mapping) \
                or not isinstance(source.get("name"), str):
            raise invalid("Invalid source object.")
        generation = source.get("generation")
        item = access.find_object(
            context, caller, "storage.objects.get", bucket,
            source["name"].encode(),
            None if generation is None else int(generation))
        conditions = source.get("objectPreconditions") or {}
        wanted_generation = conditions.get("ifGenerationMatch")
        if wanted_generation is not None \
                and int(wanted_generation) != item.generation:
            raise precondition_failed()
        found.append(item)
    return found


def compose(context: Context, caller: access.Caller, bucket: Bucket,
            name: bytes) -> Response:
    given = resource_of(context.request.body or b"{}")
    chosen = given.get("destination") or {}
    if not isinstance(chosen, dict):
        raise invalid("Invalid destination.")
    if chosen.get("bucket", bucket.name) != bucket.name:
        raise invalid("The destination is in another bucket.")
    items = _sources(context, caller, bucket, given)
    data = b"".join(item.data.read(0, item.size) for item in items)
    made = store(context, caller, bucket, name, data, {
        **attributes(chosen), "composite": True,
        "public": public(context, caller, bucket, chosen),
        "components": sum(item.components for item in items)})
    return json_answer(context, resource(context, made))


def delete(context: Context, caller: access.Caller, bucket: Bucket,
           name: bytes) -> Response:
    remove(context, caller, bucket, name, number(context, "generation"))
    return Response(204, common_headers())

"""Storing and deleting objects: shared by the XML and the JSON API."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from .errors import StorageError, invalid
from .objects import Bucket, Data, Object, crc32c
from .service import Context
from .storage_access import (Caller, check_encryption, find_object, require)
from .storage_read import check_generations, precondition_failed

MAX_NAME = 1024
MAX_METADATA = 8192                        # names and values, bytes
STORAGE_CLASSES = ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE")


def check_name(name: bytes) -> None:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        raise StorageError(400, "InvalidURI", reason="invalid") from None

    if len(name) > MAX_NAME:
        raise StorageError(400, "KeyTooLong", reason="invalid")

    if name in (b".", b"..") or b"\r" in name or b"\n" in name \
            or name.startswith(b".well-known/acme-challenge/"):
        raise invalid("Invalid object name.")


def _hashes(values: list[str], md5: str | None) -> dict[str, str]:
    found = {"md5": md5} if md5 else {}
    for value in ",".join(values).split(","):
        name, mark, digest = value.strip().partition("=")
        if mark:
            found[name] = digest
    return found


def check_hashes(body: bytes, values: list[str], md5: str | None) -> None:
    wanted = _hashes(values, md5)
    for name, digest in wanted.items():
        size = {"md5": 16, "crc32c": 4}.get(name)
        try:
            valid = len(base64.b64decode(digest, validate=True)) == size
        except ValueError:
            valid = False
        if not valid:
            raise StorageError(400, "InvalidDigest", reason="invalid")
    actual = {"md5": hashlib.md5(body).digest()}
    if "crc32c" in wanted:
        actual["crc32c"] = crc32c(body)
    for name, digest in wanted.items():
        have = actual.get(name)
        if have is not None and base64.b64encode(have).decode() != digest:
            raise StorageError(400, "BadDigest", reason="invalid")


def check_metadata(metadata: dict[str, str]) -> None:
    size = sum(len(name.encode()) + len(value.encode())
               for name, value in metadata.items())
    if size > MAX_METADATA:
        raise StorageError(400, "MetadataTooLarge", reason="invalid")


def check_storage_class(name: str | None) -> str:
    if name is None:
        return "STANDARD"
    if name.upper() not in STORAGE_CLASSES:
        raise StorageError(400, "InvalidStorageClass", reason="invalid")
    return name.upper()


def store(context: Context, caller: Caller, bucket: Bucket, name: bytes,
          body: bytes, attributes: dict[str, Any]) -> Object:
    check_name(name)
    old = bucket.find(name)
    require(context, caller, "storage.objects.create", bucket)
    if old is not None:
        require(context, caller, "storage.objects.delete", bucket)
    if check_generations(context, old) is not None:
        raise precondition_failed()

    item = Object(bucket.name, name, Data(body),
                  context.app.store.next_generation(),
                  csek=check_encryption(context, None), **attributes)
    bucket.put(item)
    return item


def remove(context: Context, caller: Caller, bucket: Bucket, name: bytes,
           generation: int | None) -> None:
    item = find_object(context, caller, "storage.objects.delete", bucket,
                       name, generation)
    if check_generations(context, item) is not None:
        raise precondition_failed()
    if generation is None:
        bucket.delete(name)
    else:
        bucket.delete_generation(name, generation)

"""Buckets and objects, in memory.

An object's bytes are either kept, or computed from a seed when asked for, so
that objects of many gigabytes cost nothing until somebody reads them.
"""

from __future__ import annotations

import base64
import bisect
import functools
import hashlib
import random
import time
from dataclasses import dataclass, field
from typing import Any, Iterator

try:
    from google_crc32c import value as _fast_crc32c
except ImportError:                                  # not packaged by Debian
    _fast_crc32c = None

BLOCK = 1 << 20
PIECE = 256 * 1024

# Beyond this a generated object looks like a composite one: it has no MD5.
_HASHED_SIZE = 64 << 20
# Pure Python manages some megabytes per second.
_SLOW_CRC_SIZE = 1 << 20


@functools.lru_cache(maxsize=16)
def _base_block(seed: int) -> int:
    data = random.Random(seed).randbytes(BLOCK)
    return int.from_bytes(data, "little")


@functools.lru_cache(maxsize=64)
def _block(seed: int, index: int) -> bytes:
    # The index is mixed into every 8 bytes: no two blocks of an object, and
    # no shifted copies of them, are alike.
    mask = index.to_bytes(8, "little") * (BLOCK // 8)
    value = _base_block(seed) ^ int.from_bytes(mask, "little")
    return value.to_bytes(BLOCK, "little")


def content(seed: int, start: int, end: int) -> bytes:
    """Bytes start..end (end excluded) of the generated object `seed`."""
    parts = []
    while start < end:
        index, offset = divmod(start, BLOCK)
        part = _block(seed, index)[offset:offset + end - start]
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


def crc32c(data: bytes) -> bytes | None:
    """Big-endian CRC32C, or None where computing it would take too long."""
    if _fast_crc32c is not None:
        return _fast_crc32c(data).to_bytes(4, "big")

    if len(data) > _SLOW_CRC_SIZE:
        return None

    global _table
    if _table is None:
        _table = _crc_table()

    table, crc = _table, 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "big")


_table: list[int] | None = None


class Data:
    """The stored bytes of an object."""

    def __init__(self, data: bytes):
        self._data = data
        self.size = len(data)

    def read(self, start: int, end: int) -> bytes:
        return self._data[start:end]

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            stop = min(end, start + PIECE)
            yield self.read(start, stop)
            start = stop


class GeneratedData(Data):

    def __init__(self, seed: int, size: int):
        self.seed = seed
        self.size = size

    def read(self, start: int, end: int) -> bytes:
        return content(self.seed, start, min(end, self.size))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


@dataclass
class Object:
    bucket: str
    name: bytes
    data: Data
    generation: int
    metageneration: int = 1
    content_type: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    public: bool = False
    storage_class: str = "STANDARD"
    created: float = field(default_factory=time.time)
    updated: float | None = None           # when its metadata were changed
    composite: bool = False
    components: int = 1                    # of a composite object
    csek: bytes | None = None              # the customer's key
    etag_override: str | None = None

    @property
    def size(self) -> int:
        return self.data.size

    @functools.cached_property
    def hashes(self) -> tuple[bytes | None, bytes | None]:
        """CRC32C and MD5; None where there is none."""
        if self.size > _HASHED_SIZE and isinstance(self.data, GeneratedData):
            return None, None
        data = self.data.read(0, self.size)
        md5 = None if self.composite else hashlib.md5(data).digest()
        return crc32c(data), md5

    @property
    def opaque_etag(self) -> str:
        """The JSON API's tag: generation and metageneration as protobuf."""
        raw = (b"\x08" + _varint(self.generation)
               + b"\x10" + _varint(self.metageneration))
        return base64.b64encode(raw).decode()

    @property
    def etag(self) -> str:
        """The XML API's tag, quoted."""
        if self.etag_override is not None:
            return self.etag_override
        md5 = self.hashes[1]
        if md5 is None:
            return f'"-{self.opaque_etag}"'
        if self.csek is not None:
            return f'"{self.opaque_etag}"'
        return f'"{md5.hex()}"'

    @property
    def text_name(self) -> str:
        return self.name.decode("utf-8", "replace")


@dataclass
class Bucket:
    name: str
    project: str = "demo-project"
    public: bool = False
    requester_pays: bool = False
    versioning: bool = False
    location: str = "EU"
    cors: list[dict] = field(default_factory=list)
    created: float = field(default_factory=time.time)
    objects: dict[bytes, Object] = field(default_factory=dict)
    noncurrent: dict[bytes, list[Object]] = field(default_factory=dict)
    uploads: dict[str, Any] = field(default_factory=dict)  # resumable.Session
    multiparts: dict[str, Any] = field(default_factory=dict)
    _names: list[bytes] | None = None

    def find(self, name: bytes, generation: int | None = None) \
            -> Object | None:
        live = self.objects.get(name)
        if generation is None:
            return live
        candidates = list(self.noncurrent.get(name, ()))
        if live is not None:
            candidates.append(live)
        for item in candidates:
            if item.generation == generation:
                return item
        return None

    def put(self, item: Object) -> None:
        self._retire(item.name)
        if item.name not in self.objects:
            self._names = None
        self.objects[item.name] = item

    def delete(self, name: bytes) -> None:
        self._retire(name)
        del self.objects[name]
        self._names = None

    def delete_generation(self, name: bytes, generation: int) -> None:
        live = self.objects.get(name)
        if live is not None and live.generation == generation:
            del self.objects[name]
            self._names = None
            return
        kept = [o for o in self.noncurrent.get(name, ())
                if o.generation != generation]
        self.noncurrent[name] = kept

    def _retire(self, name: bytes) -> None:
        old = self.objects.get(name)
        if old is not None and self.versioning:
            self.noncurrent.setdefault(name, []).append(old)

    @property
    def names(self) -> list[bytes]:
        """Names in the order of listings: by their UTF-8 bytes."""
        if self._names is None:
            self._names = sorted(self.objects)
        return self._names


@dataclass
class Page:
    items: list[Object]
    prefixes: list[bytes]
    next_after: bytes | None               # where the next page starts


def list_objects(bucket: Bucket, prefix: bytes = b"", delimiter: bytes = b"",
                 after: bytes = b"", limit: int = 1000,
                 start: bytes = b"", end: bytes = b"") -> Page:
    """One page: names behind `after`, in order; folders count as entries."""
    page = Page([], [], None)
    names = bucket.names
    index = max(bisect.bisect_right(names, after) if after else 0,
                bisect.bisect_left(names, prefix),
                bisect.bisect_left(names, start))
    last = after

    while index < len(names):
        name = names[index]
        if not name.startswith(prefix) or (end and name >= end):
            break

        folder = None
        if delimiter:
            at = name.find(delimiter, len(prefix))
            if at >= 0:
                folder = name[:at + len(delimiter)]

        if folder is not None and after.startswith(folder):
            index += 1                     # told on an earlier page
            continue

        if folder is not None and page.prefixes[-1:] == [folder]:
            last = name
            index += 1
            continue

        if len(page.items) + len(page.prefixes) >= limit:
            page.next_after = last
            break

        if folder is not None:
            page.prefixes.append(folder)
        else:
            page.items.append(bucket.objects[name])
        last = name
        index += 1

    return page


class Store:
    """All buckets."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self._generation = 0

    def next_generation(self) -> int:
        now = int(time.time() * 1_000_000)
        self._generation = max(self._generation + 1, now)
        return self._generation

"""Ranges, conditions and content coding: functions without state."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)\Z", re.IGNORECASE)
_ETAG = re.compile(r'[ \t]*,?[ \t]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")'
                   r"[ \t]*(?=,|\Z)")


class Unsatisfiable(Exception):
    """A range outside of the object."""


def parse_range(value: str | None, size: int) -> tuple[int, int] | None:
    """(start, end), end excluded; None where Cloud Storage ignores it."""
    match = _RANGE.match(value or "")
    if match is None or not (match[1] or match[2]):
        return None

    if not match[1]:
        length = int(match[2])
        if length == 0 or size == 0:
            raise Unsatisfiable
        return max(0, size - length), size

    start = int(match[1])
    if match[2] and int(match[2]) < start:
        return None

    if start >= size:
        raise Unsatisfiable

    end = int(match[2]) + 1 if match[2] else size
    return start, min(end, size)


def parse_date(value: str | None) -> int | None:
    """Seconds since the epoch; None if it is not an HTTP date."""
    if value is None:
        return None
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    if not value.rstrip().endswith("GMT"):
        return None
    return int(date.timestamp())


def etag_list(value: str) -> list[str]:
    tags, at = [], 0
    while at < len(value):
        match = _ETAG.match(value, at)
        if match is None:
            break
        tags.append(match[1])
        at = match.end()
    return tags


def _weak(tag: str) -> str:
    return tag.removeprefix("W/")


def etag_matches(value: str, etag: str, strong: bool) -> bool:
    if value.strip() == "*":
        return True
    if strong:
        return any(tag == etag and not tag.startswith("W/")
                   for tag in etag_list(value))
    return any(_weak(tag) == _weak(etag) for tag in etag_list(value))


def evaluate(if_match: str | None, if_unmodified: str | None,
             if_none_match: str | None, if_modified: str | None,
             etag: str, modified: int, reading: bool = True) -> int | None:
    """The status that conditions lead to, in the order of RFC 9110 13.2.2."""
    if if_match is not None:
        if not etag_matches(if_match, etag, strong=True):
            return 412
    else:
        date = parse_date(if_unmodified)
        if date is not None and modified > date:
            return 412

    if if_none_match is not None:
        if etag_matches(if_none_match, etag, strong=False):
            return 304 if reading else 412
    elif reading:
        date = parse_date(if_modified)
        if date is not None and modified <= date:
            return 304

    return None


def range_applies(if_range: str | None, etag: str, modified: int) -> bool:
    """Whether If-Range lets the range stand: strong comparison only."""
    if if_range is None:
        return True
    value = if_range.strip()
    if value.startswith('"'):
        return value == etag and not etag.startswith("W/")
    return parse_date(value) == modified


def accepts_gzip(value: str | None) -> bool:
    """`gzip` named and not refused. `*` is not enough."""
    for item in (value or "").split(","):
        coding, *parameters = [part.strip() for part in item.split(";")]
        if coding.lower() not in ("gzip", "x-gzip"):
            continue
        for parameter in parameters:
            name, _, weight = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    return float(weight) > 0
                except ValueError:
                    return False
        return True
    return False


def has_directive(value: str | None, directive: str) -> bool:
    """A directive of a Cache-Control value."""
    return directive in [part.partition("=")[0].strip().lower()
                         for part in (value or "").split(",")]


def max_age(value: str) -> int | None:
    match = re.search(r"(?:^|[\s,])max-age=\"?([0-9]+)", value.lower())
    return int(match[1]) if match else None

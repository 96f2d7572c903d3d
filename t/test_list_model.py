"""Listings, read and written by the pure C files, against Python's parsers.

A program of these files is given generated answers of Cloud Storage, whole
and in pieces, good and damaged.  What it reads must be what Python's own json
and expat read, and what it writes must be read back by json and html.parser.
"""

from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from typing import Any, Callable, Iterator
from urllib.parse import unquote_to_bytes
from xml.parsers import expat
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from test_unit import (  # noqa: F401
    LIBRARIES, MODULE, SANITIZE, UNIT, WARNINGS, run, sanitizers, toolbox)

Answer = dict[str, Any]
BYTES = ("token", "page")

SETTINGS = settings(max_examples=200, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))
JSON, JSONL, HTML = 0, 1, 2
STRUCTURE = (expat.errors.XML_ERROR_TAG_MISMATCH,
             expat.errors.XML_ERROR_NO_ELEMENTS,
             expat.errors.XML_ERROR_UNCLOSED_TOKEN)


@pytest.fixture(scope="module")
def ask(toolbox) -> Iterator[Callable[..., Answer]]:  # noqa: F811
    program = toolbox.folder / "lister"
    run(["gcc", *WARNINGS, *SANITIZE, "-D_GNU_SOURCE", *toolbox.includes,
         *(UNIT / f"{name}.c" for name in ("lister", "shim", "support")),
         *sorted(MODULE.glob("ngx_gcs_list*.c")),
         *(MODULE / f"ngx_gcs_{name}.c"
           for name in ("crypto", "escape", "object")),
         *LIBRARIES, "-o", program])
    process = subprocess.Popen([program], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, env=sanitizers())

    def question(document: bytes, **fields: Any) -> Answer:
        fields = {"bucket": b"demo-bucket", "base": b"/files/", "piece": 4096,
                  "format": JSON, "document": document, **fields}
        text = json.dumps({key: value.hex() if isinstance(value, bytes)
                           else value for key, value in fields.items()})
        process.stdin.write(text.encode() + b"\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        for key in BYTES:
            answer[key] = bytes.fromhex(answer[key])
        for entry in answer["entries"]:
            for key in ("name", "updated", "type", "generation", "md5"):
                entry[key] = bytes.fromhex(entry[key])
        return answer

    yield question
    process.stdin.close()
    assert process.wait(timeout=30) == 0


# documents

def refuse(word: str) -> None:
    raise ValueError(word)


def whole(text: str) -> bytes:
    """What a string of JSON is in UTF-8; halves of pairs are replaced."""
    return text.encode("utf-16", "surrogatepass") \
        .decode("utf-16", "replace").encode()


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def text(value: Any, limit: int) -> bytes:
    data = whole(value) if isinstance(value, str) else b""
    return data if len(data) <= limit else b""


def model(document: bytes) -> tuple[list[tuple[bool, bytes, int, bytes]],
                                    bytes] | None:
    """The entries and the token, or None for what must be refused."""
    try:
        value = json.loads(document.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or depth(value) > 32:
        return None

    entries, names = [], []
    for key, member in value.items():
        if not isinstance(member, list):
            continue
        for item in member:
            if key == "items" and isinstance(item, dict):
                name = item.get("name")
                if not isinstance(name, str) or not name:
                    continue
                size = item.get("size")
                digits = str(size) if not isinstance(size, bool) else ""
                good = re.fullmatch(r"[0-9]{1,18}", digits, re.ASCII)
                entries.append((False, whole(name), int(digits) if good
                                else -1, text(item.get("contentType"), 256)))
            elif key == "prefixes" and isinstance(item, str) and item:
                name = item
                entries.append((True, whole(item), -1, b""))
            else:
                continue
            names.append(whole(name))

    token = value.get("nextPageToken")
    token = whole(token) if isinstance(token, str) else b""
    if any(len(name) > 1024 for name in names) or len(token) > 4096:
        return None
    return entries, token


CHARACTERS = st.characters(blacklist_categories=[])      # halves of pairs too
NAME = st.one_of(st.text(CHARACTERS, max_size=40),
                 st.sampled_from(["a/b.jpg", "é" * 512, "é" * 513, "x" * 1025,
                                  "\0", "a\"b\\c", "<&>'", "../x", "\u2028"]))
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), NAME,
              st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3),
                            st.dictionaries(NAME, inner, max_size=3)),
    max_leaves=5)
ITEM = st.fixed_dictionaries({}, optional={
    "name": st.one_of(NAME, NAME, NAME, ANY),
    "size": st.one_of(st.integers(0, 10**20).map(str), ANY),
    "updated": st.one_of(st.just("2026-01-02T03:04:05.678Z"), ANY),
    "contentType": st.one_of(st.just("image/jpeg"), st.just("x" * 300), ANY),
    "generation": st.integers(0, 10**19).map(str),
    "md5Hash": NAME, "metadata": ANY, "owner": ANY})
LISTING = st.fixed_dictionaries({}, optional={
    "kind": st.just("storage#objects"), "etag": ANY,
    "nextPageToken": st.one_of(st.text(max_size=20), ANY),
    "prefixes": st.one_of(st.lists(st.one_of(NAME, ANY), max_size=4), ANY),
    "items": st.one_of(st.lists(st.one_of(ITEM, ITEM, ANY), max_size=4),
                       ANY)})
DOCUMENT = st.one_of(LISTING, LISTING, ANY).flatmap(
    lambda value: st.sampled_from([
        json.dumps(value), json.dumps(value, indent=2) + "\n",
        json.dumps(whole_of(value), ensure_ascii=False,
                   separators=(",", ":"))]))


def whole_of(value: Any) -> Any:
    """The same without halves of pairs, which UTF-8 cannot have."""
    if isinstance(value, str):
        return whole(value).decode()
    if isinstance(value, list):
        return [whole_of(item) for item in value]
    if isinstance(value, dict):
        return {whole_of(k): whole_of(v) for k, v in value.items()}
    return value


@st.composite
def damaged(draw: Any) -> bytes:
    data = bytearray(draw(DOCUMENT).encode())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            del data[at:at + draw(st.integers(1, 4))]
        elif kind == 1:
            data[at:at] = draw(st.sampled_from(
                [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"0", b"-",
                 b"e", b"null", b"\n", b"\x1f", b" ", b"\\u12", b"NaN"]))
        else:
            data = data[:at]
    return bytes(data)


def read(answer: Answer) -> tuple[list[tuple[bool, bytes, int, bytes]],
                                  bytes] | None:
    if not answer["done"]:
        return None
    return [(e["folder"], e["name"], e["size"], e["type"])
            for e in answer["entries"]], answer["token"]


def utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@SETTINGS
@given(document=DOCUMENT.map(str.encode), piece=st.integers(1, 64))
@example(document=b'{"items":[{"name":"a","name":null}]}', piece=1)
@example(document=b'{"items":[{"name":"\\ud83d\\ude00\\ud83dx"}]}', piece=1)
@example(document=b'{"n":' + b"[" * 31 + b"]" * 31 + b"}", piece=9)
@example(document=b'{"n":' + b"[" * 32 + b"]" * 32 + b"}", piece=9)
def test_a_document_is_read_as_json_reads_it(ask, document, piece):
    answer = ask(document, piece=piece)
    assert read(answer) == model(document)
    assert (answer["reason"] is None) == (model(document) is not None)


@SETTINGS
@given(document=damaged(), piece=st.integers(1, 64))
def test_a_damaged_document_is_refused_as_json_refuses_it(ask, document,
                                                          piece):
    answer = ask(document, piece=piece)
    if utf8(document) and not re.search(rb"[-+.eE0-9]{60}", document):
        assert read(answer) == model(document)


@SETTINGS
@given(document=damaged(), piece=st.integers(1, 9))
def test_how_a_document_is_cut_does_not_matter(ask, document, piece):
    assert ask(document, piece=piece) == ask(document)


# what is written

ENTRY = st.fixed_dictionaries(
    {"name": st.text(CHARACTERS, min_size=1, max_size=60)},
    optional={"size": st.integers(0, 10**15).map(str),
              "contentType": NAME,
              "updated": st.just("2026-01-02T03:04:05.678Z")})


@SETTINGS
@given(items=st.lists(ENTRY, max_size=4), jsonl=st.booleans(),
       token=st.text(max_size=5))
def test_what_is_written_is_json_that_says_the_same(ask, items, jsonl, token):
    document = json.dumps({"items": items, "nextPageToken": token}).encode()
    page = ask(document, format=JSONL if jsonl else JSON)["page"].decode()
    found = [json.loads(line) for line in page.split("\n")[:-1]] if jsonl \
        else json.loads(page)
    if token:
        assert found.pop() == {"type": "next", "token": token}

    assert [e["name"].encode() for e in found] \
        == [whole(item["name"]) for item in items]
    for entry, item in zip(found, items):
        name = entry["name"]
        assert entry["uri"] == f"gs://demo-bucket/{name}"
        assert entry.get("size") == (int(item["size"]) if "size" in item
                                     else None)
        assert entry.get("updated") == item.get("updated")
        assert entry.get("contentType", "").encode() \
            == text(item.get("contentType"), 256)
        if "url" in entry:
            assert re.fullmatch(r"/files/[A-Za-z0-9._~/%-]+", entry["url"])
            assert unquote_to_bytes(entry["url"]) == b"/files/" + name.encode()
        else:
            assert re.search(r"[\0\r\n]|(^|/)\.\.?(/|$)", name)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.links: list[str] = []
        self.cells: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "input", "!doctype"):
            self.open.append(tag)
        if tag == "a":
            self.links.append(dict(attrs)["href"])
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.cells[-1] += data


def shown(name: bytes) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", "\ufffd", name.decode())


@SETTINGS
@given(items=st.lists(ENTRY, max_size=4),
       hostile=st.binary(max_size=30), token=st.text(max_size=5))
@example(items=[{"name": "<script>alert(1)</script>"}],
         hostile=b'"><script>', token='"')
def test_a_page_of_html_has_no_element_that_a_name_made(ask, items, hostile,
                                                        token):
    document = json.dumps({"items": items, "nextPageToken": token}).encode()
    page = Page()
    answer = ask(document, format=HTML, path=hostile, narrow=hostile,
                 filter=hostile)
    page.feed(answer["page"].decode())
    page.close()

    assert page.open == []
    assert set(page.tags) <= set(
        "html head meta title style body nav ol li a main h1 form label input "
        "button p table thead tr th tbody td data time".split())
    assert page.cells[::4] == [shown(whole(item["name"])) for item in items]
    assert page.tags.count("tr") == 1 + len(items)
    assert all(re.fullmatch(r"(/files/|\.\./|\?)[A-Za-z0-9._~/%&=-]*"
                            r"(\.\./)*", link) for link in page.links)


# XML

KEY = st.text(st.characters(min_codepoint=32, blacklist_categories=["Cs"]),
              max_size=30)


@st.composite
def listing(draw: Any) -> tuple[list[tuple[bool, bytes, int]], bytes, str]:
    entries, parts = [], []
    for key in draw(st.lists(KEY, max_size=4)):
        if draw(st.booleans()):
            size = draw(st.integers(0, 10**12))
            parts.append(f"<Contents><Key>{escape(key)}</Key><Size>{size}"
                         "</Size><Owner><ID>x</ID></Owner></Contents>")
            entries.append((False, key.encode(), size))
        else:
            parts.append(f"<CommonPrefixes><Prefix>{escape(key)}</Prefix>"
                         "</CommonPrefixes>")
            entries.append((True, key.encode(), -1))
    token = draw(KEY)
    parts.append("<NextContinuationToken>" + escape(token)
                 + "</NextContinuationToken>")
    body = draw(st.sampled_from(["", " ", "\n<!-- - -- x -->"])).join(
        [draw(st.sampled_from(["", "<Prefix>p</Prefix><KeyCount/>"])), *parts])
    return ([e for e in entries if e[1]], token.encode(),
            "<?xml version='1.0' encoding='UTF-8'?>\n<ListBucketResult "
            f"xmlns='http://doc.s3.amazonaws.com/'>{body}</ListBucketResult>")


@SETTINGS
@given(data=listing(), piece=st.integers(1, 40))
def test_a_listing_of_xml_is_read_whole_and_in_pieces(ask, data, piece):
    entries, token, document = data
    for answer in (ask(document.encode(), xml=True),
                   ask(document.encode(), xml=True, piece=piece)):
        assert answer["done"]
        assert answer["token"] == token
        assert [(e["folder"], e["name"], e["size"])
                for e in answer["entries"]] == entries


@SETTINGS
@given(data=listing(), at=st.integers(0, 400), n=st.integers(0, 3),
       new=st.sampled_from(["", "<", ">", "&", "/", "</Key>", "'", "<a>"]))
def test_what_expat_refuses_for_its_structure_is_no_listing(ask, data, at, n,
                                                            new):
    document = data[2][:at] + new + data[2][at + n:]
    answer = ask(document.encode(), xml=True)
    try:
        expat.ParserCreate().Parse(document, True)
    except expat.ExpatError as error:
        if expat.ErrorString(error.code) in STRUCTURE:
            assert not answer["done"]

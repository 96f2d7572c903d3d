"""The argument "fileuri": the object that Label Studio would find, or none.

Label Studio is asked about one object, and nginx serves what the C files have
found; were they not the same, whoever may see one could see another.  So the
files are compared with the Python expressions that Label Studio runs, in more
than one version of what Python's base64 does with text that is not strictly
so: this one's, the next one's, and that of one which refuses it.
"""

from __future__ import annotations

import base64
import json
import random
import re
import subprocess
from typing import Any, Callable, Iterator
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlparse

import pytest
from hypothesis import (
    HealthCheck, assume, example, given, settings, strategies as st)

from test_unit import (  # noqa: F401
    LIBRARIES, MODULE, SANITIZE, UNIT, WARNINGS, run, sanitizers, toolbox)

Answer = dict[str, Any]
Ask = Callable[[list[Answer]], list[Answer]]

SETTINGS = settings(max_examples=2500, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))
PURE = ["object", "unescape", "fileuri", "redirect", "redirect_host",
        "redirect_query"]


@pytest.fixture(scope="module")
def ask(toolbox) -> Iterator[Ask]:  # noqa: F811
    """Asks many questions at once: a process is started but once."""
    program = toolbox.folder / "uris"
    run(["gcc", *WARNINGS, *SANITIZE, "-D_GNU_SOURCE", *toolbox.includes,
         *(UNIT / f"{name}.c" for name in ("uris", "shim", "support")),
         *(MODULE / f"ngx_gcs_{name}.c" for name in PURE),
         MODULE / "ngx_gcs_crypto.c", *LIBRARIES, "-o", program])
    process = subprocess.Popen([program], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, env=sanitizers())

    def questions(many: list[Answer]) -> list[Answer]:
        answers = []
        for fields in many:
            process.stdin.write(json.dumps(fields).encode() + b"\n")
            process.stdin.flush()
            answers.append(json.loads(process.stdout.readline()))
        return answers

    yield questions
    process.stdin.close()
    assert process.wait(timeout=30) == 0


# what Label Studio does: Django's QueryDict, proxy_api.py, GCS storage


def excess_kept(text: bytes) -> bytes:
    """urlsafe_b64decode() since cpython's gh-145264: "=" before the end of
    the data is ignored, and so is nothing of what follows."""
    data = re.sub(rb"[^A-Za-z0-9+/=]", b"",
                  text.translate(bytes.maketrans(b"-_", b"+/")))
    return base64.b64decode(
        data.rstrip(b"=").replace(b"=", b"")
        + b"=" * (len(data) - len(data.rstrip(b"="))))


def strict(text: bytes) -> bytes:
    return base64.b64decode(text.translate(bytes.maketrans(b"-_", b"+/")),
                            validate=True)


DECODERS = [base64.urlsafe_b64decode, excess_kept, strict]


def uri_of(query: str, decode: Callable[[bytes], bytes]) -> str | None:
    values = [value for name, value in parse_qsl(
        query, keep_blank_values=True, encoding="utf-8", max_num_fields=1000)
        if name == "fileuri"]
    if not values:
        return None
    fileuri = values[-1]
    try:
        return decode(fileuri.encode()).decode()
    except Exception:
        return unquote(fileuri)


def found(query: str, decode: Callable[[bytes], bytes] = DECODERS[0]) \
        -> tuple[str, str, str] | None:
    uri = uri_of(query, decode)
    if uri is None:
        return None
    try:
        url = urlparse(uri, allow_fragments=False)
    except ValueError:
        return None
    return url.scheme, url.netloc, url.path.lstrip("/")


def check(query: str, answer: Answer) -> bool:
    """Whether it was taken; if so, it is what every Python would find."""
    if "reason" in answer:
        return False
    mine = ("gs", answer["bucket"], answer["object"])
    for decode in DECODERS:
        assert mine == found(query, decode), (query, decode.__name__)
    assert mine[2]
    assert query.isascii() and "#" not in query
    assert "?" not in uri_of(query, DECODERS[0])
    return True


# what clients send

BUCKET = st.one_of(
    st.sampled_from(["bucket", "my-data.example.com", "a_b-c.1", "abc"]),
    st.from_regex(r"\A[a-z0-9][a-z0-9_.-]{1,20}[a-z0-9]\Z"))
PIECES = [
    "a", "b.jpg", "/", "//", " ", "+", "%", "%20", "%2F", "%41", "%zz", "#",
    ";", "&", "=", "==", ":", "@", "\\", "~", "é", "あ", "\U0001f600", "\x01",
    "\x7f", "..", "./", "gs://", "?", "\ufffd", "\u2028", "%c3%a9", "'", '"',
    "fileuri=", "[", "]", "{}", "-", "_", "Z3M6Ly8",
]
NAME = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    st.integers(1, 1024).map(lambda n: "n" * n),
    st.integers(1, 512).map(lambda n: "é" * n))

NO_NAME = re.compile("[?\t\r\n\0]")


def is_name(name: str) -> bool:
    name = name.lstrip("/")
    return bool(name) and name not in (".", "..") \
        and not NO_NAME.search(name) and len(name.encode()) <= 1024


def encoded(uri: str) -> str:
    return base64.urlsafe_b64encode(uri.encode()).decode()


def every_byte(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


BASE64 = [
    encoded,
    lambda uri: encoded(uri).replace("=", "%3D"),
    lambda uri: encoded(uri).replace("=", "%3d"),
    lambda uri: every_byte(encoded(uri)),
    lambda uri: quote(encoded(uri)),
]
RAW = [
    lambda uri: quote(uri, safe=":/"),
    lambda uri: quote(uri, safe=""),
    lambda uri: quote(uri, safe=":/;=@!$'()*,~[]{}\\"),
    lambda uri: quote_plus(uri),
    every_byte,
    # encodeURIComponent() done twice
    lambda uri: quote(quote(uri, safe=""), safe=""),
]
AROUND = ["%s", "%s&lsref=1", "a=b&%s", "a=b&&%s&", "fileuri2=x&%s&x",
          "Fileuri=x&%s", "x=fileuri&%s"]


@SETTINGS
@example("bucket", "あ/x.jpg", encoded, "%s")
@example("bucket", "//x", encoded, "%s")
@example("bucket", "a/../b", encoded, "%s")
@example("bucket", "a%20b #;.jpg", encoded, "%s")
@example("bucket", "é" * 512, encoded, "%s")
@given(BUCKET, NAME, st.sampled_from(BASE64), st.sampled_from(AROUND))
def test_what_label_studio_writes_is_found_exactly(ask, bucket, name, spell,
                                                   around):
    assume(is_name(name))
    query = around % ("fileuri=" + spell(f"gs://{bucket}/{name}"))
    [answer] = ask([{"query": query}])
    assert check(query, answer), answer
    assert (answer["bucket"], answer["object"]) == (bucket, name.lstrip("/"))


@SETTINGS
@example("bucket", "100%.txt", RAW[1], "%s")
@example("bucket", "é 100%.txt", RAW[1], "%s")
@example("bucket", "a%20b", RAW[1], "%s")
@example("bucket", "a=b=c==", RAW[2], "%s")
@given(BUCKET, NAME, st.sampled_from(RAW), st.sampled_from(AROUND))
def test_a_plain_uri_is_found_exactly(ask, bucket, name, spell, around):
    """Label Studio decodes it twice: an old form that it still takes."""
    query = around % ("fileuri=" + spell(f"gs://{bucket}/{name}"))
    scheme, netloc, wanted = found(query)
    uri = uri_of(query, DECODERS[0])
    assume(is_name(wanted) and not NO_NAME.search(uri))
    # a name that has its own "\ufffd" is not what is meant here
    assume("\ufffd" not in uri)
    # bytes of characters, some of them escaped twice
    assume(name.isascii() or unquote(name).isascii() or unquote(name) == name
           or spell is RAW[-1])
    assume((scheme, netloc) == ("gs", bucket))
    [answer] = ask([{"query": query}])
    assert check(query, answer), answer


def insert(text: str, at: int, what: str) -> str:
    return text[:at] + what + text[at:]


MEDDLED = [
    "=", "==", "===", "%3D", "%3d%3D", "%", "%2", "%25", "%2520", "+", "-",
    "_", "/", "%2B", "%2F", "%0a", "%0D", "%09", "%00", "%20", " ", "\n", "?",
    "%3F", "#", "&", ";", "&fileuri=", "&%66ileuri=", "&FILEURI=", "fileuri",
    "%C3", "%A9", "%C3%A9", "%25C3", "%25A9", "é", "%E3%81", "%ff", "gs://",
    "gs%3A", "GS", "s3://", "Z3M6Ly8", "Z3M6", "Ly9", ".", "!", "*", ",", "a",
    "A", "[", "]", "@", ":", "\\", "%5C", "%u0041", "%253F", "//", "///",
]


def meddled(rng: random.Random) -> str:
    """A query near to one of Label Studio's, by what an attacker may try."""
    name = "".join(rng.choices(PIECES, k=rng.randint(0, 4)))
    bucket = rng.choice(["bucket", "other", "a.b"] * 5 + ["Bucket", "b", "b#"])
    uri = rng.choice(["gs://"] * 40 + ["", "s3://", "GS://", "gs:/", "gs:",
                                       " gs://", "\tgs://", "gs://x@", "g"]) \
        + bucket + "/" + name
    value = rng.choice(BASE64 * 2 + RAW)(uri)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3])):
        at = rng.choice([0, len(value), rng.randint(0, len(value))])
        kind = rng.randrange(5)
        if kind == 0:
            value = value[:at] + value[at + rng.randint(1, 3):]
        elif kind == 1:
            value = value[:at] + value[at:at + 1].swapcase() + value[at + 1:]
        else:
            value = insert(value, at, rng.choice(MEDDLED))
    query = rng.choice(AROUND) % (rng.choice(
        ["fileuri="] * 20 + ["%66ileuri=", "fileuri", "Fileuri=", "fileuri%3D",
                            "+fileuri=", "fileuri+="]) + value)
    if rng.random() < 0.1:
        query += "&fileuri=" + encoded("gs://bucket/other")
    return query


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(4))
def test_what_was_meddled_with_is_found_exactly_or_refused(ask, seed):
    rng = random.Random(seed)
    queries = [meddled(rng) for _ in range(10000)]
    answers = ask([{"query": query} for query in queries])
    taken = [check(query, answer) for query, answer in zip(queries, answers)]
    assert 1000 < sum(taken) < 9000, sum(taken)


@SETTINGS
@given(st.one_of(
    st.text(max_size=40).map("fileuri={}".format),
    st.text("gsZ3M6Ly8/:%25=Cc3A9?#&;-_+ abé", max_size=24).map(
        "fileuri=gs://bucket/{}".format),
    st.text("Z3M6Ly9idWNrZXQvYQ==-_%25", max_size=24).map(
        "fileuri=Z3M6Ly9idWNrZXQv{}".format),
    st.binary(max_size=30).map(lambda raw: "fileuri=" + base64.b64encode(
        b"gs://bucket/" + raw, b"-_").decode()),
    st.text(max_size=40)))
def test_any_text_is_found_exactly_or_refused(ask, query):
    [answer] = ask([{"query": query}])
    check(query, answer)


OBJECT = "fileuri=" + encoded("gs://bucket/a")
OTHER = "fileuri=" + encoded("gs://bucket/other")


@pytest.mark.parametrize("query", [
    "", "fileuri", "fileuri=", "a=b", OBJECT.upper(), OBJECT + "&" + OTHER,
    OBJECT + "&%66ileuri=" + encoded("gs://bucket/other"),
    OBJECT + "&fileuri", OBJECT + "#", OBJECT + "#&" + OTHER,
    OBJECT.replace("fileuri", "Fileuri"), "+" + OBJECT, OBJECT + "é",
    OBJECT[:-2], OBJECT[:-1], OBJECT + "=", OBJECT + "====", OBJECT + OTHER,
    OBJECT + "%0a", OBJECT + "%20", OBJECT.replace("YQ", "YR"),
    "fileuri=" + encoded("gs://bucket/a?b"), "fileuri=gs://bucket/a%3Fb",
    "fileuri=gs://bucket/a?b", "fileuri=gs://bucket/a%253Fb",
    "fileuri=gs://bucket/%C3%25A9", "fileuri=gs://bucket/%25C3%A9",
    "fileuri=" + base64.urlsafe_b64encode(b"gs://bucket/\xff").decode(),
    "fileuri=" + base64.urlsafe_b64encode(b"gs://bucket/\xed\xa0\x80").decode(),
    *("fileuri=" + encoded(uri) for uri in (
        "", "gs://", "gs://bucket", "gs://bucket/", "gs://bucket//",
        "gs://bucket/.", "gs://bucket/..", "gs://Bucket/a", "gs://b/a",
        "gs://bucket:1/a", "gs://x@bucket/a", "gs://[bucket/a",
        "gs://bucket#/a", "gs://bucket?/a", "GS://bucket/a", "s3://bucket/a",
        "gs:/bucket/a", "gs://bucket/a\tb", "gs://bucket/a\nb",
        "gs://bucket/a\rb", "gs://bucket/a\0b", " gs://bucket/a",
        "gs\n://bucket/a", "gs://bucket/" + "n" * 1025)),
])
def test_what_could_be_read_in_two_ways_is_refused(ask, query):
    assert ask([{"query": query}])[0].keys() == {"reason"}


def test_the_second_model_of_python_differs_where_it_should():
    # Python 3.13 may read on behind the padding, older ones do not
    assert base64.urlsafe_b64decode(b"YQ==YQ==") \
        in (b"a", excess_kept(b"YQ==YQ=="))
    assert excess_kept(b"YQ==YQ==") != b"a"
    assert excess_kept(b"Y-_x") == strict(b"Y-_x") \
        == base64.urlsafe_b64decode(b"Y-_x")

"""Exact names: what is asked for is what is fetched, byte for byte.

Every byte of an object's name must reach Cloud Storage as it is stored,
however the client has spelled it, and no spelling may lead to an object that
nginx's access rules did not see.
"""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from urllib.parse import quote

import pytest

from harness import Nginx

HTTP = """
    gcs_credentials reader { file %%%%KEY%%%%; }
    %s
    server {
        listen 127.0.0.1:%%%%PORT%%%%;
        gcs_endpoint %%%%EMULATOR%%%%;
        gcs_auth reader;
        location = /.ready { gcs_pass gs://test-bucket/ready; }
        %s
    }
"""

MEDIA = "location /media/ { gcs_pass gs://test-bucket; }"
CACHE = "proxy_cache_path %%DIR%%/cache keys_zone=objects:1m;"
# Cloud Storage says "private, max-age=0" of every private object
KEPT = """
    proxy_cache objects;
    proxy_cache_valid 200 404 1h;
    proxy_ignore_headers Cache-Control Expires;
"""
CACHED = "location /media/ { gcs_pass gs://test-bucket; %s" + KEPT + "}"

NAMES = [
    # everything that is a delimiter somewhere
    "a b", "a+b", "a+b c", "a%b", "100%", "%", "%%", "%bad%file%name%",
    "a%2Fb", "a%2fb", "a%20b", "%2e%2e/x", "%00", "%25", "a%252Fb",
    "a?b", "?", "?a=b", "a#b", "#", "a&b=c", "=", "a='b'", "b/c/'(1).txt", "b/c/=", "b/c/@",
    "(a)", "a:b", "http://host/x", "gs://bucket/x", "a@b", "a;b", "a;v=1/c",
    "a,b", "a!b*c", "[a]", "{a}", "<a>", "a|b", "a\\b", "..\\x", 'a"b',
    "a^b`c", "~a", "$host", "$uri/${arg_x}", "$1", "a\tb", "a\x01b\x7f",
    " ", " a", "a ", "plus+plus.txt", "-._~",
    # what looks like an API of Google's
    "o", "acl", "uploads", "healthcare/r.txt", "soap-dish.jpg",
    # slashes
    "a/b/c", "a//b", "a///b", "/", "//", "/a", "//a", "/a/", "a/", "a//",
    "x/index.html",
    # dots that are no segments
    "...", "..a", "a..", ".hidden", "a/.../b", "a/.b./c", "a./b", ". ./a",
    # beyond ASCII
    "あ", "クズ箱/ゴミ.txt", "a\u3000b", "\u2028", "\u202eabc", "עברית abc",
    unicodedata.normalize("NFC", "Zoë/é"),
    unicodedata.normalize("NFD", "Zoë/é"),
    "\U0001f600", "\U0001f469\u200d\U0001f52c.png", "\U0010ffff", "\x80",
    "\u07ff\u0800\ud7ff\ue000\uffff\U00010000", "\ufeffbom",
    # the longest
    "n" * 1024, "%" * 1024, "é" * 512, "\U0001f600" * 256,
    "/".join(["d"] * 512) + "/",
]

# raw bytes that a request line may have without an escape
PLAIN = bytes(b for b in range(0x21, 0x7f) if b not in b"%?#") \
    + bytes(range(0x80, 0x100))


def escaped(name: bytes) -> str:
    """A name in a path as Google wants it: RFC 3986, upper-case hex."""
    return quote(name, safe="/")


def target(name: bytes, bucket: str = "test-bucket") -> str:
    return f"/{bucket}/{escaped(name)}"


def every_byte_escaped(name: bytes) -> str:
    return "".join(f"%{byte:02x}" for byte in name)


def hardly_escaped(name: bytes) -> bytes:
    return b"".join(bytes([byte]) if byte in PLAIN else b"%%%02X" % byte
                    for byte in name)


def proxy(nginx, emulator, server: str = MEDIA, http: str = "",
          template: str = HTTP) -> Nginx:
    """nginx that has its token, so that every request asks but once."""
    instance = nginx(template % (http, server))
    assert instance.get("/.ready").status == 404
    emulator.reset_requests()
    return instance


def targets(emulator) -> list[str]:
    """What has been asked of Cloud Storage since the last call."""
    seen = [request["target"] for request in emulator.requests("storage")]
    emulator.reset_requests()
    return seen


def put(emulator, *names: str | bytes) -> None:
    """Objects whose content tells which one it is."""
    for name in names:
        raw = name.encode() if isinstance(name, str) else name
        emulator.put_object("test-bucket", raw, b"I am " + raw,
                            content_type="text/plain")


def outcome(server: Nginx, emulator, raw: str | bytes) \
        -> tuple[int, bytes | None, list[str]]:
    """Status, content if it is an object, and what the emulator saw."""
    answer = server.get(raw)
    found = answer.body if answer.body.startswith(b"I am ") else None
    return answer.status, found, targets(emulator)


# names


@pytest.mark.parametrize("spelling", [
    escaped, every_byte_escaped, hardly_escaped])
def test_every_name_reaches_cloud_storage_as_it_is_stored(
        nginx, emulator, key_file, spelling):
    names = [name.encode() for name in NAMES]
    put(emulator, *names)
    server = proxy(nginx, emulator)
    connection = server.connect()

    got, wanted = {}, {}
    for name in names:
        raw = spelling(name)
        prefix = "/media/" if isinstance(raw, str) else b"/media/"
        answer = connection.get(prefix + raw)
        got[name] = answer.status, answer.body, targets(emulator)
        wanted[name] = 200, b"I am " + name, [target(name)]

    assert got == wanted


def test_names_that_only_look_alike_are_different_objects(
        nginx, emulator, key_file):
    alike = ["caf\u00e9", "cafe\u0301", "CAFÉ", "a b", "a+b", "a%20b",
             "a%2Fb", "a/b", "a%2fb", "x", "x/", "/x", "x.", "X", "x "]
    put(emulator, *alike)
    server = proxy(nginx, emulator)
    for name in alike:
        assert server.get("/media/" + escaped(name.encode())).body \
            == b"I am " + name.encode()
    assert outcome(server, emulator, "/media/%61%2Bb")[1] == b"I am a+b"


def test_head_asks_for_the_same_name(nginx, emulator, key_file):
    put(emulator, "a?b c")
    server = proxy(nginx, emulator)
    answer = server.head("/media/a%3Fb%20c")
    assert answer.status == 200
    assert answer.get("Content-Length") == str(len("I am a?b c"))
    [request] = emulator.requests("storage")
    assert (request["method"], request["target"]) \
        == ("HEAD", "/test-bucket/a%3Fb%20c")


@pytest.mark.parametrize("suffix", [
    "?", "?x", "?generation=1", "?userProject=evil", "?alt=media&x=/../",
    "?a?b", "?x#y", "?%0d%0a", "?acl", "?X-Goog-Signature=abc",
])
def test_the_clients_query_string_never_arrives(nginx, emulator, key_file,
                                                suffix):
    put(emulator, "a?b.txt")
    server = proxy(nginx, emulator)
    assert outcome(server, emulator, "/media/a%3Fb.txt" + suffix) \
        == (200, b"I am a?b.txt", ["/test-bucket/a%3Fb.txt"])


# what is refused


DOTS = [
    "./x", "../media/x", "a/./x", "a/../x", "a/.", "a/..", "a/b/../../x",
    "%2e/x", "%2E/x", "a/%2e%2e/x", "a/.%2e/x", "a/%2E./x", "a%2f..%2fx",
    "a%2F.%2Fx", "a/..%2Fx", "a/%2e", "a//../x", "a/..//x", ".//x",
    "a/../../media/x", "..%2fmedia/x", "x/.?a", "x/..?a", "x/../a?b",
]
ENCODING = [
    "%ff", "a%FFb", "%80", "%c3", "%c3x", "%c3%28", "%c0%af", "%c1%bf",
    "%e0%80%af", "%e0%9f%bf", "%ed%a0%80", "%ed%bf%bf", "%ed%a0%bd%ed%b8%80",
    "%f0%80%80%af", "%f0%8f%bf%bf", "%f4%90%80%80", "%f5%80%80%80",
    "%f8%88%80%80%80", "%e3%81", "%f0%9f%98", b"\xff", b"\xc3", b"\xe9t\xe9",
]
CONTROLS = [
    "%00", "a%00", "a%00b", "a%0db", "a%0Ab", "%0a", "%0d",
    "a%0d%0aHost:%20evil", "a%20HTTP/1.1%0d%0aX-Evil:%201",
    b"a\0b", b"a\rb",
]
MALFORMED = ["%", "%1", "%zz", "a%2", "a%2/b", "a%u0041", "x#y", "#"]
TOO_LONG = ["n" * 1025, "%6e" * 1025, "/" + "n" * 1024, "%C3%A9" * 512 + "x"]


@pytest.mark.parametrize("paths", [
    DOTS, ENCODING, CONTROLS, MALFORMED, TOO_LONG],
    ids=["dots", "encoding", "controls", "malformed", "too-long"])
def test_what_cannot_be_a_name_is_400_and_asked_of_nobody(
        nginx, emulator, key_file, paths):
    put(emulator, "x", "a", "a/x")
    server = proxy(nginx, emulator)

    def full(path: str | bytes) -> bytes:
        return b"/media/" + (path if isinstance(path, bytes)
                             else path.encode())

    assert {path: outcome(server, emulator, full(path)) for path in paths} \
        == {path: (400, None, []) for path in paths}


def test_a_prefix_counts_for_the_length_of_a_name(nginx, emulator, key_file):
    put(emulator, "p/" + "n" * 1022)
    server = proxy(nginx, emulator,
                   "location /media/ { gcs_pass gs://test-bucket/p/; }")
    assert outcome(server, emulator, "/media/" + "n" * 1022)[0] == 200
    assert outcome(server, emulator, "/media/" + "n" * 1023) == (400, None, [])


@pytest.mark.parametrize("location, prefix", [
    ("/media", ""), ("/media", "/open"), ("/media/", "/open"),
    ("/media/o", "/open"),
])
def test_nothing_outside_the_prefix_can_be_reached(nginx, emulator, key_file,
                                                   location, prefix):
    """As with "alias" and a location without a slash at its end."""
    put(emulator, "secret", "open/x")
    server = proxy(nginx, emulator, f"location {location} {{"
                          f" gcs_pass gs://test-bucket{prefix}; }}")
    wanted = {}
    for rest in ("../secret", "..%2fsecret", "%2e%2e/secret", "./secret",
                 ".%2e//secret", "/../secret", "x/../../secret", "..", "."):
        wanted[rest] = 400, None, []

    got = {rest: outcome(server, emulator, location + rest)
           for rest in wanted}

    # where nginx itself leads out of the location it is not found at all
    got = {rest: ((400, None, []) if what == (404, None, []) else what)
           for rest, what in got.items()}
    assert got == wanted


def test_a_rewrite_cannot_smuggle_dot_segments_in(nginx, emulator, key_file):
    """nginx does not look at the result of a rewrite again."""
    put(emulator, "secret", "open/x")
    server = proxy(nginx, emulator, """
        location /media/ { gcs_pass gs://test-bucket/open/; }
        location /v1 { rewrite ^/v1(.*)$ /media/$1 last; }
        location /v2 { rewrite ^/v2(.*)$ /media$1 last; }
    """)
    for raw in ("/v1../secret", "/v1..%2fsecret", "/v1.", "/v1..", "/v1./x"):
        assert outcome(server, emulator, raw) == (400, None, []), raw
    # and this is none of the location's paths any more
    for raw in ("/v2../secret", "/v2.."):
        assert outcome(server, emulator, raw) == (404, None, []), raw
    assert outcome(server, emulator, "/v1x") \
        == (200, b"I am open/x", ["/test-bucket/open/x"])


# access rules


SPELLINGS = [
    "/media/private/x", "/media/private//x", "/media//private/x",
    "//media/private/x", "/media/%70rivate/x", "/media/privat%65/x",
    "/media/private%2Fx", "/media%2fprivate%2fx", "/%6dedia/private/x",
    "/media/./private/x", "/media/.//private/x", "/media/%2e/private/x",
    "/media/a/../private/x", "/media/a/%2e%2e/private/x",
    "/media/a%2f..%2fprivate/x", "/media/private/./x",
    "/media/private/y/../x", "/media/private/%2e/x", "/media/private/x/.",
    "/media/../media/private/x", "/other/../media/private/x",
    "/media/private;/x", "/media/private;a=b/x", "/media;/private/x",
    "/media/;/private/x", "/media/private\\x", "/media/private%5cx",
    "/media\\private\\x", "/media/.\\private/x", "/media/PRIVATE/x",
    "/media/private/x?", "/media/private/x?a=/../b", "/media/private%3F/x",
    "/media/private%00/x", "/media/private%0a/x", "/media/private%20/x",
    "/media/private/x%20", "/media/private/x/", "/media/private/x%2f",
    "/media/private/x%00.jpg", "/media/private/x%23.jpg",
    "/media/private/x;.jpg", "/media/private%252Fx", "/media/%2570rivate/x",
    "/media/private/%78", "/media/%E2%80%8Bprivate/x",
    "/media/private#/../x", "/media/open#/../private/x",
    "/media/open/x/../../private/x", "/media/open/..//private/x",
    "/media///private/x", "/media/%2fprivate/x", "/media/%2f%2fprivate/x",
    "http://localhost/media/private/x", "http://localhost//media//private/x",
    "http://localhost/media/a/../private/x", "HTTP://x/media/private/x",
]

RULES = {
    "prefix": "location /media/private/ { deny all; }",
    "nothing": "location /media/private { return 403; }",
    "regex": "location ~ ^/media/private/ { deny all; }",
    "extension": r"location ~ /x { deny all; }",
    "if": "",
}


@pytest.mark.parametrize("slashes", ["on", "off"])
@pytest.mark.parametrize("rule", RULES)
def test_no_spelling_gets_around_an_access_rule(nginx, emulator, key_file,
                                                rule, slashes):
    put(emulator, "private/x", "open/x", "x")
    inside = 'if ($uri ~ "^/media/private/") { return 403; }' \
        if rule == "if" else ""
    server = proxy(nginx, emulator, RULES[rule] + """
        location /media/ { gcs_pass gs://test-bucket/; %s }
    """ % inside, http=f"merge_slashes {slashes};")

    for raw in SPELLINGS:
        status, found, seen = outcome(server, emulator, raw)
        assert found in (None, b"I am open/x"), (raw, status)
        assert target(b"private/x") not in seen, raw
        assert status in (400, 403, 404), raw


def test_a_rule_above_a_prefix_guards_every_spelling_of_it(
        nginx, emulator, key_file):
    put(emulator, "pub/private/x", "private/x", "pub/x")
    server = proxy(nginx, emulator, """
        location /m/ { gcs_pass gs://test-bucket/pub/; }
        location /m/private { deny all; }
    """)
    assert outcome(server, emulator, "/m/x")[1] == b"I am pub/x"
    for raw in SPELLINGS:
        raw = raw.replace("/media", "/m").replace("/%6dedia", "/%6d")
        status, found, seen = outcome(server, emulator, raw)
        assert found is None and status in (400, 403, 404), raw
        assert target(b"pub/private/x") not in seen, raw
        assert all(asked.startswith("/test-bucket/pub/")
                   for asked in seen), raw


# two slashes


@pytest.mark.parametrize("location, one, two", [
    ("/media/", "/media/x", "/media//x"),
    ("/", "/x", "//x"),
])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("merge", ["on", "off"])
@pytest.mark.parametrize("first", ["one", "two"])
def test_two_slashes_never_change_what_one_slash_answers(
        nginx, emulator, key_file, location, one, two, cached, merge, first):
    put(emulator, "x", "/x")
    cache = KEPT if cached else ""
    server = proxy(nginx, emulator, f"""
        location {location} {{ gcs_pass gs://test-bucket; {cache} }}
    """, http=CACHE + f"merge_slashes {merge};")

    wanted = {one: b"I am x", two: b"I am /x"}
    order = [one, two] if first == "one" else [two, one]
    asked = {one: "/test-bucket/x", two: "/test-bucket//x"}

    for turn in range(2):
        for raw in order:
            assert outcome(server, emulator, raw) == (
                200, wanted[raw],
                [] if cached and turn else [asked[raw]]), raw


@pytest.mark.parametrize("first, second", [("x", "/x"), ("/x", "x")])
def test_a_missing_name_with_two_slashes_does_not_hide_the_other(
        nginx, emulator, key_file, first, second):
    """Negative caching: the 404 of one name is not the other's."""
    put(emulator, second)
    server = proxy(nginx, emulator, CACHED % "", http=CACHE)
    assert outcome(server, emulator, "/media/" + first)[0] == 404
    assert outcome(server, emulator, "/media/" + second)[1] \
        == b"I am " + second.encode()
    assert outcome(server, emulator, "/media/" + first) == (404, None, [])


@pytest.mark.parametrize("where", ["location", "http"])
@pytest.mark.parametrize("first, second", [("x", "/x"), ("/x", "x")])
def test_two_slashes_change_nothing_with_a_users_own_cache_key(
        nginx, emulator, key_file, where, first, second):
    """In $uri the two are the same; the names must be kept apart."""
    put(emulator, "x", "/x")
    key = "proxy_cache_key $scheme$host$uri;"
    server = proxy(nginx, emulator,
                   CACHED % (key if where == "location" else ""),
                   http=CACHE + (key if where == "http" else ""))
    for name in (first, second, first, second):
        assert server.get("/media/" + name).body == b"I am " + name.encode()


def test_spellings_of_one_name_share_a_cache_entry(nginx, emulator,
                                                   key_file):
    put(emulator, "a b/ü")
    server = proxy(nginx, emulator, CACHED % "", http=CACHE)
    for raw in ("/media/a%20b/%C3%BC", "/media/a%20b/%c3%bc",
                "/media/%61%20b%2Fü", "/media/a%20b/%C3%BC?x=1",
                "http://other/media/a%20b/%C3%BC"):
        assert server.get(raw).body == "I am a b/ü".encode()
    assert targets(emulator) == ["/test-bucket/a%20b/%C3%BC"]


def test_names_that_would_make_the_same_key_do_not_collide(nginx, emulator,
                                                           key_file):
    names = ["x", " x", "bytes=0-1 x", "x?", "x%3F", "x#", "x/gs://x", "X"]
    put(emulator, *names)
    server = proxy(nginx, emulator, CACHED % "", http=CACHE)
    for _ in range(2):
        for name in names:
            assert server.get("/media/" + quote(name)).body \
                == b"I am " + name.encode()


def test_one_cache_keeps_the_same_name_in_two_buckets_apart(nginx, emulator,
                                                            key_file):
    put(emulator, "x")
    emulator.create_bucket("public-bucket", public=True)
    emulator.put_object("public-bucket", "x", b"public")
    server = proxy(nginx, emulator, CACHED % "" + """
        location /public/ { gcs_pass gs://public-bucket;
                            gcs_auth anonymous; %s }
        location /media/public/ { gcs_pass gs://public-bucket;
                                  gcs_auth anonymous; %s }
    """ % (KEPT, KEPT), http=CACHE)
    for _ in range(2):
        assert server.get("/media/x").body == b"I am x"
        assert server.get("/public/x").body == b"public"
        assert server.get("/media/public/x").body == b"public"
    # and two ways to one object share it
    assert targets(emulator) == ["/test-bucket/x", "/public-bucket/x"]


# forms of a request


@pytest.mark.parametrize("line, found", [
    ("GET http://localhost/media/a//b%3F HTTP/1.1", "a//b?"),
    ("GET http://localhost/media/a%2F%2Fb%3F?q HTTP/1.1", "a//b?"),
    ("GET HTTP://user@LOCALHOST:80/media/a//b%3F HTTP/1.1", None),
    ("GET http://[::1]:80/media/a//b%3F HTTP/1.1", "a//b?"),
    ("GET https://elsewhere.example/media/a//b%3F HTTP/1.1", "a//b?"),
    ("GET http://localhost//media/x HTTP/1.1", None),
    ("GET http://localhost/media/./x HTTP/1.1", None),
    ("GET /media/a//b%3F HTTP/1.0", "a//b?"),
    ("GET /media/http://localhost/x HTTP/1.1", "http://localhost/x"),
])
def test_every_form_of_the_request_line_names_the_same(
        nginx, emulator, key_file, line, found):
    put(emulator, "a//b?", "x", "http://localhost/x")
    server = proxy(nginx, emulator)
    answer = server.raw(line.encode()
                        + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    if found is None:
        assert answer.status == 400
        assert targets(emulator) == []
    else:
        assert answer.status == 200
        assert answer.body == b"I am " + found.encode()
        assert targets(emulator) == [target(found.encode())]


@pytest.mark.parametrize("raw", ["http://localhost", "http://localhost?x",
                                 "http://localhost/", "/", "//", "/?prefix=x"])
def test_no_form_of_an_empty_path_asks_for_the_bucket(nginx, emulator,
                                                      key_file, raw):
    server = proxy(nginx, emulator,
                   "location / { gcs_pass gs://test-bucket; }")
    status, found, seen = outcome(server, emulator, raw)
    assert (status, found) == (404, None)
    # the name "/" is a name
    assert seen == (["/test-bucket//"] if raw == "//" else [])


def http2(port: int, path: str) -> tuple[str, bytes]:
    done = subprocess.run(
        ["curl", "-s", "--http2-prior-knowledge", "--path-as-is", "--globoff",
         "--noproxy", "*", "--max-time", "20",
         "-w", "\n%{http_version} %{http_code}",
         f"http://127.0.0.1:{port}{path}"],
        capture_output=True, check=True)
    body, _, status = done.stdout.rpartition(b"\n")
    return status.decode(), body


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_names_over_http2_are_the_same(nginx, emulator, key_file):
    names = [name for name in NAMES if len(name.encode()) < 1000]
    put(emulator, *names)
    server = proxy(nginx, emulator, template=HTTP.replace(
        "%%%%PORT%%%%;",
        "%%%%PORT%%%%; listen 127.0.0.1:%%%%PORT_2%%%% http2;"))
    port = server.ports["PORT_2"]
    for name in names[::4]:
        raw = name.encode()
        assert http2(port, "/media/" + escaped(raw) + "?q=/../") \
            == ("2 200", b"I am " + raw)
        assert targets(emulator) == [target(raw)]

    for path in DOTS[:6] + ["%ff", "a%0d%0ab", "%00", "n" * 1025]:
        assert http2(port, "/media/" + path)[0] == "2 400", path
    assert targets(emulator) == []


def test_a_location_may_have_any_bytes_in_its_name(nginx, emulator,
                                                   key_file):
    put(emulator, "x", "a b/x")
    server = proxy(nginx, emulator, """
        location "/my files/" { gcs_pass gs://test-bucket/; }
        location /größe/ { gcs_pass "gs://test-bucket/a b"; }
        location /a%b/ { gcs_pass gs://test-bucket/; }
    """)
    for raw, name in (("/my%20files/x", "x"),
                      ("/%6Dy%20files//x", "/x"),
                      ("/gr%C3%B6%C3%9Fe/x", "a b/x"),
                      ("/größe/x", "a b/x"),
                      ("/a%25b/x", "x")):
        server.get(raw)
        assert targets(emulator) == [target(name.encode())], raw

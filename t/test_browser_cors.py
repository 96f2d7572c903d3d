"""CORS as a real browser sees it.

A page of one origin loads from another one, in each of the ways that pages
have.  The table tells for each of them the headers without which the browser
keeps the result from the page; docs/cors.md says the same of directives.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Callable, Iterable, NamedTuple

import pytest

from harness import pages_media as media

if TYPE_CHECKING:
    from harness.browser import Tab

pytest_plugins = ["harness.browser"]

ORIGIN = "Access-Control-Allow-Origin"
CREDENTIALS = "Access-Control-Allow-Credentials"
HEADERS = "Access-Control-Allow-Headers"
METHODS = "Access-Control-Allow-Methods"
EXPOSE = "Access-Control-Expose-Headers"
TIMING = "Timing-Allow-Origin"
AGE = "Access-Control-Max-Age"

# what the browser says when one is missing; of the others it says nothing
WORDS = {
    ORIGIN: "No 'Access-Control-Allow-Origin' header is present",
    CREDENTIALS: "The value of the 'Access-Control-Allow-Credentials' header "
                 "in the response is ''",
    HEADERS: "is not allowed by Access-Control-Allow-Headers in preflight",
    METHODS: "is not allowed by Access-Control-Allow-Methods in preflight",
}
ALL = [*WORDS, EXPOSE, TIMING, AGE]

PAGE = '''return 200 "<!doctype html><title>page</title>";'''

SERVERS = """
    gcs_credentials  reader { file %%KEY%%; }
    proxy_cache_path %%DIR%%/cache keys_zone=cache:1m;
    default_type     text/html;

    # the application whose pages may read
    server {
        listen 127.0.0.1:%%PORT%%;
        location / { """ + PAGE + """ }
        location /isolated {
            add_header Cross-Origin-Embedder-Policy require-corp;
            """ + PAGE + """
        }
    }

    # other ones
    server {
        listen 127.0.0.1:%%PORT_SECOND%%;
        listen 127.0.0.1:%%PORT_OTHER%%;
        location / { """ + PAGE + """ }
    }

    server {
        listen       127.0.0.1:%%PORT_MEDIA%%;
        gcs_endpoint %%EMULATOR%%;
        gcs_auth     reader;
        gcs_cors     http://127.0.0.1:%%PORT%%
                     http://127.0.0.1:%%PORT_SECOND%%;

        location /public/ { gcs_pass gs://test-bucket/; }
        location /off/    { gcs_pass gs://test-bucket/; gcs_cors off; }
        location /any/    { gcs_pass gs://test-bucket/; gcs_cors *; }
        location /null/   { gcs_pass gs://test-bucket/; gcs_cors null; }

        location /custom/ {
            gcs_pass         gs://test-bucket/;
            gcs_cors_headers X-Requested-With;
            gcs_cors_expose  X-Thing;
            add_header       X-Thing thing;
        }

        location /private/ {
            gcs_pass             gs://test-bucket/;
            gcs_cors_credentials on;
            auth_request         /session;
        }

        location = /session {
            internal;
            if ($cookie_session != open) { return 401; }
            return 204;
        }

        location /signed/ { gcs_pass gs://test-bucket/; gcs_mode presign; }

        location /upload/ {
            gcs_pass           gs://test-bucket/;
            gcs_mode           presign;
            gcs_methods        GET HEAD PUT;
            gcs_presign_answer json;
        }

        location /timed/ {
            gcs_pass          gs://test-bucket/;
            gcs_timing_origin http://127.0.0.1:%%PORT%%;
        }

        location /shared/ {
            gcs_pass            gs://test-bucket/;
            gcs_resource_policy cross-origin;
        }

        location /own/ {
            gcs_pass            gs://test-bucket/;
            gcs_resource_policy same-origin;
        }
        %%MORE%%
    }

    # the same, without some headers
    server {
        listen 127.0.0.1:%%PORT_LESS%%;
        %%LESS%%
    }"""

LESS = """
    location /{name}/ {{
        proxy_pass     http://127.0.0.1:%%PORT_MEDIA%%/;
        proxy_redirect off;
        {hidden}
    }}"""


class Load(NamedTuple):
    """A way to load something, and what a page needs to have it."""
    name: str
    needs: set[str]
    function: str                          # of harness/pages.js
    path: str
    arguments: tuple = ()
    gives: Any = None                      # of a dictionary: a part

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def crossorigin(value: str, **more: str) -> tuple[dict]:
    return ({"crossorigin": value, **more},)


def headers(**values: str) -> tuple[dict]:
    return ({"headers": {name.replace("_", "-"): value
                         for name, value in values.items()}},)


ANONYMOUS, WITH = crossorigin("anonymous"), crossorigin("use-credentials")
INCLUDE = ({"credentials": "include"},)
TEXT = {"status": 200, "text": "0123456789"}
BLOB = {**TEXT, "type": "text/plain"}
SOUND = {"duration": 4, "at": 2.5, "seekable": 4}
BOTH = {ORIGIN, CREDENTIALS}

LOADS = [
    # scripts that ask
    Load("fetch", {ORIGIN}, "fetch", "/public/a.txt", gives=TEXT),
    Load("fetch from where all may", {ORIGIN}, "fetch", "/any/a.txt",
         gives=TEXT),
    Load("fetch of a range", {ORIGIN}, "fetch", "/public/a.txt",
         headers(Range="bytes=2-4"), {"status": 206, "text": "234"}),
    Load("fetch of the last bytes", {ORIGIN, HEADERS}, "fetch",
         "/public/a.txt", headers(Range="bytes=-4"),
         {"status": 206, "text": "6789"}),
    Load("fetch with a condition", {ORIGIN, HEADERS}, "fetch",
         "/public/a.txt", headers(If_None_Match="*"), {"status": 304}),
    Load("fetch with a header", {ORIGIN, HEADERS}, "fetch", "/custom/a.txt",
         headers(X_Requested_With="me"), TEXT),
    Load("fetch that reads a range", {ORIGIN, EXPOSE}, "fetch",
         "/public/a.txt", headers(Range="bytes=2-4"),
         {"headers": {"content-range": "bytes 2-4/10",
                      "accept-ranges": "bytes", "content-length": "3"}}),
    Load("fetch that reads a header", {ORIGIN, EXPOSE}, "fetch",
         "/custom/a.txt", gives={"headers": {"x-thing": "thing"}}),
    Load("fetch of nothing", {ORIGIN}, "fetch", "/public/none",
         gives={"status": 404}),
    Load("fetch beyond the end", {ORIGIN}, "fetch", "/public/a.txt",
         headers(Range="bytes=100-200"), {"status": 416}),
    Load("fetch without credentials", {ORIGIN}, "fetch", "/private/a.txt",
         gives={"status": 401}),
    Load("fetch with credentials", BOTH, "fetch", "/private/a.txt", INCLUDE,
         TEXT),
    Load("fetch with credentials and a condition", BOTH | {HEADERS}, "fetch",
         "/private/a.txt",
         ({**INCLUDE[0], "headers": {"If-None-Match": '"other"'}},), TEXT),
    Load("fetch with a method", {ORIGIN, METHODS}, "fetch", "/upload/a.txt",
         ({"method": "PUT"},), {"status": 200}),
    Load("fetch that is timed", {ORIGIN, TIMING}, "timing", "/timed/a.txt",
         gives=True),
    Load("blob", {ORIGIN}, "xhr", "/public/a.txt", gives=BLOB),
    Load("blob with a condition", {ORIGIN, HEADERS}, "xhr", "/public/a.txt",
         headers(If_None_Match='"other"'), BLOB),
    Load("blob with credentials", BOTH, "xhr", "/private/a.txt",
         ({"credentials": True},), BLOB),

    # elements that the page reads back
    Load("pixels", {ORIGIN}, "pixels", "/public/a.png", ANONYMOUS,
         "green"),
    Load("pixels from where all may", {ORIGIN}, "pixels", "/any/a.png",
         ANONYMOUS, "green"),
    Load("pixels with credentials", BOTH, "pixels", "/private/a.png", WITH,
         "green"),
    Load("audio", {ORIGIN}, "audio", "/public/a.wav", ANONYMOUS, SOUND),
    Load("audio with credentials", BOTH, "audio", "/private/a.wav", WITH,
         SOUND),
    Load("video", {ORIGIN}, "frames", "/public/a.webm", ANONYMOUS,
         ["red", "blue"]),
    Load("video with credentials", BOTH, "frames", "/private/a.webm", WITH,
         ["red", "blue"]),
    Load("captions", {ORIGIN}, "captions", "/public/a.vtt", ("anonymous",),
         ["hello"]),
    Load("style sheet", {ORIGIN}, "stylesheet", "/public/a.css", ANONYMOUS,
         "p"),
    Load("font", {ORIGIN}, "font", "/public/a.ttf", gives=["loaded", 300]),

    # scripts
    Load("script", {ORIGIN}, "script", "/public/hello.js", ANONYMOUS, 7),
    Load("module", {ORIGIN}, "script", "/public/hello.js",
         ({"type": "module"},), 7),
    Load("module with credentials", BOTH, "script", "/private/hello.js",
         crossorigin("use-credentials", type="module"), 7),
    Load("import", {ORIGIN}, "imported", "/public/a.mjs", gives=42),
    Load("module worker", {ORIGIN}, "worker", "/public/a.mjs", gives=42),

    # by a redirect to the bucket, whose own rule allows all
    Load("signed fetch", {ORIGIN}, "fetch", "/signed/a.txt",
         gives={**TEXT, "redirected": True}),
    Load("signed pixels", {ORIGIN}, "pixels", "/signed/a.png", ANONYMOUS,
         "green"),
    Load("signed audio", {ORIGIN}, "audio", "/signed/a.wav", ANONYMOUS,
         SOUND),
    Load("signed video", {ORIGIN}, "frames", "/signed/a.webm", ANONYMOUS,
         ["red", "blue"]),
    Load("signed font", {ORIGIN}, "font", "/signed/a.ttf",
         gives=["loaded", 300]),
    Load("signed module", {ORIGIN}, "imported", "/signed/a.mjs", gives=42),

    # what is only shown, or run, needs nothing
    Load("image", set(), "image", "/off/a.png", gives=[16, 16]),
    Load("signed image", set(), "image", "/signed/a.png", gives=[16, 16]),
    Load("silent film", set(), "video", "/off/a.webm", gives=SOUND),
    Load("plain script", set(), "script", "/off/hello.js", gives=7),
    Load("PDF", set(), "embedded", "/off/a.pdf",
         ({"type": "application/pdf"},), "green"),
    Load("signed PDF", set(), "embedded", "/signed/a.pdf",
         ({"type": "application/pdf"},), "green"),
]

OBJECTS = [
    ("a.txt", "text/plain", b"0123456789"),
    ("a.png", "image/png", media.png()),
    ("a.wav", "audio/wav", media.wav()),
    ("a.ttf", "font/ttf", None),
    ("a.pdf", "application/pdf", media.pdf()),
    ("a.vtt", "text/vtt", b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n"),
    ("a.css", "text/css", b"p { color: red }"),
    ("a.mjs", "text/javascript", b"export const answer = 42;"),
    ("hello.js", "text/javascript", b"hello(7);"),
]


@pytest.fixture(scope="module")
def objects(film) -> list[tuple[str, str, bytes]]:
    made = {"a.ttf": media.ttf()}
    found = [(name, kind, made.get(name, data))
             for name, kind, data in OBJECTS]
    return [*found, ("a.webm", "video/webm", film)]


@pytest.fixture
def serve(nginx, emulator, key_file, bucket, objects):
    def start(more: str = "", less: dict[str, Iterable[str]] | None = None,
              **kw: Any):
        """With more locations, and with some that lack headers."""
        for name, kind, data in objects:
            emulator.put_object(bucket, name, data, content_type=kind,
                                cache_control="public, max-age=3600")
        emulator.update_bucket(bucket, cors=[
            {"origin": ["*"], "method": ["GET", "HEAD"]}])
        lacking = "".join(LESS.format(name=name, hidden="".join(
            f"proxy_hide_header {header}; " for header in hidden))
            for name, hidden in (less or {}).items())
        http = SERVERS.replace("%%MORE%%", more).replace("%%LESS%%", lacking)
        return nginx(http, **kw)
    return start


def at(server: Any, path: str, port: str = "PORT_MEDIA") -> str:
    return f"http://127.0.0.1:{server.ports[port]}{path}"


def drawn(tab: Tab, colour: str) -> str:
    """The colour of a document, which is drawn some time after its load."""
    for _ in range(200):
        if media.named(tab.colour("embed")) == colour:
            break
        tab.page.wait_for_timeout(50)
    return media.named(tab.colour("embed"))


def result(tab: Tab, load: Load, url: str) -> Any:
    """What the page has in the end, or how it failed."""
    outcome = tab.run(load.function, url, *load.arguments)
    if outcome.error is not None:
        return outcome
    if load.function == "embedded":
        return drawn(tab, load.gives)
    if load.function == "pixels":
        return media.named(outcome.value)
    if load.function == "frames":
        return [media.named(colour) for colour in outcome.value]
    return outcome.value


def has(value: Any, wanted: Any) -> bool:
    """Whether it is what was wanted; of a dictionary, a part is enough."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(
            has(value.get(key), part) for key, part in wanted.items())
    return value == wanted


def page(visit: Callable[..., Tab], server: Any,
         load: Load | None = None) -> Tab:
    """Of the application, with a user who is logged in if that matters.

    Ports are nothing to cookies: the bucket would get one, too.
    """
    private = load is not None and load.path.startswith("/private/")
    return visit(server.url(), {"session": "open"} if private else None)


# the table

@pytest.mark.parametrize("load", LOADS, ids=str)
def test_a_page_has_it_with_just_the_headers_that_it_needs(
        load, serve, visit):
    """Works with all headers, and with the needed ones alone; does not
    without any one of these."""
    less = {header: [header] for header in load.needs}
    less["bare"] = [header for header in ALL if header not in load.needs]
    server = serve(less=less)
    tab = page(visit, server, load)

    urls = [at(server, "/bare" + load.path, "PORT_LESS")]
    if load.needs:
        urls.append(at(server, load.path))
    for url in urls:
        value = result(tab, load, url)
        assert has(value, load.gives), value

    for header in sorted(load.needs):
        url = at(server, f"/{header}{load.path}", "PORT_LESS")
        if header not in WORDS:
            # the page has it, but is not told all about it
            outcome = tab.run(load.function, url, *load.arguments)
            assert outcome.error is None, outcome
            assert not has(outcome.value, load.gives), outcome

        elif load.function == "worker":
            # what is wrong in a worker is not told to its page
            outcome = tab.run(load.function, url)
            assert outcome.error == "Error: the worker fails"

        else:
            said = tab.blocked(load.function, url, *load.arguments)
            assert WORDS[header] in said, said


# what no rule allows

REFUSED = [
    ("a method", "/public/a.txt", {"method": "PUT"}, "preflight"),
    ("a header", "/public/a.txt", {"headers": {"X-Mine": "1"}}, "preflight"),
    ("a header beside another one", "/custom/a.txt",
     {"headers": {"X-Requested-With": "me", "X-Mine": "1"}}, "preflight"),
    ("the default headers where others are named", "/custom/a.txt",
     {"headers": {"Range": "bytes=-4"}}, "preflight"),
    ("credentials", "/public/a.txt", {"credentials": "include"},
     WORDS[CREDENTIALS]),
    ("credentials where all may", "/any/a.txt", {"credentials": "include"},
     "must not be the wildcard '*'"),
    ("anything where it is off", "/off/a.txt", {}, WORDS[ORIGIN]),
    ("what only nobody's pages may", "/null/a.txt", {}, WORDS[ORIGIN]),
]


@pytest.mark.parametrize("path, options, words",
                         [case[1:] for case in REFUSED],
                         ids=[case[0].replace(" ", "-") for case in REFUSED])
def test_a_page_is_refused(serve, visit, emulator, path, options, words):
    server = serve()
    said = page(visit, server).blocked("fetch", at(server, path), options)
    assert words in said, said
    if words == "preflight":
        assert emulator.requests("storage") == []


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:{PORT_OTHER}/", "http://localhost:{PORT}/"],
    ids=["another-port", "another-host"])
@pytest.mark.parametrize("name, arguments", [
    ("fetch", ("/public/a.txt",)),
    ("fetch", ("/public/a.txt", {"headers": {"Range": "bytes=-4"}})),
    ("fetch", ("/private/a.txt", {"credentials": "include"})),
    ("fetch", ("/signed/a.txt",)),
    ("pixels", ("/public/a.png", {"crossorigin": "anonymous"}))],
    ids=["fetch", "preflight", "credentials", "redirect", "pixels"])
def test_a_page_of_an_origin_that_is_not_listed_is_refused(
        serve, visit, url, name, arguments):
    server = serve()
    tab = visit(url.format(**server.ports))
    assert WORDS[ORIGIN] in tab.blocked(name, at(server, arguments[0]),
                                        *arguments[1:])


def test_without_crossorigin_what_is_shown_cannot_be_read(serve, visit):
    server = serve()
    tab = page(visit, server)
    for name, path in (("pixels", "/public/a.png"),
                       ("frames", "/public/a.webm"),
                       ("stylesheet", "/public/a.css")):
        outcome = tab.run(name, at(server, path))
        assert outcome.error.startswith("SecurityError"), outcome


def test_a_worker_whose_own_file_is_elsewhere_is_always_refused(serve, visit):
    """Whatever the headers say: the documentation tells what to do."""
    server = serve()
    outcome = page(visit, server).run("foreign_worker",
                                      at(server, "/any/a.mjs"))
    assert outcome.error.startswith("SecurityError"), outcome


@pytest.mark.parametrize("path, allowed", [
    ("/null/a.txt", True), ("/any/a.txt", True), ("/public/a.txt", False)])
def test_a_sandboxed_document_is_null(serve, visit, path, allowed):
    server = serve()
    tab = page(visit, server)
    tab.get("sandbox")
    frame = tab.page.frames[1]
    if allowed:
        outcome = tab.run("fetch", at(server, path), frame=frame)
        assert has(outcome.value, TEXT), outcome
    else:
        said = tab.blocked("fetch", at(server, path), frame=frame)
        assert "from origin 'null'" in said


# caches

def test_the_browsers_cache_keeps_what_was_shown_apart(serve, visit):
    """An image that was shown is in the cache: without CORS headers, unless
    they are there for everybody."""
    server = serve()
    tab = page(visit, server)
    for where in ("public", "any"):
        url = at(server, f"/{where}/a.png")
        assert tab.get("image", url) == [16, 16]
        assert media.named(tab.get("pixels", url, *ANONYMOUS)) == "green"


def test_without_vary_the_browsers_cache_would_not(serve, visit):
    server = serve(less={"less": ["Vary"]})
    tab = page(visit, server)
    url = at(server, "/less/public/a.png", "PORT_LESS")
    tab.get("image", url)
    assert WORDS[ORIGIN] in tab.blocked("pixels", url, *ANONYMOUS)


def test_the_browsers_cache_keeps_origins_apart(serve, visit):
    server = serve()
    tab = page(visit, server)
    for port in ("PORT", "PORT_SECOND", "PORT"):
        tab.page.goto(at(server, "/", port))
        got = tab.get("fetch", at(server, "/public/a.txt"))
        assert has(got, TEXT)


def test_nginxs_cache_keeps_origins_apart(serve, visit, emulator):
    server = serve("""
        location /cached/ {
            gcs_pass    gs://test-bucket/;
            proxy_cache cache;
            proxy_cache_valid 200 1h;
        }""")
    for port in ("PORT", "PORT_SECOND"):
        tab = visit(at(server, "/", port))
        assert has(tab.get("fetch", at(server, "/cached/a.txt")), TEXT)
    tab = visit(at(server, "/", "PORT_OTHER"))
    tab.blocked("fetch", at(server, "/cached/a.txt"))
    assert len(emulator.requests("storage")) == 1


# redirects to the bucket

def test_of_two_foreign_origins_the_second_is_asked_by_nobody(
        serve, visit, emulator, bucket):
    """Redirected from one origin to the next the browser says "null": only a
    rule for everybody is one for a page that is not nginx's own."""
    server = serve()
    tab = page(visit, server)
    url = at(server, "/signed/a.txt")
    emulator.update_bucket(bucket, cors=[
        {"origin": [at(server, "", "PORT")], "method": ["GET"]}])
    assert f"Access to fetch at '{emulator.url}" in tab.blocked("fetch", url)
    emulator.update_bucket(bucket, cors=[{"origin": ["*"],
                                          "method": ["GET"]}])
    assert has(tab.get("fetch", url), TEXT)
    origins = [dict(request["headers"]).get("Origin")
               for request in emulator.requests("storage")]
    assert origins == ["null", "null"]


# isolation

@pytest.mark.parametrize("where, document, shown", [
    ("shared", "/isolated", True), ("public", "/isolated", False),
    ("own", "/", False), ("shared", "/", True), ("public", "/", True)])
def test_the_resource_policy_decides_who_may_show_it(
        serve, visit, where, document, shown):
    server = serve()
    tab = visit(server.url(document))
    outcome = tab.run("image", at(server, f"/{where}/a.png"))
    assert outcome.value == ([16, 16] if shown else None), outcome
    if not shown:
        tab.page.wait_for_timeout(100)
        assert "ERR_BLOCKED_BY_RESPONSE" in " ".join(tab.console)


# the bucket's own rules

def test_the_rules_of_a_bucket_are_obeyed(serve, visit, tmp_path):
    rules = tmp_path / "cors.json"
    server = serve(f"""
        location /file/ {{
            gcs_pass      gs://test-bucket/;
            gcs_cors_file {rules};
        }}""", start=False)
    rules.write_text(json.dumps([{
        "origin": [at(server, "", "PORT")], "method": ["GET"],
        "responseHeader": ["Content-Type", "X-Listed"],
        "maxAgeSeconds": 3600}]))
    server.start()
    tab = page(visit, server)
    url = at(server, "/file/a.txt")
    assert has(tab.get("fetch", url), TEXT)
    assert has(tab.get("fetch", url, *headers(X_Listed="1")), TEXT)
    tab.blocked("fetch", url, *headers(X_Other="1"))
    visit(at(server, "/", "PORT_OTHER")).blocked("fetch", url)

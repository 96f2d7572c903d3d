"""CORS as a browser gets it on the wire: each header, once, on each answer.

What browsers make of it is the subject of other tests; the rules themselves,
of test_cors_rules.py.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from harness.nginx import version, wait_until

ONE = "https://app.example"
EVIL = "https://app.example.evil"
EXPOSE = ("Content-Length, Content-Range, Content-Type, Content-Disposition, "
          "ETag, Last-Modified, Accept-Ranges")
HEADERS = ("Range, If-Range, If-Match, If-None-Match, If-Modified-Since, "
           "If-Unmodified-Since")
VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"

HTTP = """
    proxy_cache_path %%DIR%%/cache keys_zone=z:1m;
    gcs_credentials reader { file %%KEY%%; }
    gcs_auth reader;
    gcs_endpoint %%EMULATOR%%;
    log_format why '$request_method $status why=$gcs_error.';
    access_log %%DIR%%/why.log why;
    map $http_x_list $list { default ""; ~. $http_x_list; }
"""
GCS = "gcs_pass gs://test-bucket/;"

# what another cloud's CORS would look like: nothing of it may pass
FOREIGN = """
    server {
        listen 127.0.0.1:%%PORT_FOREIGN%%;
        add_header Access-Control-Allow-Origin https://first.example always;
        add_header Access-Control-Allow-Credentials true always;
        add_header Access-Control-Expose-Headers X-Secret always;
        add_header Cross-Origin-Resource-Policy same-origin always;
        add_header Timing-Allow-Origin https://first.example always;
        add_header Vary Origin always;
        add_header Cache-Control "public, max-age=60";
        location / { return 200 "foreign"; }
        location /test-bucket/none { return 404; }
    }"""


@pytest.fixture
def front(nginx, emulator, key_file, bucket):
    emulator.update_bucket(bucket, cors=[{
        "origin": ["*"], "method": ["*"], "responseHeader": ["x-of-bucket"],
        "maxAgeSeconds": 7}])
    emulator.put_object(bucket, "a.txt", b"0123456789",
                        content_type="text/plain",
                        cache_control="public, max-age=60")

    def make(server, http="", **kw):
        return nginx(HTTP + http, server=server, **kw)

    return make


def location(*directives: str, more: str = "") -> str:
    return "location / { %s %s } %s" % (GCS, " ".join(directives), more)


def cors(response) -> dict[str, str]:
    """The headers of CORS and its kin; each must be there once."""
    names = [name for name in response.names
             if name.startswith("access-control-")
             or name in ("vary", "timing-allow-origin",
                         "cross-origin-resource-policy")]
    return {name: response.get(name) for name in names}


def actual(origin: str = ONE, expose: str = EXPOSE, **more: str) \
        -> dict[str, str]:
    return {"access-control-allow-origin": origin,
            "access-control-expose-headers": expose, "vary": "Origin", **more}


def asked(method: str = "GET", headers: str | None = None,
          origin: str = ONE) -> dict[str, str]:
    fields = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers is not None:
        fields["Access-Control-Request-Headers"] = headers
    return fields


def allowed(origin: str = ONE, methods: str = "GET, HEAD",
            headers: str = HEADERS, age: str = "3600", vary: str = VARY,
            **more: str) -> dict[str, str]:
    return {"access-control-allow-origin": origin,
            "access-control-allow-methods": methods,
            "access-control-allow-headers": headers,
            "access-control-max-age": age, "vary": vary, **more}


def preflight(server, headers, target="/a.txt"):
    response = server.request("OPTIONS", target, headers)
    assert response.status == 204
    assert response.names & {"content-type", "content-length",
                             "transfer-encoding", "allow"} == set()
    assert response.body == b""
    return cors(response)


def why(server, number: int) -> str:
    """The reason of the request of that number, from the access log."""
    def lines():
        return (server.dir / "why.log").read_text().splitlines()

    wait_until(lambda: len(lines()) >= number)
    return lines()[number - 1].partition("why=")[2][:-1]


# actual answers

def test_an_allowed_origin_gets_its_headers_and_no_other(front):
    server = front(location(f"gcs_cors {ONE} https://b.example;"))
    response = server.get("/a.txt", {"Origin": ONE})
    assert (response.status, response.body) == (200, b"0123456789")
    assert cors(response) == actual()
    assert cors(server.get("/a.txt", {"Origin": "https://b.example"})) \
        == actual("https://b.example")


@pytest.mark.parametrize("origin", [
    EVIL, "https://evil.example", "http://app.example", "null", "*", "",
    "https://app.example:8443", "https://app.example.", "https://app.example/",
    "https://u@app.example", "https://app.example@evil.example",
    f"{ONE}, {ONE}", f"{ONE} https://b.example", "https://app%2eexample",
    "https://a\u00e4pp.example", "https://app.example\\", "app.example",
    "x" * 5000])
def test_another_origin_gets_none_but_vary(front, origin):
    server = front(location(f"gcs_cors {ONE};"))
    response = server.get("/a.txt", {"Origin": origin})
    assert (response.status, response.body) == (200, b"0123456789")
    assert cors(response) == {"vary": "Origin"}


def test_two_origins_are_none(front):
    server = front(location(f"gcs_cors {ONE};"))
    for other in (ONE, EVIL):
        for lines in ([("Origin", ONE), ("Origin", other)],
                      [("Origin", other), ("origin", ONE)]):
            assert cors(server.get("/a.txt", lines)) == {"vary": "Origin"}


@pytest.mark.parametrize("others", [18, 19, 20, 40, 100])
def test_an_origin_is_found_behind_many_headers(front, others):
    """nginx keeps them in parts of twenty, the first has Host as well."""
    server = front(location(f"gcs_cors {ONE};"))
    before = {f"X-Other-{number}": "x" for number in range(others)}
    assert cors(server.get("/a.txt", {**before, "Origin": ONE})) == actual()
    assert preflight(server, {**before, **asked()}) == allowed()
    assert cors(server.get("/a.txt", [
        ("Origin", ONE), *before.items(), ("Origin", EVIL)])) \
        == {"vary": "Origin"}


def test_a_request_without_origin_is_told_that_others_differ(front):
    server = front(location(f"gcs_cors {ONE};"))
    assert cors(server.get("/a.txt")) == {"vary": "Origin"}


def test_everybody_gets_the_same_answer_where_everybody_may(front):
    """Also who sends no Origin: a cache may keep it for somebody who does."""
    server = front(location("gcs_cors *;"))
    for headers in ({}, {"Origin": ONE}, {"Origin": "null"},
                    {"Origin": "x y"}):
        assert cors(server.get("/a.txt", headers)) == {
            "access-control-allow-origin": "*",
            "access-control-expose-headers": EXPOSE}


def test_case_and_default_port_make_no_difference(front):
    server = front(location("gcs_cors HTTPS://App.Example:443;"))
    for origin in (ONE, "https://APP.example", "https://app.example:443"):
        assert cors(server.get("/a.txt", {"Origin": origin})) \
            == actual(origin)


def test_a_wildcard_stands_for_one_label(front):
    server = front(location("gcs_cors https://*.example;"))
    assert cors(server.get("/a.txt", {"Origin": ONE})) == actual()
    for origin in ("https://example", "https://a.app.example",
                   "https://.example", "https://app.example.evil",
                   "https://evil-example", "http://app.example"):
        assert cors(server.get("/a.txt", {"Origin": origin})) \
            == {"vary": "Origin"}, origin


@pytest.mark.parametrize("regex", [
    r"~https://(app|b)\.example", r"~^https://(app|b)\.example$",
    r"~*HTTPS://(APP|B)\.example", r"~https://b\.example|https://app\.example",
    r"~https://app\.example|https://b\.example"])
def test_a_regex_matches_the_whole_origin(front, regex):
    server = front(location(f'gcs_cors "{regex}";'))
    for origin in (ONE, "https://b.example", "HTTPS://app.example:443"):
        assert cors(server.get("/a.txt", {"Origin": origin})) \
            == actual(origin)
    for origin in (EVIL, "https://evil.example/https://app.example",
                   "https://app.example:8443",
                   "xhttps://app.example", "null"):
        assert cors(server.get("/a.txt", {"Origin": origin})) \
            == {"vary": "Origin"}, origin


def test_null_is_allowed_only_where_it_is_written(front):
    server = front(
        "location /a { %s gcs_cors null; } location /b { %s gcs_cors ~.*; }"
        % (GCS.replace("/;", "/a;"), GCS))
    assert cors(server.get("/a.txt", {"Origin": "null"}))[
        "access-control-allow-origin"] == "null"
    assert cors(server.get("/b", {"Origin": "null"})) == {"vary": "Origin"}


def test_off_is_off(front):
    server = front(location("gcs_cors off;"), http=f"gcs_cors {ONE};")
    assert cors(server.get("/a.txt", {"Origin": ONE})) == {}
    assert server.request("OPTIONS", "/a.txt", asked()).status == 405


# every status

STATUSES = {
    "200": ("", "GET", "/a.txt", {}, 200),
    "HEAD": ("", "HEAD", "/a.txt", {}, 200),
    "206": ("", "GET", "/a.txt", {"Range": "bytes=1-2"}, 206),
    "304": ("", "GET", "/a.txt", {"If-None-Match": "*"}, 304),
    "404": ("", "GET", "/none", {}, 404),
    "405": ("", "POST", "/a.txt", {}, 405),
    "412": ("", "GET", "/a.txt", {"If-Match": '"x"'}, 412),
    "416": ("", "GET", "/a.txt", {"Range": "bytes=99-"}, 416),
    "400": ("", "GET", "/a%0Ab", {}, 400),
    "401": ('auth_basic x; auth_basic_user_file /dev/null;', "GET", "/a.txt",
            {}, 401),
    "403": ("deny all;", "GET", "/a.txt", {}, 403),
    "403 of a list": ("gcs_buckets test-bucket/x;", "GET", "/a.txt", {}, 403),
    "limit_except": ("limit_except HEAD { deny all; }", "GET", "/a.txt", {},
                     403),
    "return": ("return 410;", "GET", "/a.txt", {}, 410),
    "413": ("client_max_body_size 1;", "GET", "/a.txt",
            {"Content-Length": "0"}, 200),
    "an if": ("if ($request_method) { set $x 1; }", "GET", "/a.txt", {}, 200),
    "502": ("gcs_endpoint http://127.0.0.1:1;", "GET", "/a.txt", {}, 502),
    "presign": ("gcs_mode presign;", "GET", "/a.txt", {}, 303),
    "presign 302": ("gcs_mode presign; gcs_presign_answer redirect=302;",
                    "HEAD", "/a.txt", {}, 302),
    "presign json": ("gcs_mode presign; gcs_presign_answer json;", "GET",
                     "/a.txt", {}, 200),
    "presign for PUT": ("gcs_mode presign; gcs_presign_answer json; "
                        "gcs_methods GET PUT; gcs_presign_method PUT;",
                        "POST", "/a.txt", {}, 200),
}


@pytest.mark.parametrize("case", STATUSES)
def test_the_headers_are_on_every_answer(front, case):
    inside, method, target, headers, status = STATUSES[case]
    server = front(location(f"gcs_cors {ONE};", inside))
    for origin, want in ((ONE, actual()), (EVIL, {"vary": "Origin"})):
        response = server.request(method, target,
                                  {**headers, "Origin": origin})
        assert response.status == status
        assert cors(response) == want


PAGES = {
    "a page": ("error_page 404 403 410 /page.html;",
               "location = /page.html { return 200 page; }"),
    "a page of another status": (
        "error_page 404 403 410 =200 /page.html;",
        "location = /page.html { return 200 page; }"),
    "a page of its own status": (
        "error_page 404 403 410 = /page.html;",
        "location = /page.html { return 200 page; }"),
    "a name": ("error_page 404 403 410 @page;",
               "location @page { return 200 page; }"),
    "recursive pages": (
        "recursive_error_pages on; error_page 404 403 410 /one;",
        """location = /one { recursive_error_pages on; error_page 418 /two;
                             return 418; }
           location = /two { return 200 page; }"""),
    "a page that asks for itself": (
        "recursive_error_pages on; error_page 404 403 410 /page.html;",
        """location = /page.html { recursive_error_pages on;
                                   error_page 404 @page; root /nothing; }
           location @page { return 200 page; }"""),
    "a rewrite in the page": (
        "error_page 404 403 410 /page.html;",
        """location = /page.html { rewrite ^ /other last; }
           location = /other { return 200 page; }"""),
    "another server": (
        "error_page 404 403 410 @page;",
        """location @page { proxy_pass http://127.0.0.1:%%PORT_FOREIGN%%;
                            proxy_method GET; }"""),
    "an object": (
        "error_page 404 403 410 /page/a.txt;",
        "location /page/ { %s }" % GCS),
}


@pytest.mark.parametrize("reason", ["", "deny all;", "return 410;"],
                         ids=["of GCS", "of access", "of rewrite"])
@pytest.mark.parametrize("page", PAGES)
def test_the_page_of_an_error_has_the_headers_of_its_cause(front, page,
                                                           reason):
    error_page, more = PAGES[page]
    server = front(location(f"gcs_cors {ONE};", error_page, reason, more=more),
                   http=FOREIGN + "gcs_resource_policy cross-origin;"
                                  "gcs_timing_origin *;")
    both = {"cross-origin-resource-policy": "cross-origin",
            "timing-allow-origin": "*"}
    for origin, want in ((ONE, {**actual(), **both}),
                         (EVIL, {"vary": "Origin", **both})):
        response = server.get("/none", {"Origin": origin})
        assert b"<html>" not in response.body
        assert cors(response) == want


def test_a_page_with_rules_of_its_own_goes_by_them(front):
    server = front(location(f"gcs_cors {ONE};", "error_page 404 /p/a.txt;",
                            more="location /p/ { %s gcs_cors *; }" % GCS))
    assert cors(server.get("/none", {"Origin": ONE}))[
        "access-control-allow-origin"] == "*"
    server = front(location(f"gcs_cors {ONE};", "error_page 404 /p/a.txt;",
                            more="location /p/ { %s gcs_cors off; }" % GCS))
    assert cors(server.get("/none", {"Origin": ONE})) == {}


def test_they_stay_with_what_such_a_page_falls_back_to(front):
    server = front(location(f"gcs_cors {ONE};", "error_page 404 /p/x;", more="""
        location /p/ { %s gcs_cors *; try_files /none @c; }
        location @c { return 200 c; }""" % GCS))
    response = server.get("/none", {"Origin": ONE})
    assert (response.body, cors(response)["access-control-allow-origin"]) \
        == (b"c", "*")


def test_where_a_rewrite_leads_other_rules_apply(front):
    server = front(location(f"gcs_cors {ONE};", "rewrite ^ /other/ last;",
                            more="location /other/ { return 200; }"))
    assert cors(server.get("/a.txt", {"Origin": ONE})) == {}


def test_other_locations_are_left_alone(front):
    server = front(
        location("", more="""location /other/ {
            add_header Access-Control-Allow-Origin https://own.example;
            return 200; }"""),
        http=f"gcs_cors {ONE}; gcs_resource_policy same-site;")
    assert cors(server.get("/other/", {"Origin": ONE})) \
        == {"access-control-allow-origin": "https://own.example"}
    assert cors(server.get("/a.txt", {"Origin": ONE})) \
        == actual(**{"cross-origin-resource-policy": "same-site"})


def test_the_fallback_of_try_files_has_the_headers_of_its_url(front):
    server = front(location(f"gcs_cors {ONE};", "try_files /none @app;",
                            more="location @app { return 200 app; }"))
    response = server.get("/a.txt", {"Origin": ONE})
    assert (response.body, cors(response)) == (b"app", actual())


# single headers

ADDED = """
    add_header Access-Control-Allow-Origin * always;
    add_header access-control-allow-credentials true always;
    add_header Access-Control-Max-Age 1 always;
    add_header Cross-Origin-Resource-Policy same-origin always;
    add_header Timing-Allow-Origin https://x.example always;
"""


def test_add_header_beside_it_changes_nothing(front):
    server = front(location(
        f"gcs_cors {ONE}; gcs_resource_policy cross-origin;"
        "gcs_timing_origin *;", ADDED))
    both = {"cross-origin-resource-policy": "cross-origin",
            "timing-allow-origin": "*"}
    for target in ("/a.txt", "/none"):
        assert cors(server.get(target, {"Origin": ONE})) \
            == {**actual(), **both}
        assert cors(server.get(target, {"Origin": EVIL})) \
            == {"vary": "Origin", **both}
    assert preflight(server, asked()) == {**allowed(), **both}
    assert preflight(server, asked(origin=EVIL)) == {"vary": VARY, **both}


@pytest.mark.parametrize("added, want", [
    ("Accept-Encoding", "Accept-Encoding, Origin"), ("origin", "origin"),
    ("Accept, Origin,X", "Accept, Origin,X"), ("*", "*"),
    ("X-Origin", "X-Origin, Origin")])
def test_vary_is_completed(front, added, want):
    server = front(location(f'gcs_cors {ONE}; add_header Vary "{added}";'))
    assert server.get("/a.txt", {"Origin": ONE}).all("Vary") == [want]


def test_what_gcs_says_of_cors_never_passes(front):
    for directive, want in (("", {}), ("gcs_cors off;", {}),
                            (f"gcs_cors {ONE};", actual())):
        server = front(location("gcs_auth anonymous;", directive,
                                "gcs_endpoint "
                                "http://127.0.0.1:%%PORT_FOREIGN%%;"),
                       http=FOREIGN)
        for target in ("/a.txt", "/none"):
            assert cors(server.get(target, {"Origin": ONE})) == want


def test_a_cache_never_has_the_headers_of_somebody(front):
    server = front(location(
        f"gcs_cors {ONE} https://b.example;", "gcs_auth anonymous;"
        "gcs_endpoint http://127.0.0.1:%%PORT_FOREIGN%%; proxy_cache z;"
        "add_header X-Cache $upstream_cache_status;"), http=FOREIGN)
    seen = []
    for origin in (ONE, EVIL, "https://b.example", None, ONE):
        response = server.get("/a.txt", {"Origin": origin} if origin else {})
        seen.append(response.get("X-Cache"))
        assert cors(response) == (
            {"vary": "Origin"} if origin in (EVIL, None) else actual(origin))
    assert seen == ["MISS", "HIT", "HIT", "HIT", "HIT"]
    kept = [path.read_bytes() for path in (server.dir / "cache").rglob("*")
            if path.is_file()]
    assert len(kept) == 1
    assert ONE.encode() not in kept[0]


def test_what_nginx_makes_of_a_cached_object_has_them_once(front):
    """The range filter comes later, and may send the headers again."""
    server = front(location(f"gcs_cors {ONE};", "proxy_cache z;"
                            "proxy_cache_valid 404 1m;"))
    for headers, status in (({}, 200), ({"Range": "bytes=1-2"}, 206),
                            ({"Range": "bytes=1-2,4-5"}, 206),
                            ({"Range": "bytes=99-"}, 416),
                            ({"If-None-Match": "*"}, 304),
                            ({"If-Match": '"x"'}, 412)):
        response = server.get("/a.txt", {**headers, "Origin": ONE})
        assert (response.status, cors(response)) == (status, actual()), headers
    for _ in range(2):
        assert cors(server.get("/none", {"Origin": ONE})) == actual()


def test_compression_keeps_its_own_vary(front):
    server = front(location(f"gcs_cors {ONE}; gzip on; gzip_vary on;"
                            "gzip_min_length 1; gzip_types text/plain;"))
    response = server.get("/a.txt", {"Origin": ONE, "Accept-Encoding": "gzip"})
    assert response.get("Content-Encoding") == "gzip"
    assert sorted(response.all("Vary")) == ["Accept-Encoding", "Origin"]


# preflights

def test_a_preflight_is_answered_here(front, emulator):
    server = front(location(f"gcs_cors {ONE};"))
    emulator.reset_requests()
    assert preflight(server, asked()) == allowed()
    assert preflight(server, asked("HEAD", "range,IF-MATCH , "), "/none") \
        == allowed()
    assert emulator.requests("storage") == []
    assert [why(server, number) for number in (1, 2)] == ["-", "-"]


def test_a_preflight_needs_no_token(front, emulator):
    """Where tokens cannot be had at all, it is answered at once."""
    server = front(location(
        "gcs_cors *; gcs_auth none; gcs_token_timeout 60s;"),
        http="gcs_credentials none { file %%KEY%%; "
             "token_endpoint http://127.0.0.1:1/; }")
    assert preflight(server, asked())["access-control-allow-origin"] == "*"


REFUSED = [
    (asked(origin=EVIL), "cors_origin_not_allowed"),
    (asked(origin="null"), "cors_origin_not_allowed"),
    (asked(origin=""), "cors_origin_not_allowed"),
    (asked("PUT"), "cors_method_not_allowed"),
    (asked("get"), "cors_method_not_allowed"),
    (asked(""), "cors_method_not_allowed"),
    (asked("GET", "x-custom"), "cors_header_not_allowed"),
    (asked("GET", "range, authorization"), "cors_header_not_allowed"),
    (asked("GET", "range x"), "cors_header_not_allowed"),
    (asked("PUT", "x-custom"), "cors_method_not_allowed"),
    (asked("PUT", "x-custom", EVIL), "cors_origin_not_allowed"),
]


def test_a_refused_preflight_has_no_header_and_a_reason(front, emulator):
    server = front(location(f"gcs_cors {ONE};"))
    emulator.reset_requests()
    for number, (headers, reason) in enumerate(REFUSED, 1):
        assert preflight(server, headers) == {"vary": VARY}, headers
        assert why(server, number) == reason, headers
    assert emulator.requests("storage") == []


def test_a_header_that_comes_twice_is_not_trusted(front):
    server = front(location(f"gcs_cors {ONE};"))
    for name, values in (("Origin", (EVIL, ONE)),
                         ("Access-Control-Request-Method", ("PUT", "GET")),
                         ("Access-Control-Request-Headers", ("x", "range"))):
        for first, second in (values, values[::-1]):
            lines = [*{**asked("GET", "range"), name: first}.items(),
                     (name, second)]
            assert preflight(server, lines) == {"vary": VARY}, lines


def test_a_body_is_discarded_and_the_connection_kept(front):
    server = front(location(f"gcs_cors {ONE};"))
    with server.connect() as connection:
        for size in (0, 10, 300000):
            response = connection.request("OPTIONS", "/a.txt", asked(),
                                          b"x" * size)
            assert (response.status, cors(response)) == (204, allowed())
        assert connection.get("/a.txt").body == b"0123456789"


def test_it_comes_before_access_and_past_every_list_of_methods(front):
    server = front("""
        location /basic/ { %(gcs)s auth_basic x;
                           auth_basic_user_file /dev/null; }
        location /deny/ { %(gcs)s deny all; }
        location /limit/ { %(gcs)s limit_except GET { deny all; } }
        location /if/ { %(gcs)s if ($request_method) { set $x 1; } }
        location /headers/ { %(gcs)s if ($arg_x = "") { add_header X y; } }
        location /sub/ { auth_request /no; %(gcs)s }
        location = /no { return 403; }
        location /cached/ { %(gcs)s proxy_cache z; slice 1m; }
        location /presign/ { %(gcs)s gcs_mode presign; }
        location /nested/ { location ~ . { %(gcs)s } }
        location /files/ { %(gcs)s try_files /none @files; }
        location @files { return 200; }
        location /rewritten/ { rewrite ^ /deny/a.txt last; }
        """ % {"gcs": GCS}, http=f"gcs_cors {ONE};")
    for name in ("basic", "deny", "limit", "if", "headers", "sub", "cached",
                 "presign", "nested", "files", "rewritten"):
        assert preflight(server, asked(), f"/{name}/a.txt") == allowed(), name


def test_whom_a_subrequest_asks_has_no_say_in_it(front):
    server = front(location("gcs_cors *; auth_request /asked;", more="""
        location /asked { gcs_cors https://other.example; root %%DIR%%; }"""))
    (server.dir / "asked").write_text("yes")
    answer = server.get("/a.txt", {"Origin": ONE})
    assert (answer.status, answer.get("Access-Control-Allow-Origin")) \
        == (200, "*")


def test_it_does_not_open_what_is_not_gcs(front):
    server = front(location("", more="""
        location /other/ { deny all; root /nothing; }
        location /inner/ { internal; %s }""" % GCS), http="gcs_cors *;")
    assert server.request("OPTIONS", "/other/", asked()).status == 403
    assert server.request("OPTIONS", "/inner/x", asked()).status == 404


def test_limits_apply_to_preflights(front):
    server = front(location("gcs_cors *; limit_req zone=r;"
                            "limit_req_status 429;"),
                   http="limit_req_zone $server_port zone=r:1m rate=1r/m;")
    statuses = [server.request("OPTIONS", "/a.txt", asked()).status
                for _ in range(3)]
    assert statuses == [204, 429, 429]


def test_options_without_a_preflight_tells_what_is_allowed(front, emulator):
    server = front(location(f"gcs_cors {ONE};", more="""
        location /write/ { %(gcs)s gcs_methods GET PUT; gcs_cors *; }
        location /basic/ { %(gcs)s auth_basic x; gcs_cors *;
                           auth_basic_user_file /dev/null; }
        location /limit/ { %(gcs)s gcs_cors *;
                           limit_except GET { deny all; } }
        location /off/ { %(gcs)s }""" % {"gcs": GCS}))
    emulator.reset_requests()
    for headers in ({}, {"Origin": ONE},
                    {"Access-Control-Request-Method": "GET"}):
        response = server.request("OPTIONS", "/a.txt", headers)
        assert (response.status, response.body) == (204, b"")
        assert response.get("Allow") == "GET, HEAD, OPTIONS"
        assert response.names & {"content-type", "content-length"} == set()
        assert cors(response) == {}
    assert server.request("OPTIONS", "/write/x").get("Allow") \
        == "GET, PUT, OPTIONS"
    assert server.request("POST", "/a.txt").get("Allow") \
        == "GET, HEAD, OPTIONS"
    # it is no preflight: who may not enter learns nothing
    assert server.request("OPTIONS", "/basic/x").status == 401
    assert server.request("OPTIONS", "/limit/x").status == 403
    refused = server.request("OPTIONS", "/off/x")
    assert (refused.status, refused.get("Allow")) == (405, "GET, HEAD")
    assert emulator.requests("storage") == []


# what a rule says

def test_the_directives_say_what_preflights_are_told(front):
    server = front(location(f"""
        gcs_cors {ONE}; gcs_cors_methods GET PUT; gcs_cors_headers X-One x-2;
        gcs_cors_expose X-Three ETag; gcs_cors_max_age 2m;
        gcs_cors_credentials on;"""))
    credentials = {"access-control-allow-credentials": "true"}
    assert preflight(server, asked("PUT", "x-one,X-2")) == allowed(
        methods="GET, PUT", headers="X-One, x-2", age="120", **credentials)
    assert preflight(server, asked("PUT", "range")) == {"vary": VARY}
    assert cors(server.get("/a.txt", {"Origin": ONE})) \
        == actual(expose="X-Three, ETag", **credentials)


def test_what_is_off_is_not_sent(front):
    server = front(location(
        f"gcs_cors {ONE}; gcs_cors_headers off; gcs_cors_expose off;"))
    want = allowed()
    del want["access-control-allow-headers"]
    assert preflight(server, asked()) == want
    assert preflight(server, asked(headers="range")) == {"vary": VARY}
    assert cors(server.get("/a.txt", {"Origin": ONE})) \
        == {"access-control-allow-origin": ONE, "vary": "Origin"}


def test_methods_are_those_of_gcs_methods_by_default(front):
    server = front(location("gcs_cors *; gcs_methods GET DELETE;"))
    assert preflight(server, asked("DELETE")) == allowed("*", "GET, DELETE")
    assert preflight(server, asked("HEAD")) == {"vary": VARY}


def test_wildcards_name_what_was_asked_for(front):
    server = front(location(
        f"gcs_cors {ONE}; gcs_cors_methods *; gcs_cors_headers x-goog-* *;"
        "gcs_cors_credentials on;"))
    assert preflight(server, asked("PATCH", "authorization, x-goog-a")) \
        == allowed(methods="PATCH", headers="authorization, x-goog-a",
                   **{"access-control-allow-credentials": "true"})
    want = allowed(methods="GET",
                   **{"access-control-allow-credentials": "true"})
    del want["access-control-allow-headers"]
    assert preflight(server, asked()) == want
    for headers in (asked("G\"ET"), asked("GET", "a\"b"),
                    asked("GET", "a;b"), asked("GET\x01")):
        assert preflight(server, headers) == {"vary": VARY}


def test_each_line_is_a_rule_of_its_own(front):
    server = front(location(f"""
        gcs_cors {ONE} methods=GET,PUT headers=X-One expose=ETag max_age=60
                 credentials=on;
        gcs_cors https://b.example methods=DELETE headers=off expose=off;
        gcs_cors * methods=GET,HEAD;
        gcs_cors_max_age 5;"""))
    mine = {"access-control-allow-credentials": "true"}
    assert preflight(server, asked("PUT", "x-one")) == allowed(
        methods="GET, PUT", headers="X-One", age="60", **mine)
    # the first rule does not know the header, the last one does
    assert preflight(server, asked("GET", "range")) == allowed("*", age="5")
    assert preflight(server, asked("DELETE")) == {"vary": VARY}
    assert preflight(server, asked("DELETE", origin="https://b.example")) == {
        "access-control-allow-origin": "https://b.example",
        "access-control-allow-methods": "DELETE",
        "access-control-max-age": "5", "vary": VARY}
    assert cors(server.get("/a.txt", {"Origin": ONE})) \
        == actual(expose="ETag", **mine)
    # to everybody the same, but another origin is told otherwise
    assert cors(server.get("/a.txt", {"Origin": EVIL})) == actual("*")
    assert cors(server.get("/a.txt")) == actual("*")
    # HEAD is for everybody alike
    assert cors(server.head("/a.txt", {"Origin": ONE})) == {
        "access-control-allow-origin": "*",
        "access-control-expose-headers": EXPOSE}


def test_a_private_network_is_open_on_request_only(front):
    ask = {**asked(), "Access-Control-Request-Private-Network": "true"}
    vary = VARY + ", Access-Control-Request-Private-Network"
    server = front(location(f"gcs_cors {ONE} private_network=on;"
                            "gcs_cors https://b.example;"))
    assert preflight(server, ask) == allowed(
        vary=vary, **{"access-control-allow-private-network": "true"})
    assert preflight(server, asked()) == allowed(vary=vary)
    assert preflight(server, {**ask, "Origin": "https://b.example"}) \
        == allowed("https://b.example", vary=vary)
    assert cors(server.get("/a.txt", ask)) == actual()
    assert preflight(front(location(f"gcs_cors {ONE};")), ask) == allowed()


@pytest.mark.parametrize("value, passes, fails", [
    ("", [], [ONE, "null"]), ("off", [], [ONE]),
    (ONE, [ONE], [EVIL]),
    (f"{ONE},https://b.example", [ONE, "https://b.example"], [EVIL]),
    (f" {ONE} ,  https://*.b.example ", [ONE, "https://x.b.example"],
     ["https://b.example", "https://x.y.b.example"]),
    ("HTTPS://APP.EXAMPLE:443", [ONE], []),
    ("null", ["null"], [ONE]),
    ("~.*", [], [ONE]), ("https://", [], [ONE]),
    ("app.example", [], [ONE, "app.example"]),
])
def test_a_variable_yields_origins(front, value, passes, fails):
    server = front(location("gcs_cors $list credentials=on;"))
    for origin in passes:
        assert cors(server.get("/a.txt", {"Origin": origin, "X-List": value})) \
            == actual(origin, **{"access-control-allow-credentials": "true"})
    for origin in fails:
        assert cors(server.get("/a.txt", {"Origin": origin, "X-List": value})) \
            == {"vary": "Origin"}, origin


def test_a_star_in_a_variable_opens_nothing_that_needs_a_login(front):
    server = front("location /a { %(gcs)s gcs_cors $list; }"
                   "location / { %(gcs)s gcs_cors $list credentials=on; }"
                   % {"gcs": GCS.replace("/;", "/a;")})
    for value in ("*", f"*, {EVIL}", f"{EVIL} *"):
        headers = {"Origin": ONE, "X-List": value}
        assert cors(server.get("/a.txt", headers)) == actual("*")
        assert cors(server.get("/b", headers)) == {"vary": "Origin"}


def test_what_a_variable_must_not_yield_is_logged(front):
    server = front(location("gcs_cors $list;"))
    server.get("/a.txt", {"Origin": ONE, "X-List": "https://secret.example/"})
    line = server.wait_log('variables in "gcs_cors" yield an invalid origin: '
                           "an origin has no path")
    assert "secret" not in str(line).partition(", client:")[0]


def test_levels_inherit_rules_as_a_whole(front):
    server = front("""
        location /inherits/ { %(gcs)s gcs_cors_max_age 7; }
        location /other/ { %(gcs)s gcs_cors https://b.example; }
        location /outer/ { gcs_cors https://b.example;
                           location /outer/inner/ { %(gcs)s } }
        """ % {"gcs": GCS}, http=f"gcs_cors {ONE} methods=GET;"
                                 "gcs_cors_expose off;")
    assert preflight(server, asked(), "/inherits/x") \
        == allowed(methods="GET", age="7")
    for path in ("/other/x", "/outer/inner/x"):
        assert preflight(server, asked(), path) == {"vary": VARY}
        assert preflight(server, asked(origin="https://b.example"), path) \
            == allowed("https://b.example")


# the file

# https://labelstud.io/guide/storage, "Set up CORS"
LABEL_STUDIO = """[
   {
      "origin": ["*"],
      "method": ["GET"],
      "responseHeader": ["Content-Type","Access-Control-Allow-Origin"],
      "maxAgeSeconds": 3600
   }
]
"""


@pytest.fixture
def from_file(front, tmp_path):
    def make(document, *directives, **kw):
        text = document if isinstance(document, str) else json.dumps(document)
        (tmp_path / "cors.json").write_text(text)
        return front(location(f"gcs_cors_file {tmp_path}/cors.json;",
                              *directives), **kw)
    return make


def test_the_document_of_label_studio_works_unchanged(from_file):
    server = from_file(LABEL_STUDIO)
    listed = "Content-Type, Access-Control-Allow-Origin"
    assert cors(server.get("/a.txt", {"Origin": ONE})) == {
        "access-control-allow-origin": "*",
        "access-control-expose-headers": listed}
    assert preflight(server, asked("GET", "content-type")) \
        == allowed("*", "GET", listed)
    assert preflight(server, asked("GET", "range")) == {"vary": VARY}
    assert preflight(server, asked("HEAD")) == {"vary": VARY}


def test_the_first_rule_that_fits_is_taken(from_file):
    server = from_file({"cors": [
        {"origin": [ONE, "https://b.example"], "method": ["GET", "PUT"],
         "responseHeader": ["X-One"], "maxAgeSeconds": 60},
        {"origin": [ONE], "method": ["*"], "responseHeader": ["*"]}]},
        "gcs_cors_max_age 9;")
    assert preflight(server, asked("PUT", "x-one")) \
        == allowed(methods="GET, PUT", headers="X-One", age="60")
    assert preflight(server, asked("PUT", "range")) \
        == allowed(methods="PUT", headers="range", age="9")
    assert preflight(server, asked("PUT", "range", "https://b.example")) \
        == {"vary": VARY}
    assert cors(server.get("/a.txt", {"Origin": ONE})) \
        == actual(expose="X-One")


def test_an_empty_file_allows_nobody(from_file):
    server = from_file("[]")
    assert cors(server.get("/a.txt", {"Origin": ONE})) == {}
    assert server.request("OPTIONS", "/a.txt", asked()).status == 405


@pytest.mark.parametrize("document, reason", [
    ("", "it is not valid JSON, see line 1, column 0"),
    ('[{"origin": ["*"]}]', '"cors[0].method" is missing'),
    ([{"origin": ["*"], "method": ["GET"]},
      {"origin": ["*"], "method": ["get"]}],
     'invalid "cors[1].method[0]": it must be "GET"'),
    ([{"origin": ["https://a.example/"], "method": ["GET"]}],
     'invalid "cors[0].origin[0]": an origin has no path'),
    ([{"origin": ["*"], "method": ["GET"], "maxAge": 1}],
     '"cors[0].maxAge" is unknown')])
def test_a_bad_file_fails_the_test_with_its_member(from_file, document,
                                                   reason):
    said = from_file(document, start=False).refusal()
    assert 'cors.json" in "gcs_cors_file" directive: ' + reason in said


def test_a_file_that_is_not_there_fails_the_test(front):
    said = front(location("gcs_cors_file none.json;"), start=False).refusal()
    assert 'none.json" in "gcs_cors_file" directive: ' in said


# bad configurations

BAD = {
    "gcs_cors https://a.example/;": 'invalid origin "https://a.example/" in '
    '"gcs_cors" directive: an origin has no path, remove what follows',
    "gcs_cors a.example;": 'write "https://HOST"',
    "gcs_cors https://m\u00fcnchen.example;": 'in punycode, "xn--..."',
    "gcs_cors https://a*.example;": "a wildcard stands for the first label",
    "gcs_cors https://a.example:0;": "the port is not valid",
    "gcs_cors https://a.example.;": "ends with a dot, remove it",
    "gcs_cors ~;": "has an empty regular expression",
    "gcs_cors '~(';": "pcre",
    "gcs_cors '~a)|(b';": "pcre",
    "gcs_cors '~\\\\Qhttps://a.example';": "pcre",
    "gcs_cors off https://a.example;": 'invalid origin "off"',
    "gcs_cors off; gcs_cors off;": "is duplicate",
    "gcs_cors off; gcs_cors *;": "is duplicate",
    "gcs_cors *; gcs_cors off;": "is duplicate",
    "gcs_cors methods=GET;": "has no origin",
    "gcs_cors * methods=get;": 'parameter "methods=get"',
    "gcs_cors * methods=GET,;": 'parameter "methods=GET,"',
    "gcs_cors * methods=GET methods=PUT;": "invalid or duplicate parameter",
    "gcs_cors * headers=a:b;": 'parameter "headers=a:b"',
    "gcs_cors * max_age=x;": 'parameter "max_age=x"',
    "gcs_cors * max_age=1h max_age=2h;": 'duplicate parameter "max_age=2h"',
    "gcs_cors https://a credentials=off credentials=on;":
        'duplicate parameter "credentials=on"',
    "gcs_cors * credentials=yes;": 'parameter "credentials=yes"',
    "gcs_cors $http_origin;": "would let every origin pass; name",
    "gcs_cors https://a$http_x ${http_origin};": "would let every origin",
    "gcs_cors $nothing_of_this_name;": "unknown",
    'gcs_cors "${nothing";': "the closing bracket",
    "gcs_cors_methods GET; gcs_cors_methods GET;": "is duplicate",
    "gcs_cors * credentials=on;": 'cannot be used with the origin "*"',
    "gcs_cors *; gcs_cors_credentials on;": "name the origins",
    "gcs_cors null credentials=on;": 'the origin "null", which every page',
    "gcs_cors https://a credentials=on expose=*;": "name the headers",
    "gcs_cors_methods get;": 'invalid name "get" in "gcs_cors_methods"',
    "gcs_cors_methods GET,HEAD;": "separated by spaces",
    "gcs_cors_headers a b,c;": 'invalid name "b,c" in "gcs_cors_headers"',
    "gcs_cors_expose 'a b';": 'invalid name "a b"',
    "gcs_cors_expose a; gcs_cors_expose b;": "is duplicate",
    "gcs_cors_max_age forever;": "invalid value",
    "gcs_cors_credentials maybe;": "invalid value",
    "gcs_resource_policy none;": "invalid value",
    "gcs_timing_origin https://*.example;": "only whole origins",
    "gcs_timing_origin * https://a.example;": "only whole origins",
    "gcs_timing_origin off; gcs_timing_origin *;": "is duplicate",
    "gcs_cors *; gcs_cors_file x;": 'cannot be used with "gcs_cors"',
}


@pytest.mark.parametrize("directives", BAD)
def test_a_mistake_is_told_with_its_remedy(front, directives):
    said = front(location(directives), start=False).refusal()
    assert BAD[directives] in said


def test_lines_beside_a_file_are_refused(from_file):
    said = from_file("[]", "gcs_cors *;", start=False).refusal()
    assert 'cannot be used with "gcs_cors_file"' in said


def test_a_second_file_is_refused(from_file):
    said = from_file("[]", "gcs_cors_file cors.json;", start=False).refusal()
    assert '"gcs_cors_file" directive is duplicate' in said


def test_a_file_and_credentials_must_agree(from_file):
    said = from_file(LABEL_STUDIO, "gcs_cors_credentials on;",
                     start=False).refusal()
    assert 'cannot be used with the origin "*"' in said


# the headers beside CORS

def test_policy_and_timing_need_no_origin(front):
    server = front("""
        location /a { %(gcs)s gcs_resource_policy same-site;
                      gcs_timing_origin https://A.example:443 null; }
        location /b { %(gcs)s gcs_resource_policy off;
                      gcs_timing_origin off; }
        location /c { %(gcs)s }
        """ % {"gcs": GCS.replace("/;", "/a;")},
        http="gcs_resource_policy cross-origin; gcs_timing_origin *;")
    assert cors(server.get("/a.txt", {"Origin": ONE})) == {
        "cross-origin-resource-policy": "same-site",
        "timing-allow-origin": "https://a.example, null"}
    assert cors(server.get("/b")) == {}
    assert cors(server.get("/c")) == {
        "cross-origin-resource-policy": "cross-origin",
        "timing-allow-origin": "*"}


# HTTP/2

def test_http2_carries_the_same(front):
    flag, on = (" http2", "") if version() < (1, 25, 1) else ("", "http2 on;")
    server = front(location(""), http=f"""
        server {{
            listen 127.0.0.1:%%PORT_H2%%{flag}; {on}
            location / {{ {GCS} gcs_cors {ONE}; {ADDED} }}
        }}""")
    url = f"http://127.0.0.1:{server.ports['PORT_H2']}/"

    def ask(target, headers, method="GET"):
        lines = subprocess.run(
            ["curl", "-sS", "--http2-prior-knowledge", "-X", method, "-D", "-",
             "-o", "/dev/null", url + target,
             *(word for item in headers.items()
               for word in ("-H", "%s: %s" % item))],
            capture_output=True, text=True, check=True).stdout.splitlines()
        pairs = [line.partition(": ")[::2] for line in lines[1:] if line]
        kept = [pair for pair in pairs if pair[0] == "vary"
                or pair[0].startswith("access-control-")]
        assert len(kept) == len(dict(kept))
        if method == "OPTIONS":
            assert not {"content-type", "content-length"} & dict(pairs).keys()
        return lines[0].split()[:2], dict(kept)

    assert ask("a.txt", {"Origin": ONE}) == (["HTTP/2", "200"], actual())
    assert ask("none", {"Origin": ONE}) == (["HTTP/2", "404"], actual())
    assert ask("a.txt", {"Origin": EVIL}) \
        == (["HTTP/2", "200"], {"vary": "Origin"})
    assert ask("a.txt", asked("GET", "range"), "OPTIONS") \
        == (["HTTP/2", "204"], allowed())
    assert ask("a.txt", asked("PUT"), "OPTIONS") \
        == (["HTTP/2", "204"], {"vary": VARY})

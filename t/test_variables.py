"""The variables: the second public face of the module.

With them a hand-written proxy_pass gets a token, and logs, headers and maps
learn what a request meant and why it failed.
"""

from __future__ import annotations

import time

import pytest

from harness.nginx import wait_until

HTTP = """
    gcs_credentials reader { file %%%%KEY%%%%; timeout 30s; }
    log_format gcs '[$request_uri] $status bucket=$gcs_bucket '
                   'object=$gcs_object uri=$gcs_uri who=$gcs_credentials '
                   'error=$gcs_error mode=$gcs_mode token=$gcs_token_status';
    %s
    server {
        listen 127.0.0.1:%%%%PORT%%%%;
        access_log %%%%DIR%%%%/gcs.log gcs;
        gcs_endpoint %%%%EMULATOR%%%%;
        %s
    }
"""

PASS = "gcs_pass gs://test-bucket; gcs_auth reader;"

# what nginx users write who want all of it in their own hands
BY_HAND = """
    gcs_object gs://test-bucket/$arg_name;
    gcs_auth reader;
    proxy_pass %%EMULATOR%%$gcs_uri;
    proxy_set_header Authorization $gcs_authorization;
"""

SHOW = """
    add_header X-Bucket "<$gcs_bucket>" always;
    add_header X-Object "<$gcs_object>" always;
    add_header X-Uri "<$gcs_uri>" always;
    add_header X-Credentials "<$gcs_credentials>" always;
    add_header X-Error "<$gcs_error>" always;
    add_header X-Mode "<$gcs_mode>" always;
    add_header X-Token "<$gcs_token_status>" always;
    add_header X-Expires "<$gcs_token_expires>" always;
"""
SHOWN = ("Bucket", "Object", "Uri", "Credentials", "Error", "Mode", "Token")


@pytest.fixture
def serve(nginx, emulator, key_file, bucket):
    emulator.put_object(bucket, "x.txt", b"hello", content_type="text/plain")

    def make(server: str, http: str = "", **kw):
        return nginx(HTTP % (http, server), **kw)

    return make


def shown(answer) -> dict[str, str]:
    """The values of the variables, without the empty ones."""
    values = {name.lower(): (answer.get("X-" + name) or "<>")[1:-1]
              for name in SHOWN}
    return {name: value for name, value in values.items() if value}


def log_lines(server, count: int) -> list[str]:
    """The access log, when it has that many lines."""
    def lines() -> list[str]:
        return server._read("gcs.log").splitlines()

    wait_until(lambda: len(lines()) >= count,
               message=f"less than {count} lines: {lines()}")
    return lines()


def bearers(emulator) -> list[str | None]:
    """The Authorization headers that Cloud Storage got."""
    return [next((value for name, value in request["headers"]
                  if name.lower() == "authorization"), None)
            for request in emulator.requests("storage")]


def hold_tokens(emulator) -> None:
    """No token until the test says so (or 30 seconds have passed)."""
    emulator.fault(kind="token", hang=True, count=None)


# what they say


def test_all_variables_of_a_request_that_succeeds(serve, emulator, bucket):
    emulator.put_object(bucket, "a b/ü?.txt", b"hi")
    server = serve("location /media/ { %s %s }" % (PASS, SHOW))
    before = int(time.time())
    answer = server.get("/media/a%20b/%C3%BC%3F.txt?q=1")
    assert answer.status == 200
    assert answer.get("X-Object").encode("latin-1").decode() \
        == "<a b/ü?.txt>"
    values = shown(answer)
    del values["object"]
    assert values == {
        "bucket": "test-bucket", "uri": "/test-bucket/a%20b/%C3%BC%3F.txt",
        "credentials": "reader", "mode": "proxy", "token": "valid"}
    expires = int(answer.get("X-Expires")[1:-1])
    assert before + 3500 <= expires <= time.time() + 3599


def test_an_anonymous_request_has_no_token(serve, emulator):
    emulator.create_bucket("public-bucket", public=True)
    emulator.put_object("public-bucket", "x", b"public")
    server = serve("""location /p/ {
        gcs_pass gs://public-bucket; gcs_auth anonymous; %s
        add_header X-Authorization "<$gcs_authorization>" always;
    }""" % SHOW)
    answer = server.get("/p/x")
    assert answer.body == b"public"
    assert shown(answer) == {
        "bucket": "public-bucket", "object": "x", "uri": "/public-bucket/x",
        "credentials": "anonymous", "mode": "proxy"}
    assert answer.get("X-Authorization") == "<>"
    assert answer.get("X-Expires") == "<>"
    assert bearers(emulator) == [None]


@pytest.mark.parametrize("path, status, error, address", [
    ("/media/missing", 404, "NoSuchKey", "missing"),
    ("/denied/x", 403, "AccessDenied", "x"),
    ("/nobucket/x", 404, "NoSuchBucket", "x"),
    ("/media/", 404, "no_object_name", None),
    ("/media/%ff", 400, "invalid_object_name", None),
    ("/media/./x", 400, "invalid_path", None),
    ("/listed/x", 403, "bucket_not_allowed", None),
    ("/url/?u=x", 400, "invalid_object_url", None),
])
def test_the_error_variable_tells_the_reason(serve, emulator, path, status,
                                             error, address):
    emulator.create_bucket("denied-bucket")
    emulator.put_object("denied-bucket", "x", b"secret")
    server = serve("""
        gcs_auth reader;
        location /media/ { gcs_pass gs://test-bucket; %(show)s }
        location /denied/ { gcs_pass gs://denied-bucket; %(show)s }
        location /nobucket/ { gcs_pass gs://no-such-bucket; %(show)s }
        location /listed/ { gcs_pass gs://test-bucket;
                            gcs_buckets test-bucket/p; %(show)s }
        location /url/ { gcs_pass $arg_u; gcs_buckets test-bucket; %(show)s }
    """ % {"show": SHOW})
    answer = server.get(path)
    values = shown(answer)
    assert (answer.status, values.get("error"), values.get("object")) \
        == (status, error, address)


def test_a_method_that_is_not_allowed_is_an_error_too(serve, emulator):
    server = serve("location /media/ { %s %s }" % (PASS, SHOW))
    answer = server.request("DELETE", "/media/x.txt")
    assert (answer.status, answer.get("Allow")) == (405, "GET, HEAD")
    assert shown(answer)["error"] == "method_not_allowed"
    assert emulator.requests("storage") == []


@pytest.mark.parametrize("fault, status, error", [
    ({"status": 500, "body": "{}"}, 502, "token_unavailable"),
    ({"hang": True}, 504, "token_timeout"),
])
def test_a_token_that_does_not_come_is_an_error(serve, emulator, fault,
                                                status, error):
    emulator.fault(kind="token", count=None, **fault)
    server = serve("gcs_token_timeout 500ms; location /media/ { %s %s }"
                   % (PASS, SHOW))
    answer = server.get("/media/x.txt")
    values = shown(answer)
    assert (answer.status, values["error"]) == (status, error)
    assert values["token"] == ("failed" if status == 502 else "fetching")
    assert answer.get("X-Expires") == "<>"
    assert emulator.requests("storage") == []
    assert 'credentials "reader"' in server.log()


def test_an_error_that_a_retry_has_mended_is_none(serve, emulator):
    emulator.fault(kind="storage", status=503, code="ServiceUnavailable")
    server = serve("location /media/ { %s %s }" % (PASS, SHOW))
    answer = server.get("/media/x.txt")
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.get("X-Error") == "<>"


# the access log


def test_the_access_log_knows_them(serve, emulator):
    server = serve("location /media/ { %s }" % PASS)
    server.get("/media/x.txt")
    server.get("/media//missing")
    assert log_lines(server, 2) == [
        "[/media/x.txt] 200 bucket=test-bucket object=x.txt "
        "uri=/test-bucket/x.txt who=reader error=- mode=proxy token=valid",
        "[/media//missing] 404 bucket=test-bucket object=/missing "
        "uri=/test-bucket//missing who=reader error=NoSuchKey mode=proxy "
        "token=valid"]


@pytest.mark.parametrize("level", ["location", "server"])
@pytest.mark.parametrize("page", [
    "location = /sorry { return 200 sorry; }",
    "location = /sorry { internal; alias %%DIR%%/nginx.pid; }",
    "location @sorry { return 404 sorry; }",
], ids=["return", "file", "named"])
def test_the_log_still_knows_them_after_an_error_page(serve, page, level):
    """A redirect clears the contexts of all modules."""
    target = "@sorry" if "@" in page else "/sorry"
    where = {"location": "", "server": "gcs_auth reader;"}[level]
    server = serve("""
        %s error_page 404 400 %s;
        location /media/ { gcs_pass gs://test-bucket; gcs_auth reader; }
        %s
    """ % (where, target, page))
    server.get("/media/missing?q")
    server.get("/media/%ff")
    missing, refused = log_lines(server, 2)
    assert "bucket=test-bucket object=missing uri=/test-bucket/missing" \
        in missing
    assert "who=reader error=NoSuchKey" in missing
    assert "error=invalid_object_name" in refused


def test_the_page_itself_may_show_them(serve):
    server = serve("""
        gcs_auth reader;
        location /media/ {
            gcs_pass gs://test-bucket;
            error_page 404 403 = /why;
        }
        location = /why {
            default_type text/plain;
            return 404 "$gcs_bucket $gcs_object $gcs_error";
        }
    """)
    answer = server.get("/media/a/b")
    assert (answer.status, answer.text) \
        == (404, "test-bucket a/b NoSuchKey")


def test_after_a_redirect_to_another_bucket_its_values_count(serve, emulator):
    emulator.create_bucket("public-bucket", public=True)
    emulator.put_object("public-bucket", "media/missing", b"found")
    server = serve("""
        location /media/ { %s error_page 404 = @second; }
        location @second {
            gcs_pass gs://public-bucket; gcs_auth anonymous; %s
        }
    """ % (PASS, SHOW))
    answer = server.get("/media/missing")
    assert answer.body == b"found"
    assert shown(answer) == {
        "bucket": "public-bucket", "object": "media/missing",
        "uri": "/public-bucket/media/missing", "credentials": "anonymous",
        "mode": "proxy"}
    assert "bucket=public-bucket object=media/missing" \
        in log_lines(server, 1)[0]
    assert "error=-" in log_lines(server, 1)[0]
    assert bearers(emulator)[1] is None


def test_elsewhere_they_are_empty(serve, emulator):
    server = serve("""
        location / { return 200 "<$gcs_bucket$gcs_object$gcs_uri$gcs_mode$"""
                   """{gcs_error}$gcs_credentials$gcs_authorization"""
                   """$gcs_token_status$gcs_token_expires>"; }
    """)
    assert server.get("/x").text == "<>"
    assert "bucket=- object=- uri=- who=- error=- mode=- token=-" \
        in log_lines(server, 1)[0]


def test_those_for_the_request_to_gcs_are_empty_elsewhere(serve, emulator):
    """Nobody needs to know them, and who does gets nothing by them."""
    names = ["authorization", "accept_encoding", "range", "if_range",
             "if_match", "if_none_match", "if_modified_since",
             "if_unmodified_since", "content_length", "given_content_type",
             "api_target", "api_lines"]
    values = "".join(f"${{__gcs_{name}}}" for name in names)
    server = serve("""
        location / { return 200 "<%s>"; }
        location /m/ { return 200 "<$__gcs_authorization>";
                       gcs_pass gs://test-bucket; gcs_auth reader; }
    """ % values)
    server.wait_log("token refreshed")
    for path in ("/x", "/m/x.txt"):
        response = server.get(path, {
            "Range": "bytes=0-1", "If-Range": '"x"', "If-None-Match": '"x"',
            "Accept-Encoding": "gzip", "Content-Type": "text/x"})
        assert response.text == "<>"


def test_they_can_be_used_before_the_content_phase(serve, emulator):
    """Values found in the rewrite phase must not outlive a rewrite."""
    server = serve("""
        location /old/ {
            gcs_pass gs://test-bucket; gcs_auth reader;
            set $early "<$gcs_object>";
            rewrite ^/old/(.*)$ /media/a/$1;
            set $between "<$gcs_object>";
        }
        location /media/ {
            set $late "<$gcs_object>";
            gcs_pass gs://test-bucket; gcs_auth reader;
            add_header X-Values "$early $between $late <$gcs_object>" always;
        }
        location /stop/ {
            if ($gcs_object = "secret") { return 403; }
            gcs_pass gs://test-bucket; gcs_auth reader;
        }
    """)
    answer = server.get("/old/x.txt")
    # between the two the path is not one of the location's
    assert answer.get("X-Values") == "<x.txt> <> <a/x.txt> <a/x.txt>"
    for path in ("/stop/secret", "/stop/%73ecret", "/stop/secret?x"):
        assert server.get(path).status == 403
    assert server.get("/stop//secret").status == 404
    assert [request["target"] for request in emulator.requests("storage")] \
        == ["/test-bucket/a/x.txt", "/test-bucket//secret"]


def test_a_quiet_look_at_a_bad_address_logs_nothing_by_itself(serve):
    server = serve("""
        location /media/ {
            set $seen "<$gcs_object>";
            gcs_pass gs://test-bucket; gcs_auth reader;
        }
    """)
    assert server.get("/media/%ff").status == 400
    assert server.log().count("gcs refused") == 1


def test_a_log_may_be_conditional(serve):
    server = serve("""
        location /media/ {
            gcs_pass gs://test-bucket; gcs_auth reader;
            access_log %%DIR%%/errors.log combined if=$gcs_error;
        }
    """)
    server.get("/media/x.txt")
    server.get("/media/missing")
    wait_until(lambda: "missing" in server._read("errors.log"))
    assert "x.txt" not in server._read("errors.log")


# proxy_pass by hand


def test_a_hand_written_proxy_pass_gets_the_token(serve, emulator):
    server = serve("location /media/ { %s %s }" % (BY_HAND, SHOW))
    answer = server.get("/media/?name=x.txt")
    assert (answer.status, answer.body) == (200, b"hello")
    assert [request["target"] for request in emulator.requests("storage")] \
        == ["/test-bucket/x.txt"]
    [bearer] = bearers(emulator)
    assert bearer.removeprefix("Bearer ") \
        in [token["value"] for token in emulator.tokens()]
    values = shown(answer)
    values.pop("mode", None)
    assert values == {"bucket": "test-bucket", "object": "x.txt",
                      "uri": "/test-bucket/x.txt", "credentials": "reader",
                      "token": "valid"}


@pytest.mark.parametrize("location", [
    "location /media/ { %s }",
    "location ~ ^/media/ { %s }",
    "location /media/ { location /media/x { %s } }",
    "location /media/ { error_page 418 = @gcs; return 418; }"
    " location @gcs { %s }",
    "location /media/ { try_files /none @gcs; } location @gcs { %s }",
    "location /media/ { if ($arg_name) { set $y 1; } %s }",
])
def test_a_hand_written_proxy_pass_waits_for_the_first_token(
        serve, emulator, location):
    """The phase before the content makes it ready: none is sent without."""
    emulator.fault(kind="token", delay=0.4)
    server = serve(location % BY_HAND)
    connections = [server.connect() for _ in range(3)]
    for connection in connections:
        connection.send(b"GET /media/x?name=x.txt HTTP/1.1\r\n"
                        b"Host: a\r\n\r\n")
    for connection in connections:
        answer = connection.response()
        assert (answer.status, answer.body) == (200, b"hello")
    assert None not in bearers(emulator)
    assert len(bearers(emulator)) == 3
    assert emulator.counts()["token"] == 1


def test_it_waits_where_the_identity_comes_from_the_server(serve, emulator):
    """gcs_object alone says that the location is about Cloud Storage."""
    emulator.fault(kind="token", delay=0.4)
    server = serve("gcs_auth reader; location /media/ { %s }"
                   % BY_HAND.replace("gcs_auth reader;", ""))
    assert server.get("/media/?name=x.txt").status == 200
    assert None not in bearers(emulator)


def test_a_location_with_an_identity_alone_waits_too(serve, emulator):
    emulator.fault(kind="token", delay=0.4)
    server = serve("""location /media/ {
        gcs_auth reader;
        proxy_pass %%EMULATOR%%/test-bucket/x.txt;
        proxy_set_header Authorization $gcs_authorization;
    }""")
    assert server.get("/media/").body == b"hello"
    assert None not in bearers(emulator)


@pytest.mark.parametrize("fault, status, error", [
    ({"status": 500, "body": "{}"}, 502, "token_unavailable"),
    ({"hang": True}, 504, "token_timeout"),
])
def test_by_hand_a_token_that_does_not_come_is_an_error_too(
        serve, emulator, fault, status, error):
    emulator.fault(kind="token", count=None, **fault)
    server = serve("gcs_token_timeout 500ms; location /media/ { %s %s }"
                   % (BY_HAND, SHOW))
    answer = server.get("/media/?name=x.txt")
    assert (answer.status, shown(answer)["error"]) == (status, error)
    assert emulator.requests("storage") == []


def test_by_hand_a_request_during_the_back_off_fails_at_once(serve,
                                                             emulator):
    emulator.fault(kind="token", status=503, count=None, body="{}")
    server = serve("location /media/ { %s %s }" % (BY_HAND, SHOW))
    server.wait_log("could not be fetched")
    for _ in range(3):
        start = time.monotonic()
        answer = server.get("/media/?name=x.txt")
        assert (answer.status, shown(answer)["error"]) == (
            502, "token_unavailable")
        assert time.monotonic() - start < 0.5
    assert emulator.requests("storage") == []


def test_a_token_that_is_not_there_yet_is_an_empty_value(serve, emulator):
    """What comes before the content phase waits for nothing."""
    hold_tokens(emulator)
    server = serve("""
        location /show { gcs_auth reader;
                         return 200 "<$gcs_authorization>$gcs_credentials"; }
    """)
    server.graceful = False
    assert server.get("/show").text == "<>reader"
    emulator.clear_faults()


@pytest.mark.parametrize("name, status, error", [
    ("x.txt", 200, None), ("a%20b", 404, None),
    ("", 404, "no_object_name"), ("..", 400, "invalid_object_name"),
    ("n" * 1025, 400, "invalid_object_name"),
])
def test_gcs_object_is_checked_as_every_address(serve, emulator, name,
                                                status, error):
    server = serve("location /media/ { %s %s }" % (BY_HAND, SHOW))
    answer = server.get("/media/?name=" + name)
    assert (answer.status, shown(answer).get("error")) == (status, error)
    escaped = name.replace("%", "%25")
    assert [request["target"] for request in emulator.requests("storage")] \
        == (["/test-bucket/" + escaped] if error is None else [])


def test_gcs_object_keeps_to_the_list_of_buckets(serve, emulator):
    emulator.create_bucket("other-bucket")
    server = serve("""location /media/ {
        gcs_object gs://$arg_bucket/x.txt; gcs_buckets test-bucket;
        gcs_auth reader;
        proxy_pass %%EMULATOR%%$gcs_uri;
        proxy_set_header Authorization $gcs_authorization;
    }""")
    assert server.get("/media/?bucket=test-bucket").status == 200
    assert server.get("/media/?bucket=other-bucket").status == 403
    assert server.get("/media/?bucket=").status == 400
    assert len(emulator.requests("storage")) == 1


def test_gcs_object_is_inherited(serve, emulator):
    server = serve("""
        gcs_object gs://test-bucket$uri;
        gcs_auth reader;
        location / { return 200 "$gcs_bucket $gcs_object $gcs_uri"; }
        location /own/ {
            gcs_object gs://other-bucket/x;
            return 200 "$gcs_bucket $gcs_object";
        }
    """)
    assert server.get("/a%20b/c?d").text \
        == "test-bucket a b/c /test-bucket/a%20b/c"
    assert server.get("/own/a").text == "other-bucket x"


def test_names_by_hand_are_exact_as_well(serve, emulator, bucket):
    names = ["a b", "a+b", "100%", "a%2Fb", "a?b", "a#b", "ü/é", "\U0001f600",
             "a&b=c;d"]
    for name in names:
        emulator.put_object(bucket, name, name.encode())
    server = serve("""location /media/ {
        gcs_object gs://test-bucket/$http_x_name; gcs_auth reader;
        proxy_pass %%EMULATOR%%$gcs_uri;
        proxy_set_header X-Name "";
        proxy_set_header Authorization $gcs_authorization;
    }""")
    for name in names:
        answer = server.get("/media/", {"X-Name": name})
        assert answer.body == name.encode()


# who is refused causes nothing


@pytest.mark.parametrize("content", [PASS, BY_HAND], ids=["pass", "by-hand"])
@pytest.mark.parametrize("guard, status", [
    ("deny all;", 403),
    ("auth_basic x; auth_basic_user_file %%DIR%%/users;", 401),
    ("satisfy all; allow all; auth_basic x;"
     " auth_basic_user_file %%DIR%%/users;", 401),
    ("auth_request /no;", 403),
    ("return 403;", 403),
    ("if ($arg_name) { return 403; }", 403),
])
def test_a_client_that_is_refused_waits_for_no_token(
        serve, emulator, tmp_path, guard, status, content):
    hold_tokens(emulator)
    folder = tmp_path / "nginx"
    folder.mkdir()
    (folder / "users").write_text("bob:{PLAIN}secret\n")
    server = serve("""
        gcs_token_timeout 20s;
        location /media/ { %s %s }
        location = /no { internal; return 403; }
    """ % (guard, content))
    asked = emulator.counts().get("token", 0)
    start = time.monotonic()
    answer = server.get("/media/x.txt?name=x.txt")
    assert answer.status == status
    assert time.monotonic() - start < 5
    assert emulator.requests("storage") == []
    # at most the one of the start
    assert emulator.counts().get("token", 0) <= max(asked, 1)


def test_a_login_that_is_right_gets_the_object(serve, emulator, tmp_path):
    folder = tmp_path / "nginx"
    folder.mkdir()
    (folder / "users").write_text("bob:{PLAIN}secret\n")
    server = serve("""
        location /media/ {
            auth_basic x; auth_basic_user_file %%%%DIR%%%%/users;
            %s
        }
    """ % PASS)
    answer = server.get("/media/x.txt",
                        {"Authorization": "Basic Ym9iOnNlY3JldA=="})
    assert answer.body == b"hello"
    [bearer] = bearers(emulator)
    assert bearer.startswith("Bearer ")


# maps


def test_a_map_over_the_bucket_works_wherever_it_is_read(serve, emulator):
    emulator.create_bucket("public-bucket", public=True)
    emulator.put_object("public-bucket", "x", b"public")
    server = serve("""
        location ~ ^/b/([^/]+)/(.*)$ {
            gcs_pass gs://$1/$2;
            gcs_buckets test-bucket public-bucket;
            gcs_auth $who;
            expires $age;
            add_header X-Who $gcs_credentials;
        }
    """, http="""
        map $gcs_bucket $who { public-bucket anonymous; default reader; }
        map $gcs_object $age { ~\\.txt$ 1h; default off; }
    """)
    one = server.get("/b/test-bucket/x.txt")
    assert (one.body, one.get("X-Who")) == (b"hello", "reader")
    assert one.all("Cache-Control")[-1] == "max-age=3600"
    two = server.get("/b/public-bucket/x")
    assert (two.body, two.get("X-Who")) == (b"public", "anonymous")
    assert [bearer is not None for bearer in bearers(emulator)] \
        == [True, False]


def test_a_map_may_choose_the_identity_by_hand(serve, emulator):
    emulator.create_bucket("public-bucket", public=True)
    emulator.put_object("public-bucket", "x.txt", b"public")
    server = serve("""location /media/ {
        gcs_object gs://$arg_bucket/x.txt;
        gcs_auth $who;
        proxy_pass %%EMULATOR%%$gcs_uri;
        proxy_set_header Authorization $gcs_authorization;
    }""", http="map $gcs_bucket $who"
               " { public-bucket anonymous; default reader; }")
    assert server.get("/media/?bucket=test-bucket").body == b"hello"
    assert server.get("/media/?bucket=public-bucket").body == b"public"
    assert [bearer is not None for bearer in bearers(emulator)] \
        == [True, False]


@pytest.mark.parametrize("content", [PASS, BY_HAND], ids=["pass", "by-hand"])
def test_an_identity_that_nobody_declared_is_an_error(serve, emulator,
                                                      content):
    server = serve("location /media/ { %s }" % content.replace(
        "gcs_auth reader", "gcs_auth $arg_who"))
    assert server.get("/media/x.txt?name=x.txt&who=reader").status == 200
    for who in ("mallory", ""):
        answer = server.get(f"/media/x.txt?name=x.txt&who={who}")
        assert answer.status == 500
        assert f'"gcs_auth" yields "{who}"' in server.log()
    assert len(emulator.requests("storage")) == 1


@pytest.mark.parametrize("location, status", [
    ("gcs_pass gs:/$gcs_uri; gcs_buckets test-bucket; gcs_auth reader;", 400),
    ("gcs_pass gs://$gcs_bucket/x; gcs_buckets test-bucket;"
     " gcs_auth reader;", 400),
    ("gcs_pass gs://$loop/x; gcs_buckets test-bucket; gcs_auth reader;", 400),
    ("gcs_pass gs://test-bucket; gcs_auth $gcs_credentials;", 500),
    ("gcs_pass gs://test-bucket; gcs_auth $who;", 500),
    ("gcs_object gs:/$gcs_uri; gcs_auth reader;"
     " proxy_pass %%EMULATOR%%$gcs_uri;", 400),
])
def test_a_value_made_of_itself_ends(serve, emulator, location, status):
    server = serve("location /media/ { %s }" % location, http="""
        map $gcs_bucket $loop { default $gcs_bucket; }
        map $gcs_credentials $who { default $gcs_credentials; }
    """)
    assert server.get("/media/x.txt").status == status
    assert emulator.requests("storage") == []


# secrets


def test_the_token_shows_up_only_where_it_is_asked_for(serve, emulator):
    """Neither in a header nor in a log, on the way of the debug level too."""
    server = serve("""
        location /media/ { %s }
        location /hand/ { %s }
        location = /show { gcs_auth reader; add_header X-T
            "$gcs_token_status"; return 200 "$gcs_authorization"; }
    """ % (PASS, BY_HAND), log_level="debug")
    answers = [server.get("/media/x.txt"), server.get("/media/missing"),
               server.get("/hand/?name=x.txt")]
    [token] = [token["value"] for token in emulator.tokens()]
    for answer in answers:
        assert token.encode() not in answer.head + answer.body
    # whoever writes this has asked for it
    assert server.get("/show").text == "Bearer " + token

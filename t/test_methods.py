"""A method outside of gcs_methods is refused before there is a token or a
request to GCS, wherever nginx has got to in its phases."""

from __future__ import annotations

import pytest

from harness.nginx import wait_until

HTTP = """
    gcs_credentials reader { file %%KEY%%; }
    gcs_auth reader;
    gcs_endpoint %%EMULATOR%%;
"""

WRITES = ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "MKCOL",
          "COPY", "MOVE", "LOCK", "PROPPATCH", "FOO", "CONNECTX", "get",
          "Put", "M-SEARCH"]

GCS = "gcs_pass gs://test-bucket/;"


@pytest.fixture
def front(nginx, emulator, key_file, bucket):
    """With an account that may write: only the module is in the way."""
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin"]}))
    emulator.put_object(bucket, "a", b"content", content_type="text/plain",
                        cache_control="public, max-age=60")

    def make(server, **kw):
        return nginx(HTTP, server=server, **kw)

    return make


def storage(emulator):
    return emulator.requests("storage")


def is_refused(response, allow="GET, HEAD"):
    assert response.status == 405
    assert response.get("Allow") == allow
    assert response.get("Content-Type") == "text/html"
    assert b"<center>nginx" in response.body
    return True


def untouched(emulator, bucket):
    assert emulator.get_object(bucket, "a")["data"] == b"content"
    return storage(emulator) == []


@pytest.mark.parametrize("method", WRITES)
def test_a_method_outside_the_list_is_405_with_allow(method, front, emulator,
                                                     bucket):
    server = front("location / { %s }" % GCS)
    for target in ("/a", "/none", "/a?x=y"):
        response = server.request(method, target)
        # nginx's parser takes capitals, "_" and "-" only
        if method.isupper():
            assert is_refused(response)
        else:
            assert response.status == 400
        response = server.request(method, target, {}, b"body")
        assert response.status == (405 if method.isupper() else 400)
    assert untouched(emulator, bucket)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_trace_and_connect_are_nginx_s_to_refuse(method, front, emulator,
                                                 bucket):
    server = front("location / { gcs_methods GET HEAD PUT DELETE; %s }" % GCS)
    assert server.request(method, "/a").status in (400, 405)
    assert untouched(emulator, bucket)


def test_gcs_methods_takes_what_gcs_can_do_only(front):
    for methods in ("POST", "PATCH", "TRACE", "GET FOO", "OPTIONS GET"):
        tested = front("location / { gcs_methods %s; %s }" % (methods, GCS),
                       start=False).test()
        assert tested.returncode == 1, methods
        assert "gcs_methods" in tested.stderr


# every way that leads to a location with gcs_pass

CONTEXTS = {
    "limit_except that allows": """
        location / { %s limit_except GET { allow all; } }""",
    "limit_except of all methods": """
        location / { %s limit_except GET PUT DELETE POST { allow all; } }""",
    "limit_except in an if": """
        location / { %s if ($arg_x != y) { set $x 1; } }""",
    "an if that is true": """
        location / { %s if ($request_method) { set $x 1; } }""",
    "an if with directives": """
        location / { %s if ($request_method) { add_header X-If 1; } }""",
    "a try_files that ends in an if": """
        location / { try_files /nothing @gcs; }
        location @gcs { %s if ($request_method) { set $x 1; } }""",
    "if and limit_except": """
        location / {
            %s
            if ($request_method) { add_header X-If 1; }
            limit_except GET { allow all; }
        }""",
    "a nested location": """
        location / { location ~ . { %s } }""",
    "a regex location": """
        location ~ ^/ { %s }""",
    "an exact location": """
        location = /a { gcs_pass gs://test-bucket/a; }""",
    "a rewrite": """
        rewrite ^ /x/a break;
        location / { rewrite ^ /x/a last; }
        location /x/ { %s }""",
    "a rewrite inside": """
        location / { rewrite ^/(.*) /$1 break; %s }""",
    "try_files to a name": """
        location / { try_files /nothing @gcs; }
        location @gcs { %s }""",
    "try_files to a uri": """
        location / { try_files /nothing /x/a; }
        location /x/ { %s }""",
    "satisfy any": """
        location / { %s satisfy any; allow all; auth_basic x;
                     auth_basic_user_file %%%%DIR%%%%/none; }""",
    "auth_request": """
        location / { auth_request /ok; %s }
        location = /ok { return 204; }""",
    "a mirror that is on": """
        location / { mirror /ok; %s }
        location = /ok { return 204; }""",
    "a cache": """
        location / { proxy_cache one; proxy_cache_methods GET HEAD POST; %s }
    """,
    "a cache that converts": """
        location / { proxy_cache one; proxy_cache_convert_head off; %s }""",
    "unbuffered bodies": """
        location / { proxy_request_buffering off; %s }""",
    "index": """
        location / { index a; %s }""",
    "dav": """
        location / { dav_methods PUT DELETE; %s }""",
    "variables": """
        location / { gcs_pass gs://test-bucket/a$arg_x;
                     gcs_buckets test-bucket; }""",
    "another server's default": """
        error_page 404 /a; location / { %s }""",
}


@pytest.mark.parametrize("context", CONTEXTS)
def test_no_context_lets_a_write_through(context, front, nginx, emulator,
                                         bucket):
    text = CONTEXTS[context]
    if "%s" in text:
        text = text % GCS
    server = nginx(HTTP + "proxy_cache_path %%DIR%%/c keys_zone=one:1m;",
                   server=text)
    assert server.get("/a").body == b"content", context
    emulator.reset_requests()

    for method in ("PUT", "DELETE", "POST", "PATCH", "OPTIONS", "FOO"):
        for body in (None, b"evil"):
            response = server.request(method, "/a", {}, body)
            assert is_refused(response), (context, method)
    assert untouched(emulator, bucket)
    assert server.get("/a").body == b"content"


def test_an_error_page_of_another_location_keeps_a_write_out(
        front, emulator, bucket):
    """error_page to a URI turns the method into GET; to a name it does not.
    Neither may write."""
    server = front("""
        location /by-name { error_page 404 = @gcs; return 404; }
        location /by-uri { error_page 404 /x/a; return 404; }
        location @gcs { rewrite ^ /a break; %s }
        location /x/ { %s }
    """ % (GCS, GCS))
    for method in ("PUT", "DELETE", "POST"):
        response = server.request(method, "/by-name", {}, b"evil")
        assert is_refused(response), method
        assert untouched(emulator, bucket)

        server.request(method, "/by-uri", {}, b"evil")
        for record in storage(emulator):
            assert (record["method"], record["body_size"]) == ("GET", 0)
        assert emulator.get_object(bucket, "a")["data"] == b"content"
        emulator.reset_requests()


def test_error_page_may_answer_the_405(front, emulator, bucket):
    server = front("""
        error_page 405 /refused;
        location = /refused { return 200 refused; }
        location / { %s }
    """ % GCS)
    response = server.request("PUT", "/a", {}, b"evil")
    assert response.body == b"refused"
    assert response.get("Allow") == "GET, HEAD"
    assert untouched(emulator, bucket)


def test_error_page_405_to_the_bucket_does_not_write(front, emulator, bucket):
    server = front("""
        location / { error_page 405 = @gcs; %s }
        location @gcs { %s }
    """ % (GCS, GCS))
    for method in ("PUT", "DELETE", "POST"):
        assert server.request(method, "/a", {}, b"evil").status == 405
    assert untouched(emulator, bucket)


def test_subrequests_of_a_write_do_not_write(front, nginx, emulator, bucket):
    """auth_request and SSI ask by GET, a mirror by the client's method."""
    server = nginx(HTTP, server="""
        location /auth { auth_request /gcs/a; return 200 ok; }
        location /mirrored { mirror /gcs/a; proxy_pass %%EMULATOR%%/none/x;
                             proxy_method GET; proxy_set_body ""; }
        location /bodiless { mirror /gcs/a; mirror_request_body off;
                             return 200 ok; }
        location /gcs/ { internal; gcs_pass gs://test-bucket/; }
    """)
    for target in ("/auth", "/mirrored", "/bodiless"):
        for method in ("PUT", "DELETE", "POST"):
            server.request(method, target, {}, b"evil")
    wait_until(lambda: server.access_log().count("HTTP/1.1") >= 9)
    for record in storage(emulator):
        assert (record["method"], record["body_size"]) == ("GET", 0)
    assert emulator.get_object(bucket, "a")["data"] == b"content"


def test_x_accel_redirect_of_a_write_does_not_write(front, emulator, bucket):
    server = front("""
        location /app { proxy_pass http://127.0.0.1:%%%%PORT%%%%/answer; }
        location /answer { add_header X-Accel-Redirect /gcs/a; return 200; }
        location /gcs/ { internal; %s }
    """ % GCS)
    assert server.get("/app").body == b"content"
    for method in ("PUT", "DELETE", "POST"):
        server.request(method, "/app", {}, b"evil")
    for record in storage(emulator):
        assert (record["method"], record["body_size"]) == ("GET", 0)
    assert emulator.get_object(bucket, "a")["data"] == b"content"


def test_the_refusal_comes_before_any_token(nginx, emulator, key_file,
                                            bucket):
    """With no token to be had, a GET is 502 or waits; a PUT is 405 at
    once."""
    emulator.fault(kind="token", hang=True, count=None)
    server = nginx(HTTP, server="location / { gcs_token_timeout 30s; %s }"
                   % GCS)
    server.graceful = False
    assert is_refused(server.request("PUT", "/a", {}, b"evil", timeout=5))
    assert storage(emulator) == []


def test_authorization_comes_before_the_refusal(front, emulator, bucket):
    server = front("location / { deny all; %s }" % GCS)
    assert server.request("PUT", "/a", {}, b"evil").status == 403
    assert untouched(emulator, bucket)


def test_the_reason_is_in_gcs_error(front, emulator, bucket):
    server = front('location / { add_header X-Error "$gcs_error" always; %s }'
                   % GCS)
    response = server.request("DELETE", "/a")
    assert response.get("X-Error") == "method_not_allowed"


def test_a_body_of_a_refused_request_does_not_become_the_next(
        front, emulator, bucket):
    connection = front("location / { %s }" % GCS).connect()
    for _ in range(2):
        response = connection.request(
            "PUT", "/a", {}, b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n")
        assert is_refused(response)
    assert connection.get("/a").body == b"content"
    assert [r["target"] for r in storage(emulator)] == ["/test-bucket/a"]


@pytest.mark.parametrize("methods,allow,refused", [
    ("GET", "GET", ["HEAD", "PUT"]),
    ("HEAD", "HEAD", ["GET", "PUT", "DELETE"]),
    ("GET HEAD PUT", "GET, HEAD, PUT", ["DELETE", "POST"]),
    ("DELETE GET", "GET, DELETE", ["HEAD", "PUT"]),
    ("GET HEAD PUT DELETE", "GET, HEAD, PUT, DELETE", ["POST", "FOO"])])
def test_gcs_methods_is_the_list(methods, allow, refused, front, emulator,
                                 bucket):
    server = front("location / { gcs_methods %s; %s }" % (methods, GCS))
    for method in refused:
        response = server.request(method, "/a")
        assert response.status == 405
        assert response.get("Allow") == allow
    assert untouched(emulator, bucket)


def test_gcs_methods_is_inherited_and_replaced(front, emulator, bucket):
    server = front("""
        gcs_methods GET HEAD PUT DELETE;
        location / { %s }
        location /read/ { gcs_methods GET; %s }
    """ % (GCS, GCS))
    assert server.request("PUT", "/new", {}, b"x").status == 200
    assert server.request("PUT", "/read/new", {}, b"x").status == 405
    assert server.head("/read/a").status == 405


def test_limit_except_may_still_forbid_what_gcs_methods_allows(
        front, emulator, bucket):
    server = front("""
        location / {
            gcs_methods GET HEAD PUT DELETE;
            limit_except GET PUT { deny all; }
            %s
        }""" % GCS)
    assert server.request("PUT", "/new", {}, b"x").status == 200
    assert server.request("DELETE", "/a").status == 403
    assert emulator.get_object(bucket, "a")["data"] == b"content"


# writes, where they are allowed


WRITABLE = "location / { gcs_methods GET HEAD PUT DELETE; %s }" % GCS


def test_a_put_stores_the_object_and_its_type(front, emulator, bucket):
    server = front(WRITABLE)
    response = server.request("PUT", "/new%20one", {
        "Content-Type": "text/x-test; charset=utf-8", "Cookie": "a=b",
        "X-Goog-Acl": "public-read", "X-Forwarded-For": "1.2.3.4"},
        b"the body")
    assert (response.status, response.body) == (200, b"")
    assert [n for n in response.names if n.startswith("x-g")] == [
        "x-goog-generation"]

    stored = emulator.get_object(bucket, "new one")
    assert stored["data"] == b"the body"
    assert stored["content_type"] == "text/x-test; charset=utf-8"

    record = storage(emulator)[0]
    assert (record["method"], record["target"]) == ("PUT",
                                                    "/test-bucket/new%20one")
    assert {name.lower() for name, _ in record["headers"]} == {
        "host", "user-agent", "authorization", "content-length",
        "content-type"}

    assert server.get("/new%20one").body == b"the body"


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 3000],
                         ids=len)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_bodies_of_every_size_arrive(chunked, body, front, emulator, bucket):
    connection = front(WRITABLE).connect()
    for name in ("one", "two"):
        if chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body \
                else b"0\r\n\r\n"
            response = connection.request(
                "PUT", "/" + name, {"Transfer-Encoding": "chunked"}, data)
        else:
            response = connection.request("PUT", "/" + name, {}, body)
        assert response.status == 200
        assert emulator.get_object(bucket, name)["data"] == body
    assert emulator.connections()["storage"] == 1


def test_expect_continue_of_the_client_is_nginx_s(front, emulator, bucket):
    connection = front(WRITABLE).connect()
    connection.send(b"PUT /new HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
                    b"Expect: 100-continue\r\n\r\n")
    assert connection.head().status == 100
    connection.send(b"body")
    assert connection.response().status == 200
    assert emulator.get_object(bucket, "new")["data"] == b"body"
    assert "expect" not in {n.lower() for n, _ in
                            storage(emulator)[0]["headers"]}


def test_a_delete_deletes(front, emulator, bucket):
    connection = front(WRITABLE).connect()
    response = connection.request("DELETE", "/a")
    assert (response.status, response.body) == (204, b"")
    assert connection.request("DELETE", "/a").status == 404
    assert connection.get("/a").status == 404
    assert [r["method"] for r in storage(emulator)] == [
        "DELETE", "DELETE", "GET"]


def test_writes_ask_for_a_scope_that_may_write(front, emulator, bucket):
    server = front(WRITABLE)
    assert server.request("PUT", "/new", {}, b"x").status == 200
    scopes = [token["scopes"] for token in emulator.tokens()]
    assert scopes == [
        ["https://www.googleapis.com/auth/devstorage.read_write"]]


def test_reads_do_not_ask_for_it(front, emulator, bucket):
    server = front("location / { %s }" % GCS)
    assert server.get("/a").status == 200
    scopes = [token["scopes"] for token in emulator.tokens()]
    assert scopes == [
        ["https://www.googleapis.com/auth/devstorage.read_only"]]


def test_an_account_that_may_not_write_is_403(nginx, emulator, key_file,
                                              bucket):
    server = nginx(HTTP, server=WRITABLE)
    response = server.request("PUT", "/new", {}, b"x")
    assert response.status == 403
    assert b"<center>nginx" in response.body
    assert 'gcs responded 403 "AccessDenied"' in server.log()


@pytest.mark.parametrize("more,size", [
    ("", 60000), ("proxy_request_buffering on;", 256000)],
    ids=["small", "buffered"])
def test_a_put_with_a_stale_token_is_repeated_with_its_body(
        more, size, front, emulator, bucket):
    server = front(WRITABLE.replace("{ ", "{ " + more, 1))
    assert server.request("PUT", "/one", {}, b"x").status == 200
    emulator.revoke_tokens()
    body = bytes(range(250)) * (size // 250)
    assert server.request("PUT", "/two", {}, body).status == 200
    assert emulator.get_object(bucket, "two")["data"] == body
    assert [r["status"] for r in storage(emulator)] == [200, 401, 200]

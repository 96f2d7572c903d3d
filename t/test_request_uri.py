"""The client's URI stays its own while a request to Cloud Storage is made.

Where nothing else can see it, the module has the stock proxy take the URI of
the object for the client's: what comes after, logs, errors and retries, must
not notice.
"""

from __future__ import annotations

import pytest

from harness.nginx import free_port, wait_until

HTTP = """
    gcs_credentials reader { file %%%%KEY%%%%; }
    gcs_auth reader;
    gcs_endpoint %%%%EMULATOR%%%%;
    log_format uris '$request_uri|$uri|$upstream_status|$proxy_host';
    access_log %%%%DIR%%%%/uris.log uris;
    %s
    server {
        listen 127.0.0.1:%%%%PORT%%%%;
        location /m/ { gcs_pass gs://test-bucket/p/; %s }
        %s
    }
"""
ASKED = "/m//a%20b.txt?x=1"
OBJECT = "/test-bucket/p//a%20b.txt"


@pytest.fixture
def serve(nginx, emulator, key_file, bucket):
    emulator.put_object(bucket, "p//a b.txt", b"hello")

    def make(inner: str = "", server: str = "", http: str = "", **kw):
        made = nginx(HTTP % (http, inner, server), **kw)
        made.wait_log("token refreshed")
        return made

    return make


def logged(server) -> list[str]:
    log = server.dir / "uris.log"
    wait_until(lambda: log.exists() and log.read_text())
    return log.read_text().splitlines()


def targets(emulator) -> list[str]:
    return [record["target"] for record in emulator.requests("storage")]


def test_the_log_has_the_clients_uri_and_google_the_objects(serve, emulator):
    server = serve()

    assert server.get(ASKED).body == b"hello"

    assert targets(emulator) == [OBJECT]
    [line] = logged(server)
    assert line.startswith(f"{ASKED}|/m/a b.txt|200|gcs")


def test_what_is_asked_again_is_the_same_object(serve, emulator):
    server = serve()
    emulator.fault(kind="storage", status=503)

    assert server.get(ASKED).body == b"hello"

    assert targets(emulator) == [OBJECT] * 2
    assert logged(server)[0].startswith(f"{ASKED}|/m/a b.txt|503, 200|")


def test_the_page_of_an_error_sees_the_clients_uri(serve, emulator):
    server = serve("error_page 404 = @none;",
                   'location @none { return 200 "$request_uri"; }')

    answer = server.get("/m/none.txt?y")

    assert answer.body == b"/m/none.txt?y"
    assert logged(server)[0].startswith("/m/none.txt?y|/m/none.txt|404|")


def test_where_nobody_listens_the_page_sees_the_clients_uri(serve):
    server = serve(f"""
        gcs_endpoint http://127.0.0.1:{free_port()};
        error_page 502 = @down;
        """, 'location @down { return 200 "$request_uri"; }')
    server.expect("connect\\(\\) failed")

    assert server.get(ASKED).body == ASKED.encode()


def test_another_proxy_gets_what_the_client_has_sent(serve, emulator):
    """After an internal redirect nginx builds the URI anew, of $uri."""
    server = serve("error_page 404 = @other;", """
        location @other { proxy_pass http://127.0.0.1:%%PORT_2%%; }
        """, """
        server {
            listen 127.0.0.1:%%PORT_2%%;
            return 200 "$request_uri";
        }
        """)

    assert server.get("/m/none.txt?y").body == b"/m/none.txt?y"


def test_headers_with_variables_have_the_clients_uri(serve, emulator):
    server = serve("""
        gcs_set_header x-goog-custom-audit-uri "$request_uri";
    """)

    assert server.get(ASKED).status == 200

    [record] = emulator.requests("storage")
    assert record["target"] == OBJECT
    assert ["x-goog-custom-audit-uri", ASKED] in record["headers"]


def test_a_block_of_if_asks_for_the_same_object(serve, emulator):
    server = serve("""
        if ($arg_x) { add_header X-If yes; }
    """)

    answer = server.get(ASKED)

    assert answer.get("x-if") == "yes" and answer.body == b"hello"
    assert targets(emulator) == [OBJECT]
    assert logged(server)[0].startswith(ASKED)


@pytest.mark.parametrize("inner", [
    "", "proxy_cache zone; proxy_cache_valid 200 1m;",
    "gcs_methods GET HEAD PUT;"])
def test_tls_is_spoken_and_named_in_the_log(serve, emulator, inner):
    """However the stock proxy is told the address."""
    server = serve(f"""
        gcs_endpoint %%EMULATOR_TLS%%;
        gcs_ssl_trusted_certificate %%CA%%;
        {inner}
        """, http="proxy_cache_path %%DIR%%/cache keys_zone=zone:1m;")
    emulator.fault(kind="storage", reset="before_headers", count=9)
    server.expect('upstream: "https://')

    assert server.get(ASKED).status == 502

    assert {record["tls"] for record in emulator.requests("storage")} == {True}
    assert f'{OBJECT}"' in server.log()


def test_slices_leave_the_uri_of_their_request_alone(serve, emulator):
    server = serve("slice 2;")

    assert server.get(ASKED).body == b"hello"

    assert targets(emulator) == [OBJECT] * 3
    assert logged(server)[0].startswith(ASKED)


@pytest.mark.parametrize("body", [
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"Content-Length: 5\r\n\r\nhello"], ids=["chunked", "with a length"])
@pytest.mark.parametrize("inner", ["", "gcs_methods GET HEAD PUT;"])
def test_a_body_that_has_no_use_holds_nothing_up(serve, emulator, inner, body):
    """What follows in the same packet is the next request."""
    server = serve(inner)
    head = f"GET {ASKED} HTTP/1.1\r\nHost: localhost\r\n".encode()

    with server.connect() as connection:
        connection.send(head + body + head + b"\r\n")
        answers = [connection.response("GET") for _ in range(2)]

    assert [answer.body for answer in answers] == [b"hello"] * 2
    assert targets(emulator) == [OBJECT] * 2

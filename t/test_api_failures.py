"""``gcs_api`` when something fails, and configurations that cannot work."""

from __future__ import annotations

import json
import socket
import time

import pytest
from test_api import HTTP, LOCATION, error, sent, start, xml_error
from test_api import front as front      # noqa: PLC0414


UPLOAD = "/upload/storage/v1/b/test-bucket/o"


def storage(emulator):
    return emulator.requests("storage")


# tokens

def test_a_rejected_token_is_replaced_unseen(front, emulator, bucket):
    emulator.put_object(bucket, "a", b"hello")
    server = front()
    assert server.get(f"/storage/v1/b/{bucket}/o/a").status == 200
    emulator.revoke_tokens()
    assert server.get(f"/storage/v1/b/{bucket}/o/a").status == 200
    assert len(storage(emulator)) == 3


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_body_is_sent_again_with_another_token(size, front, emulator,
                                                 bucket):
    """From memory and from a file, the metadata made anew in both."""
    emulator.put_object(bucket, "b", b"x")
    server = front()
    assert server.get(f"/storage/v1/b/{bucket}/o/b").status == 200
    emulator.revoke_tokens()
    body = b"\r\n".join([
        b"--b", b"Content-Type: application/json; charset=UTF-8", b"",
        b'{"name": "a", "metadata": {"k": "v"}}', b"--b",
        b"Content-Type: text/x", b"", b"x" * size, b"--b--", b""])
    assert server.request(
        "POST", f"{UPLOAD}?uploadType=multipart",
        {"Content-Type": "multipart/related; boundary=b"}, body).status == 200
    stored = emulator.get_object(bucket, "a")
    assert stored["data"] == b"x" * size
    assert stored["metadata"] == {"k": "v"}
    assert len(storage(emulator)) == 3


def test_a_client_is_not_told_that_its_login_is_wrong(front, emulator,
                                                      bucket):
    emulator.fault(kind="storage", status=401, count=None)
    server = front()
    assert error(server.get(f"/storage/v1/b/{bucket}/o/a"))[:2] == (
        502, "backendError")
    assert xml_error(server.get(f"/{bucket}/a"))[:2] == (502, "InternalError")
    assert "www-authenticate" not in server.get(f"/{bucket}/a").names
    server.expect("gcs responded 401")


def test_without_a_token_nothing_is_asked(front, emulator, bucket):
    emulator.fault(kind="token", status=400, count=None,
                   body='{"error":"invalid_grant"}')
    server = front()
    assert error(server.get(f"/storage/v1/b/{bucket}/o/a")) == (
        502, "backendError",
        "cloud storage could not be asked, the cause is in the error log")
    assert error(server.request("POST", f"{UPLOAD}?uploadType=media&name=a",
                                {}, b"x"))[:2] == (502, "backendError")
    assert storage(emulator) == []
    server.expect("no token of gcs credentials")


def test_a_session_needs_no_token(front, emulator, bucket):
    server = front()
    place = "/" + start(server, bucket).get("Location").split("/", 3)[3]
    emulator.revoke_tokens()
    emulator.fault(kind="token", status=400, count=None,
                   body='{"error":"invalid_grant"}')
    assert server.request("PUT", place, {"Authorization": "Bearer theirs"},
                          b"hello").status == 200
    assert "authorization" not in sent(storage(emulator)[-1])
    assert emulator.get_object(bucket, "a")["data"] == b"hello"


# answers

@pytest.mark.parametrize("status", [400, 403, 404, 408, 412, 416, 429, 500,
                                    503, 504])
def test_errors_pass_as_google_gave_them(status, front, emulator, bucket):
    emulator.fault(kind="storage", status=status, body='{"its": "own"}',
                   content_type="application/json; charset=UTF-8",
                   headers={"Retry-After": "7", "Set-Cookie": "a=b",
                            "Alt-Svc": "h3=\":443\"", "X-Goog-Hash": "x",
                            "X-GUploader-UploadID": "x",
                            "Access-Control-Allow-Origin": "*"})
    response = front().get(f"/storage/v1/b/{bucket}/o/a")
    assert (response.status, response.body) == (status, b'{"its": "own"}')
    assert response.get("Retry-After") == "7"
    assert {"x-goog-hash", "x-guploader-uploadid"} <= response.names
    assert not {"set-cookie", "alt-svc",
                "access-control-allow-origin"} & response.names
    assert len(storage(emulator)) == 1          # clients try again themselves


def test_an_answer_that_is_cut_off_is_seen(front, emulator, bucket):
    emulator.fault(kind="storage", reset="before_headers", count=None)
    server = front()
    assert error(server.get(f"/storage/v1/b/{bucket}/o/a"))[:2] == (
        502, "backendError")
    server.expect("upstream|reset")


def test_a_write_is_never_sent_twice(front, emulator, bucket):
    emulator.fault(kind="storage", hang=True, count=None)
    server = front(more="proxy_read_timeout 1s;")
    server.request("POST", f"{UPLOAD}?uploadType=media&name=a", {}, b"x")
    assert len(storage(emulator)) == 1
    server.expect("upstream timed out")


def test_a_long_list_is_rewritten_wherever_it_is_cut(front, emulator, bucket):
    """Links across the borders of buffers, in several sizes of these."""
    for number in range(300):
        emulator.put_object(bucket, f"n/{number:04}" + "ö" * (number % 50),
                            b"x")
    for first, size in (("1k", 16), ("1k", 1024), ("1111", 1111),
                        ("4k", 4096), ("64k", 65536)):
        # without a rate an answer goes past these buffers
        server = front(more=f"limit_rate 100m; proxy_buffer_size {first}; "
                            f"proxy_buffers 200 {size}; "
                            "proxy_busy_buffers_size "
                            f"{max(size * 2, 1024)};")
        here = f"http://127.0.0.1:{server.port}/"
        listed = server.get(f"/storage/v1/b/{bucket}/o").json()["items"]
        assert len(listed) == 300
        assert all(item["selfLink"].startswith(here)
                   and item["mediaLink"].startswith(here)
                   for item in listed)


def test_a_list_at_a_limited_rate_is_whole(front, emulator, bucket):
    for number in range(300):
        emulator.put_object(bucket, f"n/{number:04}", b"x",
                            metadata={"k": "v" * 300})
    server = front(more="limit_rate 400k;")
    here = f"http://127.0.0.1:{server.port}/"
    listed = server.get(f"/storage/v1/b/{bucket}/o").json()["items"]
    assert len(listed) == 300
    assert all(item["selfLink"].startswith(here) for item in listed)


def test_an_answer_of_nginxs_own_is_left_alone(front, emulator, bucket):
    server = front(more="if ($arg_x) { return 204; }")
    answer = server.get(f"/storage/v1/b/{bucket}/o?x=1")
    assert (answer.status, answer.body) == (204, b"")
    assert storage(emulator) == []


def test_a_slow_reader_of_a_list_gets_all_of_it(front, emulator, bucket):
    for number in range(1000):
        emulator.put_object(bucket, f"{number:04}", b"x",
                            metadata={"k": "v" * 1500})
    server = front()
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(f"GET /storage/v1/b/{bucket}/o HTTP/1.0\r\nHost: x.test\r\n"
                  "\r\n".encode())
        time.sleep(1)
        data = b""
        while piece := s.recv(65536):
            data += piece
            if len(data) < 300_000:
                time.sleep(0.01)
    body = json.loads(data.partition(b"\r\n\r\n")[2])
    assert len(body["items"]) == 1000
    assert all(item["mediaLink"].startswith("http://x.test/download/")
               and item["metadata"] == {"k": "v" * 1500}
               for item in body["items"])


def test_only_links_of_googles_own_are_changed(front, emulator, bucket):
    value = "https://storage.googleapis.com/b/o"
    emulator.put_object(bucket, "a", json.dumps({"mediaLink": value}),
                        content_type="application/json",
                        metadata={"mediaLink": value, "selfLink": value,
                                  "x": '"mediaLink": "' + value + '"'})
    server = front()
    assert server.get(f"/storage/v1/b/{bucket}/o/a?alt=media").json() == {
        "mediaLink": value}
    told = server.get(f"/storage/v1/b/{bucket}/o/a").json()
    assert told["metadata"] == {"mediaLink": value, "selfLink": value,
                                "x": '"mediaLink": "' + value + '"'}
    assert told["mediaLink"].startswith("http://127.0.0.1")


@pytest.mark.parametrize("host", ['a"b', "a<b", "a\\b"])
def test_a_host_that_no_link_can_name_is_refused(host, front, emulator,
                                                 bucket):
    response = front().get(f"/storage/v1/b/{bucket}/o", {"Host": host})
    assert response.status == 400
    assert storage(emulator) == []


def test_limits_of_nginx_are_told_in_googles_form(nginx, emulator, key_file,
                                                  bucket):
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin"]}))
    emulator.put_object(bucket, "a", b"hello")
    server = nginx("limit_req_zone $server_name zone=z:1m rate=1r/m;"
                   "limit_req_status 429;" + HTTP,
                   server=LOCATION % (bucket, "limit_req zone=z;"))
    assert server.get(f"/storage/v1/b/{bucket}/o/a").status == 200
    assert error(server.get(f"/storage/v1/b/{bucket}/o/a")) == (
        429, "rateLimitExceeded", "too many requests")
    assert xml_error(server.get(f"/{bucket}/a"))[:2] == (429, "SlowDown")
    head = server.head(f"/{bucket}/a")
    assert (head.status, head.body) == (429, b"")
    server.expect("limiting requests")


# what cannot be passed through

def test_a_rewritten_address_is_refused(front, nginx, emulator, bucket):
    front()
    server = nginx(HTTP, server=LOCATION % (
        bucket, "rewrite ^/gate/(.*)$ /$1 break;"))
    assert xml_error(server.get(f"/gate/{bucket}/a"))[0] == 403
    server.expect("has sent, not a rewritten one")
    assert storage(emulator) == []


CONF = {
    "location / { gcs_api on; }": '"gcs_api" requires "gcs_buckets"',
    "location / { gcs_api on; gcs_buckets b1b; gcs_mode presign; }":
        '"gcs_mode"',
    "location / { gcs_api on; gcs_pass gs://b1b/; }":
        '"gcs_pass" directive cannot be used beside "gcs_api"',
    "location / { gcs_pass gs://b1b/; gcs_api on; }":
        '"gcs_api" directive cannot be used beside "gcs_pass"',
    "location / { gcs_api on; gcs_api on; }": '"gcs_api" directive is '
                                              'duplicate',
    "location / { gcs_api yes; }": 'it must be "on" or "off"',
    'location / { gcs_api on "https://${x"; }': "the closing bracket",
    "location / { gcs_api on gateway.test; }": 'it must be "https://HOST"',
    "location / { gcs_api on https://x.test/y; }": 'it must be '
                                                   '"https://HOST"',
    "location / { gcs_api on; gcs_buckets b1b; gcs_auth signature; }":
        'needs a token',
    "location / { gcs_api on; gcs_buckets b1b; gcs_autoindex html; }":
        '"gcs_autoindex" cannot be used with "gcs_api"',
    "location / { gcs_api on; gcs_buckets b1b; gcs_index index.html; }":
        '"gcs_index" cannot be used with "gcs_api"',
    "location / { gcs_api on; gcs_buckets b1b; gcs_not_found 404.html; }":
        '"gcs_not_found" cannot be used with "gcs_api"',
    "location / { gcs_api on; gcs_buckets b1b; proxy_store /tmp/x; }":
        '"proxy_store" cannot be used with "gcs_api"',
    "proxy_cache_path cache keys_zone=c:1m; "
    "location / { gcs_api on; gcs_buckets b1b; proxy_cache c; }":
        '"proxy_cache" cannot be used with "gcs_api"',
}


@pytest.mark.parametrize("text", CONF)
def test_configurations_that_cannot_work_are_refused(text, nginx, emulator,
                                                     key_file):
    key_file.write_text(emulator.service_account())
    http, found, server = text.rpartition("; location")
    server = found[2:] + server if found else text
    refusal = nginx(HTTP + (http + ";" if http else ""), server=server,
                    start=False).refusal()
    assert CONF[text] in refusal


def test_an_outer_cache_is_not_for_clients_that_write(nginx, emulator,
                                                      key_file, bucket):
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectAdmin"]}))
    emulator.put_object(bucket, "a", b"one", cache_control="max-age=60")
    server = nginx("proxy_cache_path cache keys_zone=c:1m; proxy_cache c;"
                   "gcs_autoindex html; gcs_index index.html;"
                   "gcs_not_found 404.html; slice 1k; proxy_intercept_errors on;"
                   "error_page 404 /none;" + HTTP,
                   server=LOCATION % (bucket, ""))
    assert server.get(f"/{bucket}/a").body == b"one"
    emulator.put_object(bucket, "a", b"two", cache_control="max-age=60")
    assert server.get(f"/{bucket}/a").body == b"two"
    assert b"NoSuchKey" in server.get(f"/{bucket}/none").body


# what else is at hand

def test_an_upload_begins_in_the_way_of_the_xml_api(front, emulator, bucket):
    server = front()
    begun = server.request("POST", f"/{bucket}/a/b",
                           {"X-Goog-Resumable": "start",
                            "Content-Type": "text/x"}, b"")
    assert begun.status == 201
    place = begun.get("Location")
    assert place.startswith(f"http://127.0.0.1:{server.port}/{bucket}/a/b?")
    assert server.request("PUT", "/" + place.split("/", 3)[3], {},
                          b"hello").status == 200
    stored = emulator.get_object(bucket, "a/b")
    assert (stored["data"], stored["content_type"]) == (b"hello", "text/x")
    assert "authorization" not in sent(storage(emulator)[-1])


def test_what_nginx_cuts_off_is_not_sent(front, emulator, bucket):
    response = front().get(f"/{bucket}/a#b")
    assert xml_error(response) == (
        400, "InvalidArgument", "the path is not what nginx has made of it")
    assert storage(emulator) == []


def test_a_key_for_hmac_is_not_for_it(nginx, emulator, key_file, bucket,
                                      tmp_path):
    """Where it is known only when a client asks."""
    key_file.write_text(emulator.service_account())
    name, secret = emulator.hmac_key("interop@p.iam.gserviceaccount.com")
    (tmp_path / "secret").touch(0o600)
    (tmp_path / "secret").write_text(secret)
    server = nginx(f"gcs_credentials interop {{ hmac_key {name} "
                   f"{tmp_path}/secret; }}" + HTTP, server=f"""location / {{
        gcs_api on; gcs_buckets {bucket}; gcs_auth $arg_prefix; }}""",
                   secrets=[secret])
    assert error(server.get(f"/storage/v1/b/{bucket}/o?prefix=interop"))[:2] \
        == (500, "backendError")
    server.expect('credentials "interop" cannot be used with "gcs_api"')
    assert storage(emulator) == []


def test_it_is_switched_off(nginx, emulator, key_file, bucket):
    key_file.write_text(emulator.service_account(
        grants={bucket: ["objectViewer"]}))
    emulator.put_object(bucket, "a", b"hello")
    server = nginx(HTTP, server=f"""location / {{
        gcs_api off; gcs_pass gs://{bucket}/; }}""")
    assert server.get("/a").body == b"hello"


def test_other_refusals_of_nginx_are_told_in_googles_form(front, bucket):
    server = front(more="""auth_basic x; auth_basic_user_file /dev/null;
                           if ($arg_prefix = gone) { return 410; }""")
    assert error(server.get(f"/storage/v1/b/{bucket}/o")) == (
        401, "required", "who asks is not known to this server")
    assert xml_error(server.get(f"/{bucket}?prefix=gone")) == (
        410, "InvalidArgument", "the request cannot be served")


def test_an_error_is_whole_at_any_pace(front, bucket):
    """The filters are called once more for what is still to be sent."""
    server = front(more="limit_rate 300;")
    assert error(server.get(f"/storage/v1/b/{bucket}/o/a?acl"))[0] == 403


def test_a_header_that_is_set_comes_before_the_clients(front, emulator,
                                                       bucket):
    server = front(more="gcs_set_header x-goog-meta-k ours;")
    server.request("PUT", f"/{bucket}/a",
                   {"x-goog-meta-k": "theirs", "x-goog-meta-l": "theirs"},
                   b"x")
    assert [value for name, value in storage(emulator)[-1]["headers"]
            if name.lower() == "x-goog-meta-k"] == ["ours"]
    assert emulator.get_object(bucket, "a")["metadata"] == {
        "k": "ours", "l": "theirs"}


def test_a_narrow_limit_of_nginx_holds_for_metadata(front, emulator, bucket):
    server = front(more="client_max_body_size 100;")
    metadata = json.dumps({"name": "a", "metadata": {"k": "v" * 100}})
    assert error(server.raw(
        f"POST {UPLOAD}?uploadType=resumable HTTP/1.1\r\nHost: x\r\n"
        f"Transfer-Encoding: chunked\r\n\r\n{len(metadata):x}\r\n{metadata}"
        "\r\n0\r\n\r\n".encode(), "POST"))[:2] == (413, "uploadTooLarge")
    assert storage(emulator) == []

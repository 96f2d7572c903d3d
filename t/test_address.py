"""The address: which bucket and which object a request means.

gcs_pass in every kind of location, what is put before a name, what is refused
and how, and which configurations are.
"""

from __future__ import annotations

import pytest

from harness import Nginx

HTTP = """
    gcs_credentials reader { file %%%%KEY%%%%; }
    gcs_credentials nobody { file %%%%KEY_2%%%%; }
    %s
    server {
        listen 127.0.0.1:%%%%PORT%%%%;
        server_name localhost;
        gcs_endpoint %%%%EMULATOR%%%%;
        gcs_auth reader;
        root %%%%DIR%%%%/root;
        %s
    }
"""

OBJECTS = ["x.txt", "/x.txt", "a/x.txt", "p/x.txt", "p//x.txt", "p/a/x.txt",
           "p", "p/", "px.txt", "pp/x.txt", "media/x.txt", "m/x.txt",
           "/media/x.txt", "?x", "p/?x", "a b+c%20"]


@pytest.fixture
def proxy(nginx, emulator, key_file, tmp_path):
    """nginx with the given server, and two buckets full of objects.

    The account "reader" may read them, "nobody" may not.
    """
    emulator.create_bucket("other-bucket")
    account = tmp_path / "reader.json"
    account.write_text(emulator.service_account(grants={
        "test-bucket": ["objectViewer"], "other-bucket": ["objectViewer"]}))
    stranger = tmp_path / "nobody.json"
    stranger.write_text(emulator.service_account(key="stranger"))

    for bucket in ("test-bucket", "other-bucket"):
        for name in OBJECTS:
            emulator.put_object(bucket, name, f"gs://{bucket}/{name}",
                                content_type="text/plain")

    def make(server: str, http: str = "", **kw) -> Nginx:
        return nginx(HTTP % (http, server), KEY=account, KEY_2=stranger, **kw)

    return make


@pytest.fixture
def refuses(nginx, emulator, key_file):
    """Asserts that nginx -t fails, and why."""
    def check(server: str, *reasons: str, http: str = "", auth="reader"):
        text = HTTP % (http, server)
        if auth is None:
            text = text.replace("gcs_auth reader;", "")
        tested = nginx(text, start=False, KEY_2=key_file).test()
        assert tested.returncode == 1, tested.stderr
        assert "[emerg]" in tested.stderr
        for reason in reasons:
            assert reason in tested.stderr
        return tested.stderr

    return check


def targets(emulator) -> list[str]:
    seen = [request["target"] for request in emulator.requests("storage")]
    emulator.reset_requests()
    return seen


# where the rest of the path goes


@pytest.mark.parametrize("location, url, request_path, name", [
    # the smallest configuration, with and without slashes
    ("/media/", "gs://test-bucket", "/media/x.txt", "x.txt"),
    ("/media/", "gs://test-bucket/", "/media/x.txt", "x.txt"),
    ("/media/", "gs://test-bucket/", "/media/a/x.txt", "a/x.txt"),
    ("/media", "gs://test-bucket", "/media/x.txt", "x.txt"),
    ("/media", "gs://test-bucket/", "/media/x.txt", "x.txt"),
    ("/media", "gs://test-bucket/", "/media//x.txt", "/x.txt"),
    ("/", "gs://test-bucket", "/x.txt", "x.txt"),
    ("/", "gs://test-bucket/", "//x.txt", "/x.txt"),
    ("^~ /media/", "gs://test-bucket", "/media/x.txt", "x.txt"),
    # "p" and "p/" mean the same folder
    ("/media/", "gs://test-bucket/p", "/media/x.txt", "p/x.txt"),
    ("/media/", "gs://test-bucket/p/", "/media/x.txt", "p/x.txt"),
    ("/media/", "gs://test-bucket/p/", "/media//x.txt", "p//x.txt"),
    ("/media/", "gs://test-bucket/p/a", "/media/x.txt", "p/a/x.txt"),
    ("/media", "gs://test-bucket/p", "/media/x.txt", "p/x.txt"),
    ("/media", "gs://test-bucket/p/", "/media/x.txt", "p/x.txt"),
    ("/media", "gs://test-bucket/p/", "/media/a/x.txt", "p/a/x.txt"),
    ("/", "gs://test-bucket/p", "/x.txt", "p/x.txt"),
    # a prefix is text: it is neither decoded nor merged
    ("/media/", "gs://test-bucket//", "/media/x.txt", "/x.txt"),
    ("/media/", '"gs://test-bucket/a b+c%20"', "/media/x", "a b+c%20/x"),
    ("/media/", '"gs://test-bucket/?"', "/media/x", "?/x"),
    # a regular expression or a name replaces nothing
    ("~ ^/media/", "gs://test-bucket", "/media/x.txt", "media/x.txt"),
    ("~ ^/media/", "gs://test-bucket/p", "/media/x.txt", "p/media/x.txt"),
    ("~* ^/MEDIA/", "gs://test-bucket", "/media/x.txt", "media/x.txt"),
    (r"~ \.txt$", "gs://test-bucket/", "/a//x.txt", "a//x.txt"),
    ("~ ^/m(?<rest>.*)$", "gs://test-bucket", "//m/x.txt", "/m/x.txt"),
    # an exact location leaves nothing: the prefix is the object
    ("= /logo", "gs://test-bucket/p/x.txt", "/logo", "p/x.txt"),
    ("= /logo", "gs://test-bucket/p/x.txt", "/l%6Fgo?a=b", "p/x.txt"),
    ("= /logo/", "gs://test-bucket/x.txt", "/logo/", "x.txt"),
    ("= /", "gs://test-bucket/x.txt", "/", "x.txt"),
    ("= /logo", "gs://test-bucket//x.txt", "/logo", "/x.txt"),
])
def test_the_part_that_matched_is_replaced_by_the_prefix(
        proxy, emulator, location, url, request_path, name):
    server = proxy(f"location {location} {{ gcs_pass {url}; }}")
    answer = server.get(request_path)
    escaped = name.replace("%", "%25").replace(" ", "%20") \
        .replace("+", "%2B").replace("?", "%3F")
    assert targets(emulator) == ["/test-bucket/" + escaped]
    if name in OBJECTS:
        assert answer.status == 200
        assert answer.text == "gs://test-bucket/" + name
    else:
        assert answer.status == 404


def test_nested_locations_have_prefixes_of_their_own(proxy, emulator):
    server = proxy("""
        location /media/ {
            gcs_pass gs://test-bucket;
            location /media/p/ { gcs_pass gs://other-bucket/a; }
            location /media/none/ { }
            location ~ ^/media/(.*)\\.old$ { gcs_pass gs://other-bucket; }
        }
    """)
    for path in ("x.txt", "p/x.txt", "y.old"):
        server.get("/media/" + path)
    # gcs_pass, like proxy_pass, is not inherited
    assert server.get("/media/none/x.txt").status == 404
    assert targets(emulator) == ["/test-bucket/x.txt",
                                 "/other-bucket/a/x.txt",
                                 "/other-bucket/media/y.old"]


def test_a_location_without_its_slash_is_redirected_as_nginx_does(
        proxy, emulator):
    server = proxy("location /media/ { gcs_pass gs://test-bucket; }")
    answer = server.get("/media?a=b")
    assert answer.status == 301
    assert answer.get("Location") \
        == f"http://127.0.0.1:{server.port}/media/?a=b"
    assert targets(emulator) == []


def test_conditions_inside_a_location_keep_its_address(proxy, emulator):
    server = proxy("""
        location /media/ {
            gcs_pass gs://test-bucket/p;
            if ($arg_x) { set $y 1; }
            limit_except GET { deny all; }
        }
    """)
    for path in ("/media/x.txt", "/media/x.txt?x=1"):
        assert server.get(path).text == "gs://test-bucket/p/x.txt"
    assert server.head("/media/x.txt?x=1").status == 200
    assert targets(emulator) == 3 * ["/test-bucket/p/x.txt"]


@pytest.mark.parametrize("location, url, path", [
    ("/media/", "gs://test-bucket", "/media/"),
    ("/media/", "gs://test-bucket/p", "/media/"),
    ("/media/", "gs://test-bucket/p/", "/media/?prefix=p"),
    ("/media", "gs://test-bucket", "/media"),
    ("/media", "gs://test-bucket/p", "/media"),
    ("/media", "gs://test-bucket/p", "/media/"),
    ("/", "gs://test-bucket", "/"),
    ("= /logo", "gs://test-bucket", "/logo"),
    ("= /logo", "gs://test-bucket/", "/logo"),
    ("~ /", "gs://test-bucket", "/"),
])
def test_no_name_is_404_and_never_a_request_for_the_bucket(
        proxy, emulator, location, url, path):
    server = proxy(f"location {location} {{ gcs_pass {url}; }}")
    for method in ("GET", "HEAD"):
        answer = server.request(method, path)
        assert answer.status == 404
    assert b"nginx" in server.get(path).body
    assert emulator.requests("storage") == []


# after nginx has changed the URI


def test_after_a_rewrite_the_new_uri_counts(proxy, emulator):
    server = proxy("""
        location /media/ { gcs_pass gs://test-bucket; }
        location /old/ { rewrite ^/old/(.*)$ /media/$1 last; }
        location /set/ { rewrite ^ /media/$arg_name last; }
        rewrite ^/server/(.*)$ /media/$1;
        location /query/ { rewrite ^/query/(.*)$ /media/$1?added=1 last; }
    """)
    cases = {
        "/old/x.txt": "x.txt", "/old/a/x.txt?q": "a/x.txt",
        "/old//x.txt": "x.txt",            # what nginx has made of it
        "/old/a%20b%2Bc%2520": "a%20b%2Bc%2520",
        "/old/%3Fx": "%3Fx",               # a question mark in a name
        "/server/x.txt": "x.txt", "/server/%E3%81%82": "%E3%81%82",
        "/query/x.txt": "x.txt",
        "/set/?name=a%20b": "a%2520b",     # an argument is not decoded
    }
    seen = {}
    for path in cases:
        server.get(path)
        seen[path] = "".join(targets(emulator))
    assert seen == {path: "/test-bucket/" + name
                    for path, name in cases.items()}


def test_a_rewrite_that_stays_in_the_location_counts_too(proxy, emulator):
    server = proxy("""
        location /media/ {
            rewrite ^/media/v\\d+/(.*)$ /media/$1 break;
            gcs_pass gs://test-bucket/p;
        }
        location /exact { rewrite ^ /file; }
        location = /file { gcs_pass gs://test-bucket/a/x.txt; }
    """)
    assert server.get("/media/v1/x.txt").text == "gs://test-bucket/p/x.txt"
    assert server.get("/media//v12/x.txt").text == "gs://test-bucket/p/x.txt"
    assert server.get("/media/x.txt").text == "gs://test-bucket/p/x.txt"
    assert server.get("/exact/%3F//?y").text == "gs://test-bucket/a/x.txt"


def test_a_rewrite_out_of_the_location_is_refused(proxy, emulator):
    server = proxy("""
        location /media/ {
            rewrite ^/media/(.*)$ /$1 break;
            gcs_pass gs://test-bucket/p;
        }
        location ~ ^/regex/ {
            rewrite ^/regex/(.*)$ /$1 break;
            gcs_pass gs://test-bucket/p;
        }
    """)
    assert server.get("/media/x.txt").status == 400
    assert targets(emulator) == []
    # here nothing has to match: "the whole URI path"
    assert server.get("/regex/x.txt").text == "gs://test-bucket/p/x.txt"


def test_what_a_rewrite_makes_is_checked_as_a_name(proxy, emulator):
    server = proxy("""
        location /media/ { gcs_pass gs://test-bucket; }
        location /old/ { rewrite (?s)^/old/(.*)$ /media/$1 last; }
    """)
    for path in ("%ff", "a%0ab", "a%0a", "a%0d%0aX:y", "n" * 1025, "%c0%ae/x"):
        assert server.get("/old/" + path).status == 400, path
    assert server.get("/old/").status == 404
    assert targets(emulator) == []


def test_try_files_falls_back_to_a_named_location(proxy, emulator, tmp_path):
    root = tmp_path / "nginx" / "root"
    root.mkdir(parents=True)
    (root / "local.txt").write_text("on disk")
    server = proxy("""
        location / { try_files $uri @gcs; }
        location @gcs { gcs_pass gs://test-bucket; }
    """)
    assert server.get("/local.txt").text == "on disk"
    assert targets(emulator) == []
    for path, name in (("/x.txt", "x.txt"), ("/a/x.txt?q=1", "a/x.txt"),
                       ("/%3Fx", "%3Fx"), ("//x.txt", "x.txt"),
                       ("/a%20b+c%2520", "a%20b%2Bc%2520")):
        assert server.get(path).status == 200, path
        assert targets(emulator) == ["/test-bucket/" + name]


def test_a_named_location_may_add_a_prefix(proxy, emulator):
    server = proxy("""
        location /media/ { error_page 418 = @gcs; return 418; }
        location @gcs { gcs_pass gs://test-bucket/p; }
    """)
    server.get("/media/x.txt")
    assert targets(emulator) == ["/test-bucket/p/media/x.txt"]


def test_try_files_may_name_another_uri(proxy, emulator):
    server = proxy("""
        location /media/ { gcs_pass gs://test-bucket; }
        location /find/ { try_files /none /media/x.txt?args; }
    """)
    assert server.get("/find/a//b?c").text == "gs://test-bucket/x.txt"
    assert targets(emulator) == ["/test-bucket/x.txt"]


def test_an_error_page_may_be_an_object(proxy, emulator):
    server = proxy("""
        location /media/ {
            gcs_pass gs://test-bucket;
            error_page 404 /pages/x.txt;
        }
        location /pages/ { internal; gcs_pass gs://other-bucket/p/; }
    """)
    answer = server.get("/media/missing//%3F?x")
    assert answer.status == 404
    assert answer.text == "gs://other-bucket/p/x.txt"
    assert targets(emulator) == ["/test-bucket/missing//%3F",
                                 "/other-bucket/p/x.txt"]
    assert server.get("/pages/x.txt").status == 404
    assert targets(emulator) == []


def test_a_second_bucket_may_stand_in_for_a_missing_object(proxy, emulator):
    emulator.put_object("other-bucket", "only//here?", b"found",
                        content_type="text/plain")
    emulator.put_object("other-bucket", "only/here?", b"found merged",
                        content_type="text/plain")
    server = proxy("""
        location / {
            gcs_pass gs://test-bucket;
            error_page 404 = @second;
        }
        location @second { gcs_pass gs://other-bucket; }
    """)
    # after a redirect it is $uri, in which slashes are merged
    answer = server.get("/only//here%3F")
    assert (answer.status, answer.text) == (200, "found merged")
    assert targets(emulator) == ["/test-bucket/only//here%3F",
                                 "/other-bucket/only/here%3F"]


def test_an_application_may_send_a_request_here(proxy, emulator):
    server = proxy("""
        location /protected/ { internal; gcs_pass gs://test-bucket; }
        location /app/ {
            proxy_pass http://127.0.0.1:%%PORT_APP%%;
        }
    """, http="""
        server {
            listen 127.0.0.1:%%PORT_APP%%;
            add_header X-Accel-Redirect $arg_to;
            location / { return 200; }
        }
    """)
    for to, name in (("/protected/x.txt", "x.txt"),
                     ("/protected/a%2520b", "a%2520b"),
                     ("/protected/%3Fx", "%3Fx"),
                     ("/protected/x.txt?y", "x.txt")):
        assert server.get("/app/?to=" + to).status in (200, 404)
        assert targets(emulator) == ["/test-bucket/" + name], to
    assert server.get("/protected/x.txt").status == 404
    assert server.get("/app/?to=/protected/../x.txt").status == 404
    assert targets(emulator) == []


def test_subrequests_mean_what_their_uri_says(proxy, emulator):
    emulator.put_object(
        "test-bucket", "page.shtml",
        '[<!--#include virtual="/media/a%20b+c%2520?q=1" -->'
        '|<!--#include virtual="/media/%3Fx" -->'
        '|<!--#include virtual="/media/missing" -->]',
        content_type="text/html")
    server = proxy("""
        location /media/ { gcs_pass gs://test-bucket; ssi on; }
    """)
    answer = server.get("/media/page.shtml?//&/../")
    assert answer.status == 200
    assert "[gs://test-bucket/a b+c%20|gs://test-bucket/?x|" in answer.text
    assert targets(emulator)[0] == "/test-bucket/page.shtml"


def test_a_mirror_and_an_auth_request_ask_for_their_own_object(
        proxy, emulator):
    server = proxy("""
        location /media/ {
            auth_request /check/x.txt;
            gcs_pass gs://test-bucket;
        }
        location /check/ { internal; gcs_pass gs://other-bucket/p/; }
    """)
    assert server.get("/media//x.txt?a").text == "gs://test-bucket//x.txt"
    assert targets(emulator) == ["/other-bucket/p/x.txt",
                                 "/test-bucket//x.txt"]


# variables


VARIABLE = r"""
    location ~ (?s)^/b/([^/]+)/(.*)\z {
        gcs_pass gs://$1/$2;
        gcs_buckets test-bucket other-bucket/p;
    }
"""


@pytest.mark.parametrize("path, status, name", [
    ("/b/test-bucket/x.txt", 200, "/test-bucket/x.txt"),
    ("/b/test-bucket/x.txt?a=b", 200, "/test-bucket/x.txt"),
    ("/b/test-bucket/%3Fx", 200, "/test-bucket/%3Fx"),
    ("/b/test-bucket/a%20b+c%2520", 200, "/test-bucket/a%20b%2Bc%2520"),
    ("/b/other-bucket/p/x.txt", 200, "/other-bucket/p/x.txt"),
    ("/b/other-bucket/p/a/x.txt", 200, "/other-bucket/p/a/x.txt"),
    # not on the list
    ("/b/other-bucket/x.txt", 403, None),
    ("/b/other-bucket/px.txt", 403, None),
    ("/b/other-bucket/pp/x.txt", 403, None),
    ("/b/other-bucket/p", 403, None),
    ("/b/other-bucket/P/x.txt", 403, None),
    ("/b/third-bucket/x.txt", 403, None),
    ("/b/test-bucket2/x.txt", 403, None),
    ("/b/test-bucke/x.txt", 403, None),
    ("/b/test_bucket/x.txt", 403, None),
    ("/b/third-bucket/", 403, None),
    # no bucket at all
    ("/b/TEST-BUCKET/x.txt", 400, None),
    ("/b/te/x.txt", 400, None),
    ("/b/-test/x.txt", 400, None),
    ("/b/test%20bucket/x.txt", 400, None),
    ("/b/test-bucket%3Facl/x.txt", 400, None),
    ("/b/test-bucket%0d%0aX:y/x.txt", 400, None),
    ("/b/" + "b" * 223 + "/x.txt", 400, None),
    # no name
    ("/b/test-bucket/", 404, None),
    ("/b/test-bucket/?prefix=x", 404, None),
    ("/b/test-bucket/%ff", 400, None),
    ("/b/test-bucket/a%0ab", 400, None),
    ("/b/test-bucket/" + "n" * 1025, 400, None),
])
def test_variables_name_bucket_and_object(proxy, emulator, path, status,
                                          name):
    server = proxy(VARIABLE)
    answer = server.get(path)
    assert answer.status == status
    assert targets(emulator) == ([name] if name else [])
    if status != 200:
        assert b"gs://" not in answer.body


@pytest.mark.parametrize("value, status, target", [
    # neither escaped nor decoded again
    ("gs://test-bucket/x.txt", 200, "/test-bucket/x.txt"),
    ("gs://test-bucket/a%20b", 404, "/test-bucket/a%2520b"),
    ("gs://test-bucket//x.txt", 200, "/test-bucket//x.txt"),
    ("gs://test-bucket/p/", 200, "/test-bucket/p/"),
    ("gs://test-bucket/http://x/y", 404, "/test-bucket/http%3A//x/y"),
    ("gs://test-bucket/gs://x", 404, "/test-bucket/gs%3A//x"),
    ("gs://test-bucket/a#b;c=d:@(e)'", 404,
     "/test-bucket/a%23b%3Bc%3Dd%3A%40%28e%29%27"),
    ("gs://test-bucket", 404, None),
    ("gs://test-bucket/", 404, None),
    ("gs://test-bucket/.", 400, None),
    ("gs://test-bucket/..", 400, None),
    ("", 400, None),
    ("x", 400, None),
    ("gs:", 400, None),
    ("gs://", 400, None),
    ("gs:///x", 400, None),
    ("GS://test-bucket/x.txt", 400, None),
    ("s3://test-bucket/x.txt", 400, None),
    ("http://127.0.0.1/x", 400, None),
    ("//test-bucket/x.txt", 400, None),
    ("gs://test-bucket:80/x.txt", 400, None),
    ("gs://user@test-bucket/x.txt", 400, None),
    ("gs://test-bucket?x/x.txt", 400, None),
    ("gs://../x.txt", 400, None),
    ("gs://%74est-bucket/x.txt", 400, None),
])
def test_a_variable_is_the_whole_url_taken_raw(proxy, emulator, value, status,
                                               target):
    server = proxy("""
        location / { gcs_pass $http_x_object; gcs_buckets test-bucket; }
    """)
    answer = server.get("/any//thing?x", {"X-Object": value})
    assert (answer.status, targets(emulator)) \
        == (status, [target] if target else [])


def test_a_prefix_on_the_list_always_names_a_folder(proxy, emulator):
    server = proxy("""
        location / {
            gcs_pass gs://test-bucket/$arg_name;
            gcs_buckets other-bucket test-bucket/p test-bucket/a/;
        }
    """)
    status = {name: server.get("/?name=" + name).status for name in
              ("p/x.txt", "a/x.txt", "p/", "px.txt", "pp/x.txt", "x.txt",
               "ax", "P/x.txt", "/p/x.txt", "p", "", "other-bucket")}
    assert status == {"p/x.txt": 200, "a/x.txt": 200, "p/": 200,
                      "px.txt": 403, "pp/x.txt": 403, "x.txt": 403,
                      "ax": 403, "P/x.txt": 403, "/p/x.txt": 403, "p": 403,
                      "": 403, "other-bucket": 403}
    assert targets(emulator) == ["/test-bucket/p/x.txt",
                                 "/test-bucket/a/x.txt", "/test-bucket/p/"]


def test_dots_in_a_variable_do_not_lead_out_of_a_prefix(proxy, emulator):
    """Whoever stands before Cloud Storage might resolve them."""
    server = proxy("""
        location / {
            gcs_pass gs://test-bucket/$arg_name;
            gcs_buckets test-bucket/p;
        }
    """)
    for name in ("p/../x.txt", "p/./x.txt", "p/a/../../x.txt", "p/.."):
        assert server.get("/?name=" + name).status in (400, 403), name
    assert targets(emulator) == []


def test_a_list_also_narrows_a_written_bucket(proxy, emulator):
    server = proxy("""
        gcs_buckets test-bucket/p other-bucket;
        location /media/ { gcs_pass gs://test-bucket; }
        location /other/ { gcs_pass gs://other-bucket/a; }
        location /own/ { gcs_pass gs://test-bucket; gcs_buckets test-bucket; }
        location /never/ { gcs_pass gs://test-bucket/a; }
        location = /never { gcs_pass gs://test-bucket/x.txt; }
    """)
    assert server.get("/never/x.txt").status == 403
    assert server.get("/never").status == 403
    assert server.get("/media/p/x.txt").status == 200
    assert server.get("/media/x.txt").status == 403
    assert server.get("/media//p/x.txt").status == 403
    assert server.get("/other/x.txt").status == 200
    assert server.get("/own/x.txt").status == 200
    assert targets(emulator) == ["/test-bucket/p/x.txt",
                                 "/other-bucket/a/x.txt",
                                 "/test-bucket/x.txt"]


def test_a_map_chooses_the_bucket_by_host(proxy, emulator):
    server = proxy("""
        location / {
            gcs_pass gs://$site$uri;
            gcs_buckets test-bucket other-bucket;
        }
    """, http="""
        map $host $site {
            default "";
            one.example test-bucket;
            two.example other-bucket/p;
        }
    """)
    assert server.get("/x.txt", {"Host": "one.example"}).text \
        == "gs://test-bucket/x.txt"
    assert server.get("/x.txt", {"Host": "two.example"}).text \
        == "gs://other-bucket/p/x.txt"
    assert server.get("/x.txt", {"Host": "three.example"}).status == 400


def test_a_value_is_found_anew_after_a_redirect(proxy, emulator):
    """Seen: a cached address fetched the wrong object."""
    server = proxy("""
        recursive_error_pages on;
        location /one { set $name x.txt; try_files /none /two; }
        location /two { set $name a/$name; error_page 418 = @three;
                        return 418; }
        location @three { gcs_pass gs://test-bucket/$name;
                          gcs_buckets test-bucket; error_page 404 = @four; }
        location @four { set $name p/x.txt;
                         gcs_pass gs://other-bucket/$name;
                         gcs_buckets other-bucket;
                         add_header X-Address $gcs_bucket/$gcs_object; }
    """)
    emulator.delete_object("test-bucket", "a/x.txt")
    answer = server.get("/one")
    assert answer.text == "gs://other-bucket/p/x.txt"
    assert answer.get("X-Address") == "other-bucket/p/x.txt"
    assert targets(emulator) == ["/test-bucket/a/x.txt",
                                 "/other-bucket/p/x.txt"]


def test_an_auth_request_may_tell_object_and_identity(proxy, emulator):
    """Variables of the access phase are there in time."""
    server = proxy("""
        location /files/ {
            auth_request /auth;
            auth_request_set $file $upstream_http_x_file;
            auth_request_set $who $upstream_http_x_who;
            gcs_pass gs://test-bucket/$file;
            gcs_buckets test-bucket;
            gcs_auth $who;
        }
        location = /auth {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_APP%%$request_uri;
        }
    """, http="""
        server {
            listen 127.0.0.1:%%PORT_APP%%;
            location /files/good { add_header X-File "a b+c%20";
                                   add_header X-Who reader; return 204; }
            location /files/poor { add_header X-File x.txt;
                                   add_header X-Who nobody; return 204; }
            location / { add_header X-File x.txt; return 403; }
        }
    """)
    assert server.get("/files/good").text == "gs://test-bucket/a b+c%20"
    assert targets(emulator) == ["/test-bucket/a%20b%2Bc%2520"]
    assert server.get("/files/poor").status == 403
    assert targets(emulator) == ["/test-bucket/x.txt"]
    assert server.get("/files/other").status == 403
    assert targets(emulator) == []


def test_each_keeps_its_own_address_while_all_wait_for_a_token(proxy,
                                                               emulator):
    emulator.fault(kind="token", delay=0.3, count=2)
    server = proxy(VARIABLE + "location /m/ { gcs_pass gs://test-bucket; }")
    asked = {"/b/test-bucket/x.txt": "gs://test-bucket/x.txt",
             "/b/other-bucket/p/x.txt": "gs://other-bucket/p/x.txt",
             "/b/test-bucket/a/x.txt": "gs://test-bucket/a/x.txt",
             "/m//x.txt": "gs://test-bucket//x.txt",
             "/m/%3Fx": "gs://test-bucket/?x"}
    connections = {}
    for path in asked:
        connections[path] = server.connect()
        connections[path].send(f"GET {path} HTTP/1.1\r\n"
                               "Host: a\r\n\r\n".encode())
    assert {path: connection.response().text
            for path, connection in connections.items()} == asked


# how it is refused


@pytest.mark.parametrize("path, status, error, level", [
    ("/media/./x", 400, "invalid_path", "info"),
    ("/media/%ff", 400, "invalid_object_name", "info"),
    ("/media/", 404, "no_object_name", "info"),
    ("/listed/x.txt", 403, "bucket_not_allowed", "error"),
    ("/url/?u=http://x", 400, "invalid_object_url", "info"),
])
def test_a_refusal_has_nginx_own_page_a_reason_and_one_line(
        proxy, emulator, path, status, error, level):
    server = proxy("""
        add_header X-Error $gcs_error always;
        location /media/ { gcs_pass gs://test-bucket; }
        location /listed/ { gcs_pass gs://test-bucket;
                            gcs_buckets test-bucket/p; }
        location /url/ { gcs_pass $arg_u; gcs_buckets test-bucket; }
    """)
    answer = server.get(path)
    assert answer.status == status
    assert answer.get("Content-Type") == "text/html"
    assert str(status).encode() in answer.body
    assert answer.get("X-Error") == error
    assert emulator.requests("storage") == []
    lines = [line for line in server.log().splitlines()
             if "gcs refused" in line]
    assert len(lines) == 1
    assert f"[{level}]" in lines[0]


@pytest.mark.parametrize("status, path", [
    (400, "/media/%ff"), (404, "/media/"), (403, "/listed/x.txt"),
    (404, "/media/missing")])
def test_an_error_page_takes_the_place_of_a_refusal(proxy, emulator, status,
                                                    path):
    server = proxy(f"""
        error_page {status} = /sorry;
        location = /sorry {{ return 200 "sorry $gcs_error"; }}
        location /media/ {{ gcs_pass gs://test-bucket; }}
        location /listed/ {{ gcs_pass gs://test-bucket;
                            gcs_buckets test-bucket/p; }}
    """)
    answer = server.get(path)
    assert answer.status == 200
    assert answer.text.startswith("sorry ")
    assert answer.text != "sorry "


def test_a_refusal_keeps_the_clients_connection(proxy, emulator):
    server = proxy("""
        location /media/ { gcs_pass gs://test-bucket; }
        location /listed/ { gcs_pass gs://test-bucket;
                            gcs_buckets test-bucket/p; }
    """)
    connection = server.connect()
    for _ in range(3):
        assert connection.get("/media/").status == 404
        assert connection.get("/listed/x.txt").status == 403
        assert connection.get("/media/x.txt").status == 200
    # after a 400 nginx closes, whoever has answered it
    assert connection.get("/media/%ff").status == 400
    assert connection.closed_by_peer()


# identities by variable


def test_a_variable_chooses_the_identity(proxy, emulator):
    emulator.create_bucket("public-bucket", public=True)
    emulator.put_object("public-bucket", "x.txt", b"public")
    server = proxy("""
        location ~ ^/([^/]+)/(.*)$ {
            gcs_pass gs://$1/$2;
            gcs_buckets test-bucket other-bucket public-bucket;
            gcs_auth $who;
            add_header X-Who $gcs_credentials always;
        }
    """, http="""
        map $gcs_bucket $who {
            default        reader;
            other-bucket   nobody;
            public-bucket  anonymous;
        }
    """)
    who = {}
    for bucket in ("test-bucket", "other-bucket", "public-bucket"):
        answer = server.get(f"/{bucket}/x.txt")
        [request] = emulator.requests("storage")
        emulator.reset_requests()
        who[bucket] = (answer.status, answer.get("X-Who"),
                       request["credential"])
    assert {bucket: values[:2] for bucket, values in who.items()} == {
        "test-bucket": (200, "reader"), "other-bucket": (403, "nobody"),
        "public-bucket": (200, "anonymous")}
    assert who["public-bucket"][2] in (None, "anonymous")
    assert len({values[2] for values in who.values()}) >= 2


@pytest.mark.parametrize("name", ["mallory", "", "READER", "reader ", "../x",
                                  "default", "reade", "readers"])
def test_only_declared_identities_match_a_variable(proxy, emulator, name):
    server = proxy("""
        location /media/ { gcs_pass gs://test-bucket; gcs_auth $who; }
    """, http=f'map $host $who {{ default "{name}"; }}')
    assert server.get("/media/x.txt").status == 500
    assert emulator.requests("storage") == []
    assert f'yields "{name}"' in server.log()


# configurations


@pytest.mark.parametrize("server, reasons", [
    ("location / { gcs_pass http://test-bucket/; }",
     ['"http://test-bucket/"', '"gs://BUCKET[/PREFIX]"']),
    ("location / { gcs_pass test-bucket; }", ['"test-bucket"']),
    ("location / { gcs_pass GS://test-bucket; }", ['"GS://test-bucket"']),
    ("location / { gcs_pass gs://; }", ["no bucket"]),
    ("location / { gcs_pass gs:///x; }", ["no bucket"]),
    ("location / { gcs_pass gs://Test-Bucket; }", ["invalid bucket name"]),
    ("location / { gcs_pass gs://te/x; }", ["invalid bucket name"]),
    ("location / { gcs_pass gs://test-bucket:443/; }",
     ["invalid bucket name"]),
    ("location / { gcs_pass gs://test-bucket?x; }", ["invalid bucket name"]),
    ('location / { gcs_pass "gs://test-bucket/a\\nb"; }', ["CR or LF"]),
    ("location / { gcs_pass gs://test-bucket/..; }", ["dot segment"]),
    ("location / { gcs_pass gs://test-bucket/a/../b; }", ["segment"]),
    ("location / { gcs_pass gs://test-bucket/./b/; }", ["segment"]),
    ("location / { gcs_pass; }", ['"gcs_pass"', "number of arguments"]),
    ("location / { gcs_pass gs://test-bucket x; }",
     ['"gcs_pass"', "number of arguments"]),
    ("location / { gcs_pass gs://test-bucket; gcs_pass gs://test-bucket; }",
     ['"gcs_pass" directive is duplicate']),
    ("location / { gcs_pass gs://test-bucket; gcs_pass $host; }",
     ['"gcs_pass" directive is duplicate']),
    ("gcs_pass gs://test-bucket;", ['"gcs_pass"', "not allowed here"]),
    ("if ($host) { gcs_pass gs://test-bucket; }",
     ['"gcs_pass"', "not allowed here"]),
    ("location / { if ($host) { gcs_pass gs://test-bucket; } }",
     ['"gcs_pass"', "not allowed here"]),
    ("location / { limit_except GET { gcs_pass gs://test-bucket; } }",
     ['"gcs_pass"', "not allowed here"]),
    ("location / { gcs_pass gs://test-bucket;"
     " proxy_pass http://127.0.0.1:1; }",
     ['"gcs_pass"', '"proxy_pass"']),
    ("location / { proxy_pass http://127.0.0.1:1;"
     " gcs_pass gs://test-bucket; }",
     ['"gcs_pass"', '"proxy_pass"']),
    ("location / { gcs_pass gs://$host/x; }", ['"gcs_buckets"']),
    ("location / { gcs_pass gs://test-bucket/$host; }", ['"gcs_buckets"']),
    ("location / { gcs_pass gs://test-bucket;"
     " gcs_buckets other-bucket; }", ['"test-bucket"', '"gcs_buckets"']),
    ("gcs_buckets other-bucket test-bucke;"
     "location / { gcs_pass gs://test-bucket; }",
     ['"test-bucket"', '"gcs_buckets"']),
    ("gcs_buckets gs://test-bucket;", ['"gs://test-bucket"']),
    ("gcs_buckets TEST;", ['invalid bucket "TEST"']),
    ("gcs_buckets test-bucket; gcs_buckets other-bucket;", ["duplicate"]),
    ("gcs_buckets;", ['"gcs_buckets"', "number of arguments"]),
    ("location / { gcs_pass gs://test-bucket; gcs_auth mallory; }",
     ['"mallory"', '"gcs_credentials"']),
    ("location / { gcs_auth reader; gcs_auth nobody;"
     " gcs_pass gs://test-bucket; }", ['"gcs_auth" directive is duplicate']),
    ("location / { gcs_object gs://a-bucket/x; gcs_object gs://b-bucket/x; }",
     ['"gcs_object" directive is duplicate']),
    ("location / { gcs_object test-bucket/x; }",
     ['"gcs_object"', "gs://"]),
    ("location / { gcs_object gs://Test/x; }", ['"gcs_object"']),
    ("location / { gcs_object gs://test-bucket/; }",
     ['"gs://test-bucket/" in "gcs_object"', "no object is named"]),
    ("location / { gcs_object gs://test-bucket; }", ["no object is named"]),
    ("location / { gcs_pass gs://test-bucket; gcs_user_project a;"
     " gcs_user_project b; }", ['"gcs_user_project" directive is duplicate']),
    ("location / { gcs_pass gs://test-bucket; proxy_cache_key a;"
     " proxy_cache_key b; }", ['"proxy_cache_key" directive is duplicate']),
])
def test_a_configuration_without_sense_is_refused_by_name_and_line(
        refuses, server, reasons):
    said = refuses(server, *reasons)
    assert "nginx.conf:" in said


def test_a_name_that_is_too_long_is_refused_in_the_configuration(refuses):
    refuses("location / { gcs_pass gs://test-bucket/%s; }" % ("n" * 1025),
            '"gs://test-bucket/nnn')


def test_variables_must_exist(refuses):
    refuses("location / { gcs_pass gs://test-bucket/$no_such_variable;"
            " gcs_buckets test-bucket; }",
            'unknown "no_such_variable" variable')


@pytest.mark.parametrize("line", [
    'gcs_pass "gs://test-bucket/${a";', 'gcs_object "gs://a-bucket/${a";',
    'gcs_auth "${a";', 'gcs_set_header x-goog-a "${a";',
    'gcs_user_project "${a";', 'proxy_cache_key "${a";'])
def test_a_variable_that_is_spelt_wrong_is_told_at_its_line(refuses, line):
    said = refuses("location /a/ { gcs_pass gs://test-bucket; }"
                   "location /b/ {\n%s\n}" % line,
                   'closing bracket in "a" variable is missing')
    assert said.count("[emerg]") == 1 and "nginx.conf:" in said


def test_the_line_of_a_fault_found_late_is_that_of_gcs_pass(
        refuses, tmp_path):
    said = refuses("""
        location / {

            gcs_buckets other-bucket;
            gcs_pass gs://test-bucket;

        }
    """)
    conf = tmp_path / "nginx" / "nginx.conf"
    [line] = [number for number, text in enumerate(
        conf.read_text().splitlines(), 1) if "gcs_pass" in text]
    assert f" in {conf}:{line}\n" in said


def test_what_sounds_odd_but_makes_sense_is_accepted(nginx, emulator,
                                                     key_file):
    tested = nginx(HTTP % ("gcs_buckets test-bucket a.b-c_d/x;", """
        location = /a { gcs_pass gs://test-bucket/x; }
        location /b/ { gcs_pass "gs://test-bucket/a b/"; }
        location @c { gcs_pass gs://a.b-c_d/x; }
        location ~ /d { gcs_pass gs://test-bucket; }
        location /e { gcs_pass gs://$host; }
        location /f { gcs_pass $arg_url; gcs_auth anonymous; }
        location /g { gcs_pass gs://test-bucket; gcs_auth $arg_who; }
        location /h { gcs_object gs://$host/x; gcs_auth reader; }
        gcs_object gs://test-bucket/x;
    """), start=False, KEY_2=key_file).test()
    assert tested.returncode == 0, tested.stderr

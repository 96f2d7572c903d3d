"""Takeover: what may be configured, what is refused, what counts as GCS."""

from __future__ import annotations

import json

import pytest

from harness.studio import redirect
from harness.takeover import BODY, MODES, configuration, gcs

pytest_plugins = ["harness.studio_plugin"]

BARE = """
    gcs_credentials reader {{ file %%KEY%%; }}
    {http}
    server {{
        listen       127.0.0.1:%%PORT%%;
        gcs_endpoint %%EMULATOR%%;
        {server}
    }}
"""
PASS = "proxy_pass http://127.0.0.1:9;"
SIGNED = """location @gcs {
    gcs_pass $gcs_takeover_url; gcs_auth signature; %s }"""
NAMED = """location @gcs {
    gcs_pass $gcs_takeover_url; gcs_auth reader; gcs_buckets test-bucket; %s }
"""
APP = "location /app/ { " + PASS + " gcs_takeover @gcs; %s }"
GOOD = APP % "" + SIGNED % ""
CACHE = "zone=z:1m"


def check(nginx, server: str, http: str = ""):
    return nginx(BARE.format(http=http, server=server), start=False)


ACCEPTED = {
    "signature": GOOD, "identity": APP % "" + NAMED % "",
    "order": SIGNED % "" + APP % "",
    "oracle": f"location /app/ {{ {PASS} gcs_takeover @gcs $gcs_fileuri; }}"
              + NAMED % "",
    "oracle of text": f"location /app/ {{ {PASS} gcs_takeover @gcs "
                      "gs://test-bucket$uri; }" + NAMED % "",
    "regex": GOOD.replace("/app/", r"~ ^/(tasks|projects)/\d+/resolve/?$"),
    "exact": GOOD.replace("/app/", "= /app"), "HTTPS": GOOD.replace(
        "http:", "https:"),
    "buckets and signature": APP % "" + SIGNED % "gcs_buckets a-b c-d/e;",
    "hosts": "gcs_takeover_hosts a.example *.b.example:8 c.example=test-bucket"
             " 127.0.0.1:9 [::1]:9;" + GOOD,
    "cache": f"gcs_takeover_cache {CACHE};" + GOOD,
    "cache with all": f"gcs_takeover_cache {CACHE} valid=60s "
                      "key=$http_cookie$request_uri;" + GOOD,
    "cache off": "gcs_takeover_cache off;" + GOOD,
    "shared zone": f"gcs_takeover_cache {CACHE};" + GOOD
                   + f"location /b/ {{ {PASS} gcs_takeover @gcs; "
                   "gcs_takeover_cache zone=z:1m valid=1s; }",
    "cache in no takeover": f"gcs_takeover_cache {CACHE};",
    "unsigned": APP % "gcs_takeover_unsigned on;" + NAMED % "",
    "sandbox off": APP % "" + SIGNED % "gcs_sandbox off; gcs_nosniff off;",
    "one name in two servers": GOOD, "proxy_cache inherited by the proxy":
        APP % "" + SIGNED % "proxy_cache off;",
    "cache of objects": APP % "" + NAMED % "proxy_cache c;",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_it_is_accepted(nginx, emulator, key_file, name):
    http = "proxy_cache_path %%DIR%%/c keys_zone=c:1m;"
    if name == "one name in two servers":
        http += f"server {{ listen 127.0.0.1:%%PORT_2%%; {GOOD} " \
            "gcs_endpoint %%EMULATOR%%; }"
    tested = check(nginx, ACCEPTED[name], http).test()
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr


# what is written; and what the refusal names beside file and line
REFUSED = {
    "no arguments": (GOOD.replace("@gcs;", ";", 1), ["number of arguments"]),
    "no @": (GOOD.replace("@gcs;", "gcs;", 1), ['"gcs"', "@NAME"]),
    "bare @": (GOOD.replace("@gcs;", "@;", 1), ['"@"']),
    "variable": (GOOD.replace("@gcs;", "$x;", 1), ['"$x"']),
    "three": (GOOD.replace("@gcs;", "@gcs a b;", 1), ["arguments"]),
    "twice": (APP % "gcs_takeover @gcs;" + SIGNED % "", ["is duplicate"]),
    "no proxy_pass": ("location / { gcs_takeover @gcs; }" + SIGNED % "",
                      ['"gcs_takeover"', "proxy_pass"]),
    "only in an if": ("location / { gcs_takeover @gcs; if ($arg_a) { "
                      f"{PASS} }} }}" + SIGNED % "", ["proxy_pass"]),
    "beside gcs_pass": ("location / { gcs_pass gs://test-bucket; gcs_auth "
                        "reader; gcs_takeover @gcs; }" + SIGNED % "",
                        ["gcs_pass"]),
    "beside fastcgi_pass": ("location / { fastcgi_pass 127.0.0.1:9; "
                            "gcs_takeover @gcs; }" + SIGNED % "",
                            ["proxy_pass"]),
    "beside return": ("location / { return 204; gcs_takeover @gcs; }"
                      + SIGNED % "", ["proxy_pass"]),
    "in the server": ("gcs_takeover @gcs;" + GOOD, ["not allowed here"]),
    "no such location": (APP % "", ['"@gcs"', "there is no"]),
    "of another server": (
        (APP % "").replace("@gcs", "@other"), ['"@other"']),
    "without gcs_pass": (APP % "" + f"location @gcs {{ {PASS} }}",
                         ['"@gcs"', "gcs_pass"]),
    "to itself": (f"location @gcs {{ {PASS} gcs_takeover @gcs; }}",
                  ["gcs_pass"]),
    "a fixed gcs_pass": (APP % "" + "location @gcs { gcs_pass "
                         "gs://test-bucket/; gcs_auth reader; }",
                         ["gcs_takeover_url"]),
    "more than that": (APP % "" + (NAMED % "").replace("_url;", "_url.bak;"),
                       ["gcs_takeover_url"]),
    "another variable": (APP % "" + (NAMED % "").replace(
        "$gcs_takeover_url", "gs://test-bucket/$arg_x"),
        ["gcs_takeover_url"]),
    "method": (APP % "proxy_method GET;" + SIGNED % "", ["proxy_method"]),
    "cache": (APP % "proxy_cache c;" + SIGNED % "", ["proxy_cache"]),
    "no gcs_buckets": (APP % "" + "location @gcs { gcs_pass "
                       "$gcs_takeover_url; gcs_auth reader; }",
                       ["gcs_buckets"]),
    "oracle and signature": (
        f"location /app/ {{ {PASS} gcs_takeover @gcs $gcs_fileuri; }}"
        + SIGNED % "", ["signature", "identity"]),
    "signature without a takeover": (
        "location / { gcs_pass gs://test-bucket; gcs_auth signature; }",
        ["signature"]),
    "signature in a named one that nobody names": (
        SIGNED % "", ["signature", "gcs_takeover"]),
    "signature as a default": ("gcs_auth signature;" + GOOD + "location /g/ {"
                               " gcs_pass gs://test-bucket/; }",
                               ["signature"]),
    "object cache and signature": (APP % "" + SIGNED % "proxy_cache c;",
                                   ["proxy_cache", "signature"]),
    "header and signature": (
        APP % "" + SIGNED % "gcs_set_header x-goog-custom-audit-a b;",
        ["gcs_set_header", "signature"]),
    "project and signature": (APP % "" + SIGNED % "gcs_user_project p;",
                              ["gcs_user_project", "signature"]),
    "writes and signature": (APP % "" + SIGNED % "gcs_methods GET PUT;",
                             ["gcs_methods", "signature"]),
    "presign and signature": (APP % "" + SIGNED % "gcs_mode presign;",
                              ["gcs_mode", "signature"]),
    "mode and signature": (APP % "" + SIGNED % "gcs_mode proxy;",
                           ["gcs_mode", "is fetched as it is"]),
    "unsigned": (GOOD + "location /x/ { gcs_takeover_unsigned yes; }",
                 ['"yes"', "gcs_takeover_unsigned"]),
    "hosts twice": ("gcs_takeover_hosts a; gcs_takeover_hosts b;" + GOOD,
                    ["is duplicate"]),
    "cache twice": (f"gcs_takeover_cache {CACHE}; gcs_takeover_cache off;"
                    + GOOD, ["is duplicate"]),
}

HOSTS = ["", "http://a", "a/", "a/b", "a:", "a:0", "a:x", "a:65536", "a b:1",
         "*", "*.", "*a", "a.*", "*.a=bucket", "a=", "a=B", "a=b/c", "=bucket",
         "user@a", "a..b", ".a", "a.", "[::1", "::1", "a:01", "a:8:9",
         "a\u00fc", "*.*.a", "a=ab"]
CACHES = ["", "on", "zone", "zone=", "zone=z:", "zone=z:1",
          "zone=:1m", "zone=z:1m valid=", "zone=z:1m valid=0",
          "zone=z:1m valid=x", "zone=z:1m key=", "valid=5s", "key=a",
          "off zone=z:1m", "zone=z:1m off", "zone=z:1m zone=y:1m",
          "zone=z:1m other=1", "zone=z:1m valid=-1", "zone=z:1k"]


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_reason_and_place(
        nginx, emulator, key_file, name):
    server, words = REFUSED[name]
    refusal = check(
        nginx, server,
        f"""proxy_cache_path %%DIR%%/c keys_zone=c:1m;
            server {{ listen 127.0.0.1:%%PORT_2%%;
                      gcs_endpoint %%EMULATOR%%;
                      {GOOD.replace("@gcs", "@other")} }}""").refusal()
    for word in words:
        assert word in refusal, refusal
    assert "nginx.conf:" in refusal


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_is_refused(nginx, emulator, key_file, host):
    refusal = check(nginx, f'gcs_takeover_hosts "{host}";{GOOD}').refusal()
    assert "gcs_takeover_hosts" in refusal


@pytest.mark.parametrize("value", CACHES)
def test_a_cache_is_refused(nginx, emulator, key_file, value):
    refusal = check(nginx, f"gcs_takeover_cache {value};{GOOD}").refusal()
    assert "gcs_takeover_cache" in refusal
    assert "nginx.conf:" in refusal


@pytest.mark.parametrize("server", [
    f"gcs_takeover_cache {CACHE} key=$nothing;" + GOOD,
    f"location /app/ {{ {PASS} gcs_takeover @gcs $nothing; }}" + NAMED % ""])
def test_an_unknown_variable_is_refused(
        nginx, emulator, key_file, server):
    assert 'unknown "nothing" variable' in check(nginx, server).refusal()


@pytest.mark.parametrize("key, words", [
    ("$", "invalid variable name"), ("${a", "closing bracket")])
def test_a_key_of_no_variable_is_refused(nginx, emulator, key_file, key,
                                         words):
    server = f'gcs_takeover_cache {CACHE} "key={key}";' + GOOD
    assert words in check(nginx, server).refusal()


def test_an_outer_autoindex_lists_nothing_where_a_url_is_signed(
        nginx, emulator, key_file):
    done = check(nginx, "gcs_autoindex json;" + GOOD).test()
    assert done.returncode == 0, done.stderr


def test_an_identity_may_be_told_by_a_variable(nginx, emulator, key_file):
    named = (NAMED % "").replace("gcs_auth reader", "gcs_auth $arg_who")
    done = check(nginx, APP % "" + named).test()
    assert done.returncode == 0, done.stderr


def test_an_identity_may_be_of_another_universe(nginx, emulator, key_file,
                                                tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({**json.loads(key_file.read_text()),
                                "universe_domain": "example.goog"}))
    named = (NAMED % "").replace("gcs_auth reader", "gcs_auth other")
    done = check(nginx, APP % "" + named, f"""gcs_credentials other {{
        file {path}; universe_domain example.goog; }}""").test()
    assert done.returncode == 0, done.stderr


def test_start_tells_which_identity_is_used(serve):
    server = serve()
    server.wait_log('location "@signed" uses gcs credentials "signature"')


# what counts as Cloud Storage

def test_hosts_are_what_the_list_says(serve, app, signer, emulator):
    """In all its forms; and a host of the list is not a suffix of others."""
    emulator.configure(hosts=["media.example"])
    lists = "media.example:8443 *.v.example cdn.example=test-bucket " \
        "[::1]:9 plain.example"
    server = serve(configuration().replace(
        "gcs_takeover_hosts %%GCS%%", "gcs_takeover_hosts " + lists))
    path, bare = "/test-bucket/a.txt", "/a.txt"
    for base, target, taken in (
            ("https://media.example:8443", path, True),
            ("http://media.example:8443", path, True),
            ("https://MEDIA.example:8443", path, True),
            ("https://media.example", path, False),
            ("https://media.example:443", path, False),
            ("https://a.media.example:8443", path, False),
            ("https://xmedia.example:8443", path, False),
            ("https://test-bucket.v.example", bare, True),
            ("https://test-bucket.v.example:443", bare, True),
            ("http://test-bucket.v.example:80", bare, True),
            ("http://test-bucket.v.example:443", bare, False),
            ("https://v.example", path, False),
            ("https://other-bucket.v.example", bare, False),
            ("https://cdn.example", bare, True),
            ("https://cdn.example", path, False),
            ("https://a.cdn.example", bare, False),
            ("http://[::1]:9", path, True), ("http://[::1]", path, False),
            ("https://plain.example", path, True),
            ("https://storage.googleapis.com", path, True),
            ("https://test-bucket.storage.googleapis.com", bare, True),
            ("https://storage.googleapis.com.plain.example", path, False),
            ("https://other.example", path, False)):
        url = signer.url("test-bucket", "a.txt").replace(
            signer.endpoint + path, base + target)
        app.default = redirect(url)
        answer = server.get("/named/")
        if target == path and base == "https://cdn.example":
            assert answer.status == 404    # the object "test-bucket/a.txt"
        else:
            assert answer.status == (200 if taken else 303), url


def test_a_list_of_a_location_replaces_that_of_the_server(serve, app, signer):
    server = serve(more="""
        location /none/ {
            gcs_takeover_hosts other.example;
            proxy_pass   http://app;
            gcs_takeover @signed;
        }""")
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    assert server.get("/signed/").body == BODY
    assert server.get("/none/").status == 303


def test_the_list_may_stand_in_http(serve, app, signer):
    server = serve(configuration(http="gcs_takeover_hosts %%GCS%%;").replace(
        "gcs_takeover_hosts %%GCS%%;\n            \n", "\n", 1))
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    assert server.get("/signed/").body == BODY


def test_emulators_are_not_cloud_storage_by_themselves(serve, app, signer,
                                                       emulator):
    server = serve(configuration().replace("gcs_takeover_hosts %%GCS%%;", ""))
    app.default = redirect(signer.url("test-bucket", "a.txt"))
    for mode in MODES:
        assert server.get(f"/{mode}/").status == 303
    assert gcs(emulator) == []


# unsigned locations

def test_unsigned_locations_are_taken_where_that_is_wanted(
        serve, app, signer, emulator):
    server = serve(configuration().replace(
        "gcs_takeover @named;",
        "gcs_takeover @named; gcs_takeover_unsigned on;"))
    bare = signer.url("test-bucket", "a.txt").partition("?")[0]
    for url in (bare, bare + "?response-content-type=text%2Fx",
                "https://storage.googleapis.com/test-bucket/a.txt"):
        app.default = redirect(url)
        answer = server.get("/named/")
        assert (answer.status, answer.body) == (200, BODY), url
        assert server.get("/signed/").status == 303
    assert {one["account"] for one in gcs(emulator)} == {
        "reader@demo-project.iam.gserviceaccount.com"}

    # what is wrong stays wrong
    signed = signer.url("test-bucket", "a.txt")
    for url in (signed[:-450], signed.replace("&X-Goog-Expires=900", ""),
                signer.url("test-bucket", "a.txt", 1, at=1000),
                bare.replace("test-bucket", "other-bucket"), bare + "?acl",
                bare.replace("a.txt", "")):
        app.default = redirect(url)
        assert server.get("/named/").status == 303, url
    assert gcs(emulator) == []


def test_a_public_object_needs_no_signature(serve, app, signer, emulator):
    """With gcs_auth signature an unsigned URL is fetched as it is, too."""
    emulator.put_object("test-bucket", "p", b"public", public=True)
    server = serve(location="gcs_takeover_unsigned on;")
    app.default = redirect(
        signer.url("test-bucket", "p").partition("?")[0])
    assert server.get("/signed/").body == b"public"
    app.default = redirect(
        signer.url("test-bucket", "a.txt").partition("?")[0])
    assert server.get("/signed/").status in (401, 403, 502)
    assert [header for one in gcs(emulator) for header in one["headers"]
            if header[0].lower() == "authorization"] == []
